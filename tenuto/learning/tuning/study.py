"""The search of `tenuto tune`: which settings are tried next, and what came of those that were tried.

Optuna keeps every trial in a journal, and everything here follows from what is there: how a trial is drawn depends on
the seed and on the trials before it, not on how often the process was started. So a search that was killed goes on as
if it had not been, and one trial at a time gives the same search again. The present settings are always the first
trial, and what is searched for is macro-F1 on the validation clips, with the log loss to decide between equals; the
test clips are left to the gate.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from tenuto.learning.tuning.trials import Asked, Result
from tenuto.search_space import Choices, Range, is_whole, space_of
from tenuto.settings import Params

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_PRESENT = "present"
_RECORD = "trial"
_STUDY = "tune"
_FIRST_PRUNED_EPOCH = 2
_FEWEST_FOR_IMPORTANCE = 4


class Trial(Result):
    """A trial that came to an end: what was set beside params.yaml, and what it came to."""

    number: int = Field(description="from 1, in the order in which they ended")
    settings: dict[str, Any]
    is_present: bool = Field(description="params.yaml as it is")
    state: Literal["complete", "pruned"]


class Study:
    """All trials of one search; one process at a time may have it open, and one thread may ask and tell."""

    def __init__(self, journal: Path, params: Params) -> None:
        self._params = params
        self._drawn = {key: _distribution(params, key, found) for key, found in space_of(params).items()}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            study_name=_STUDY,
            storage=_storage(journal),
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=_FIRST_PRUNED_EPOCH),
            load_if_exists=True,
        )
        self._take_up()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Those that came to an end, in that order."""
        finished = self._study.get_trials(deepcopy=False, states=_FINISHED)
        return tuple(sorted(map(_trial, finished), key=lambda trial: trial.number))

    @property
    def best(self) -> Trial:
        """The complete trial that did best; of equals the present settings, then the first."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        return max(complete, key=lambda trial: (trial.selection, trial.is_present, -trial.number))

    def ask(self) -> Asked:
        """The next trial, begun."""
        before = len(self._study.get_trials(deepcopy=False, states=(*_FINISHED, TrialState.RUNNING)))
        seed = int(np.random.SeedSequence([self._params.seed, before]).generate_state(1)[0])
        with _quiet():
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self._study.ask()
            is_present = _PRESENT in trial.user_attrs
            keys = trial.user_attrs[_PRESENT] if is_present else self._drawn
            held = {key: _suggested(trial, key, self._drawn[key]) for key in keys}
        settings = {} if is_present else {key: self._value(key, value) for key, value in held.items()}
        return Asked(settings, is_present, trial)

    def known(self, asked: Asked) -> Result | None:
        """What the very same settings came to before; None when they are new."""
        same = [trial for trial in self.trials if trial.settings == asked.settings and trial.state == "complete"]
        return Result(macro_f1=same[0].macro_f1, log_loss=same[0].log_loss) if same else None

    def tell(self, asked: Asked, result: Result) -> Trial:
        """The trial, ended and kept."""
        trial = Trial(
            **result.model_dump(),
            number=len(self._study.get_trials(deepcopy=False, states=_FINISHED)) + 1,
            settings=asked.settings,
            is_present=asked.is_present,
            state="pruned" if result.reason else "complete",
        )
        asked.trial.set_user_attr(_RECORD, trial.model_dump(mode="json"))
        if result.reason:
            self._study.tell(asked.trial, state=TrialState.PRUNED)
        else:
            self._study.tell(asked.trial, trial.selection)
        return trial

    def importances(self) -> dict[str, float]:
        """Share of each key in how the scores differ, the largest first (fANOVA: Hutter et al., ICML 2014).

        Empty where too few trials were completed, or all did alike.
        """
        keys = [key for key, drawn in self._drawn.items() if not drawn.single()]
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        scores = [trial.value for trial in complete if trial.params.keys() >= set(keys)]
        if len(scores) < _FEWEST_FOR_IMPORTANCE or len(set(scores)) == 1:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._params.seed % 2**32)
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator, params=keys)

    def _take_up(self) -> None:
        """Sees to it that what a killed process had begun is begun again, and that the present settings are tried."""
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)
            # one that was killed while it was drawn is drawn again, and comes out the same
            if trial.params.keys() == self._drawn.keys() and _PRESENT not in trial.user_attrs:
                self._study.enqueue_trial(trial.params)
        alive = self._study.get_trials(deepcopy=False, states=(*_FINISHED, TrialState.WAITING))
        if not any(_PRESENT in trial.user_attrs for trial in alive):
            fitting = {key: at for key, drawn in self._drawn.items() if (at := self._present(key, drawn)) is not None}
            self._study.enqueue_trial(fitting, user_attrs={_PRESENT: list(fitting)})

    def _present(self, key: str, drawn: BaseDistribution) -> Any:
        """The present value as Optuna holds it; None when the space does not have it."""
        section, _, name = key.partition(".")
        value = self._params.model_dump(mode="json")[section][name]
        if isinstance(drawn, CategoricalDistribution):
            return next((text for text in drawn.choices if json.loads(str(text)) == value), None)
        assert isinstance(drawn, FloatDistribution | IntDistribution)
        return value if isinstance(value, int | float) and drawn.low <= value <= drawn.high else None

    def _value(self, key: str, held: Any) -> Any:
        drawn = self._drawn[key]
        if isinstance(drawn, CategoricalDistribution):
            return json.loads(held)
        if isinstance(drawn, FloatDistribution):  # for people: more digits than these make no difference
            return min(max(float(f"{held:.3g}"), drawn.low), drawn.high)
        return held


def _storage(journal: Path) -> JournalStorage:
    """The journal, made when it is not there, without a last line that a power cut left unfinished."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    written = journal.read_bytes() if journal.is_file() else b""
    if whole := written.rpartition(b"\n")[0]:
        whole += b"\n"
    if whole != written:
        journal.write_bytes(whole)
    # the workspace is held by one process, so a lock that is there was left by one that was killed
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))


def _trial(trial: FrozenTrial) -> Trial:
    return Trial.model_validate(trial.user_attrs[_RECORD])


def _distribution(params: Params, key: str, found: Choices | Range) -> BaseDistribution:
    """What Optuna draws from; choices are JSON texts, which tell 1 from true and hold lists."""
    if not isinstance(found, Range):
        return CategoricalDistribution(list(dict.fromkeys(json.dumps(choice) for choice in found)))
    if is_whole(params, key):
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _suggested(trial: optuna.Trial, key: str, drawn: BaseDistribution) -> Any:
    if isinstance(drawn, CategoricalDistribution):
        return trial.suggest_categorical(key, drawn.choices)
    if isinstance(drawn, IntDistribution):
        return trial.suggest_int(key, drawn.low, drawn.high, log=drawn.log)
    assert isinstance(drawn, FloatDistribution)
    return trial.suggest_float(key, drawn.low, drawn.high, log=drawn.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's remarks about what is experimental are none of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
