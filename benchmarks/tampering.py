"""Random tampering with a ledger that is mirrored in MLflow, and promotions and verdicts at the same time.

    python -m benchmarks.tampering            # 1,000 tamperings, 20 rounds of two promotions, 20 of two verdicts
    python -m benchmarks.tampering 100 5

A ledger of 40 entries is made by the registry's own calls. Each tampering is done to a fresh copy of the file, to its
mirror or to an alias, and `tenuto ledger verify`'s function is asked; between any two, the untouched ledger is verified
too, where anything found is a false alarm. Whoever tampers knows how the hashes are made and uses it half of the time.
Then two processes promote different versions at once on a real MLflow server, round after round; and two carry out
verdicts at once that were taken against one champion, or at one level of the test set's account: only one may.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import machine
from flows import servers
from tasks import registry
from tasks.registry import packaging
from tenuto.deciding.policy import WearSettings
from tenuto.records import Account, Checkpoint, RuleOutcome, RuleResult, Verdict
from tenuto.splitting.holdout import Holdout
from tenuto.tracing import ledger
from tenuto.tracing.ledger import Decision, Grounds
from tenuto.workspace import Workspace

NAME = "bells"
ENTRIES = 40
PROMOTIONS_AT_ONCE = DECIDED_AT_ONCE = 2
OVERTAKEN = 3
"""Exit code of a run that has to decide again."""
WEAR = WearSettings(decisions=1000)


@dataclass
class Target:
    """A model with its ledger, and how to put everything back."""

    tracking_uri: str
    path: Path
    whole: bytes = b""

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)

    @property
    def experiment(self) -> Any:
        return self.client.get_experiment_by_name(NAME)

    @property
    def lines(self) -> list[bytes]:
        return self.whole.split(b"\n")[:-1]

    def found(self) -> list[str]:
        """What the verification says, one sentence each."""
        return [breach.what for breach in registry.verify(self.tracking_uri, NAME, self.path).breaches]

    def write(self, lines: list[bytes]) -> None:
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))


def made(tracking_uri: str, path: Path, entries: int = ENTRIES) -> Target:
    """A registry of five versions whose ledger has so many entries: verdicts, promotions by hand, erasures."""
    target = Target(tracking_uri, path)
    client = target.client
    experiment = target.client.create_experiment(NAME, artifact_location=(path.parent / "artifacts").as_uri())
    client.create_registered_model(NAME)
    source = _described(path.parent / "model").as_uri()
    for _ in range(5):
        client.create_model_version(NAME, source=source, tags={"tenuto.evaluated_against": "no champion"})
    for number in range(entries):
        if number % 4 == 0:
            version = str(number // 4 % 5 + 1)
            registry.promote(
                tracking_uri, NAME, path, version, actor="ann", reason=f"round {number}", accept_stale=True
            )
        elif number % 4 == 3:
            at = datetime.now(UTC)
            registry.record(tracking_uri, path, Decision(at=at, actor="ben", event="erasure", model=NAME))
        else:
            run = client.create_run(experiment).info.run_id
            rejected = Verdict(verdict="reject", reasons=("worse",), rules=(), policy_sha256="p")
            registry.carry_out.fn(tracking_uri, NAME, path, rejected, Grounds(run_id=run, dataset_md5="d41d8"))
    target.whole = path.read_bytes()
    return target


def _described(folder: Path) -> Path:
    """A model without weights: what it answers, which is all that a promotion reads."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    folder.mkdir(parents=True, exist_ok=True)
    answers = Schema([ColSpec("string", "label"), ColSpec("double", "p_up"), ColSpec("double", "p_down")])
    Model(signature=ModelSignature(outputs=answers)).save(str(folder / "MLmodel"))
    return folder


def edit(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """One byte anywhere, or one field with a hash that fits."""
    if rng.random() < 0.5:
        content = bytearray(target.whole)
        at = int(rng.integers(len(content)))
        content[at] = (content[at] + int(rng.integers(1, 256))) % 256
        target.path.write_bytes(bytes(content))
    else:
        lines = target.lines
        at = int(rng.integers(len(lines)))
        lines[at] = _rehashed(lines[at], _changed(json.loads(lines[at]), rng))
        target.write(lines)
    return _nothing


def delete(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """One to three lines."""
    gone = rng.choice(len(target.lines), size=int(rng.integers(1, 4)), replace=False)
    target.write([line for at, line in enumerate(target.lines) if at not in gone])
    return _nothing


def reorder(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """Two lines change places, or all do."""
    order = np.arange(len(target.lines))
    if rng.random() < 0.5:
        one, other = rng.choice(len(order), size=2, replace=False)
        order[[one, other]] = order[[other, one]]
    else:
        order = rng.permutation(len(order))
    target.write([target.lines[at] for at in order])
    return _nothing


def truncate(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """The end is cut off, at any byte or after any line; or the file is gone."""
    way = rng.random()
    if way < 0.45:
        target.path.write_bytes(target.whole[: int(rng.integers(len(target.whole)))])
    elif way < 0.9:
        target.write(target.lines[: int(rng.integers(len(target.lines)))])
    else:
        target.path.unlink()
    return _nothing


def insert(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """A line that is there already, nonsense, or a forged entry whose hash fits, at the end or anywhere."""
    lines = target.lines
    at = int(rng.integers(len(lines) + 1))
    way = rng.random()
    if way < 0.3:
        lines.insert(at, lines[int(rng.integers(len(lines)))])
    elif way < 0.5:
        lines.insert(at, bytes(rng.integers(32, 127, size=int(rng.integers(0, 80)), dtype=np.uint8)))
    else:
        last = ledger.Entry.model_validate_json(lines[-1])
        if way < 0.75:
            at = len(lines)
        before = ledger.Entry.model_validate_json(lines[at - 1]) if at else None
        now = datetime.now(UTC)
        forged = Decision(
            at=now, actor="retrain", event="decision", model=NAME, aliases_before=last.aliases, aliases=last.aliases
        )
        entry = ledger.chained(forged, before, ledger.place(target.path))
        lines.insert(at, ledger.line(entry).encode())
    target.write(lines)
    return _nothing


def move_alias(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """An alias is moved, taken away or set by hand."""
    client = target.client
    before = registry.aliases(target.tracking_uri, NAME)
    alias = str(rng.choice(["champion", "previous", "challenger"]))
    if alias in before and rng.random() < 0.3:
        client.delete_registered_model_alias(NAME, alias)
    else:
        others = [version for version in "12345" if version != before.get(alias)]
        client.set_registered_model_alias(NAME, alias, str(rng.choice(others)))

    def undo() -> None:
        if alias in before:
            client.set_registered_model_alias(NAME, alias, before[alias])
        else:
            client.delete_registered_model_alias(NAME, alias)

    return undo


def touch_mirror(target: Target, rng: np.random.Generator) -> Callable[[], None]:
    """An entry's tag in MLflow is deleted, or edited with a hash that fits."""
    client, experiment = target.client, target.experiment
    key = f"tenuto.ledger.{int(rng.integers(1, len(target.lines) + 1)):06d}"
    text = experiment.tags[key]
    if rng.random() < 0.5:
        client.delete_experiment_tag(experiment.experiment_id, key)
    else:
        changed = _rehashed(text.encode(), _changed(json.loads(text), rng)).decode()
        client.set_experiment_tag(experiment.experiment_id, key, changed)
    return lambda: client.set_experiment_tag(experiment.experiment_id, key, text)


WAYS = (edit, delete, reorder, truncate, insert, move_alias, touch_mirror)


@dataclass
class Tally:
    """How often each way was tried and found, and how often the untouched ledger was accused."""

    tried: Counter[str]
    found: Counter[str]
    missed: list[str]
    false_alarms: list[str]
    seconds: float


def tampered(target: Target, times: int, seed: int = 1) -> Tally:
    """So many tamperings, the ways by turns, each followed by a verification of the untouched ledger."""
    tally = Tally(Counter(), Counter(), [], list(target.found()), 0.0)
    for number in range(times):
        rng = np.random.default_rng([seed, number])
        way = WAYS[number % len(WAYS)]
        undo = way(target, rng)
        started = time.perf_counter()
        found = target.found()
        tally.seconds += time.perf_counter() - started
        tally.tried[way.__name__] += 1
        if found:
            tally.found[way.__name__] += 1
        else:
            tally.missed.append(f"{way.__name__}, number {number}")
        undo()
        target.path.write_bytes(target.whole)
        tally.false_alarms += target.found()
    return tally


def promoted_at_once(tracking_uri: str, path: Path, rounds: int) -> list[str]:
    """What went wrong when two processes promoted at once by hand, round after round; empty when nothing did.

    Right is: one champion, that of the last entry; one entry each; the aliases lead from the one to the other.
    """
    wrong = []
    for number in range(rounds):
        before = len(registry.history(tracking_uri, NAME, path))
        champion = registry.aliases(tracking_uri, NAME).get("champion")
        chosen = [version for version in "12345" if version != champion][:PROMOTIONS_AT_ONCE]
        _at_once(_promote, [(tracking_uri, path, version) for version in chosen])
        new = registry.history(tracking_uri, NAME, path)[before:]
        now = registry.aliases(tracking_uri, NAME)
        if sorted(str(entry.version) for entry in new) != chosen:
            wrong.append(f"round {number}: {chosen} were promoted, and the ledger has {[e.version for e in new]}")
        elif now != new[-1].aliases or new[-1].aliases_before != new[0].aliases:
            wrong.append(f"round {number}: the aliases are {now}, and the ledger says {new[-1].aliases}")
        wrong += [f"round {number}: {what}" for what in Target(tracking_uri, path).found()]
    return wrong


def decided_at_once(tracking_uri: str, path: Path, rounds: int) -> list[str]:
    """What went wrong when two runs carried out their verdicts at once; empty when nothing did.

    In one round both promote what beat the same champion, in the next both miss a claim at the same level. Right is:
    one entry, and the other run is told to decide again.
    """
    wrong = []
    for number in range(rounds):
        before = len(registry.history(tracking_uri, NAME, path))
        champion = registry.aliases(tracking_uri, NAME).get("champion")
        account = registry.account(tracking_uri, NAME, path, WEAR, Holdout())
        promotes = number % 2 == 0
        verdict = _claim(account, promotes=promotes)
        ends = _at_once(_carry_out, [(tracking_uri, path, verdict, champion)] * DECIDED_AT_ONCE)
        new = registry.history(tracking_uri, NAME, path)[before:]
        now = registry.aliases(tracking_uri, NAME)
        if sorted(ends) != [0, OVERTAKEN] or len(new) != 1:
            wrong.append(f"round {number}: the runs ended with {ends}, and the ledger has {len(new)} more entries")
        elif now != new[0].aliases or (now["champion"] == new[0].version) is not promotes:
            wrong.append(f"round {number}: the aliases are {now}, and the ledger says {new[0].aliases}")
        wrong += [f"round {number}: {what}" for what in Target(tracking_uri, path).found()]
    return wrong


def _claim(account: Account, *, promotes: bool) -> Verdict:
    """A verdict on a claim that was shown, or that was not."""
    p_value = account.level / 2 if promotes else 0.5
    outcome: RuleOutcome = "pass" if promotes else "inconclusive"
    rule = RuleResult(rule="better", outcome=outcome, severity="reject", reason="", p_value=p_value)
    return Verdict(
        verdict="promote" if promotes else "reject",
        reasons=("a claim",),
        rules=(rule,),
        account=account,
        p_value=p_value,
    )


def _carry_out(barrier: Any, tracking_uri: str, path: Path, verdict: Verdict, champion: str | None) -> None:
    client = Target(tracking_uri, path).client
    run = client.create_run(client.get_experiment_by_name(NAME).experiment_id).info.run_id
    weights = Checkpoint(
        path=path.parent,
        sha256=run,
        backbone="none",
        backbone_revision="0",
        preprocessing="p",
        labels=("low", "high"),
        trainable_parameters=1,
        seconds=0.0,
    )
    candidate = registry.Candidate(checkpoint=weights, evaluated_against=champion, tags={})
    # the files of a model take seconds to write, and no turn
    packaging.save_model = _save_nothing
    barrier.wait()
    try:
        registry.carry_out.fn(tracking_uri, NAME, path, verdict, Grounds(run_id=run), candidate)
    except registry.OvertakenError:
        sys.exit(OVERTAKEN)


def _save_nothing(folder: Path, checkpoint: Checkpoint, description: Any) -> None:
    folder.mkdir()
    description.save(str(folder / "MLmodel"))


def _at_once(act: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    """The exit codes of processes that each do it with their own arguments."""
    processes = multiprocessing.get_context("spawn")
    barrier = processes.Barrier(len(arguments))
    started = [processes.Process(target=act, args=(barrier, *each)) for each in arguments]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def _promote(barrier: Any, tracking_uri: str, path: Path, version: str) -> None:
    registry.aliases(tracking_uri, NAME)  # MLflow is imported and connected before the start
    barrier.wait()
    actor = f"process {os.getpid()}"
    registry.promote(tracking_uri, NAME, path, version, actor=actor, reason="at once", accept_stale=True)


def _changed(content: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The entry with one field changed."""
    changes: list[dict[str, Any]] = [
        {"actor": "mallory"},
        {"reasons": ["nothing to see"]},
        {"verdict": "promote" if content["verdict"] != "promote" else "reject"},
        {"version": "9"},
        {"at": "2026-01-01T00:00:00Z"},
        {"dataset_md5": "another"},
        {"aliases": {"champion": "9"}},
        {"run_id": "another"},
    ]
    return {**content, **changes[int(rng.integers(len(changes)))]}


def _rehashed(line: bytes, content: dict[str, Any]) -> bytes:
    """The changed entry, with the hash that fits it."""
    content["sha256"] = ledger.content_sha256(content)
    fresh = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    assert fresh != line
    return fresh


def _nothing() -> None:
    """The file is put back by whoever asked."""


def main(times: int, rounds: int) -> None:
    """Prints how often each way of tampering was found, and how concurrent promotions came out."""
    print(f"machine: {machine()}")
    # every touched line would be warned of
    logging.getLogger("tenuto.ledger").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="tenuto-tampering-") as folder:
        workspace = Workspace(Path(folder))
        workspace.params.write_text(f"name: {NAME}\n")
        workspace.state.mkdir()
        target = made(servers.own_store(workspace), workspace.ledger)
        tally = tampered(target, times)
        print(f"\n{times:,} tamperings of a ledger of {ENTRIES} entries, {tally.seconds / times:.3f} s a verification")
        for way, tried in tally.tried.items():
            print(f"  {way.replace('_', ' '):14} {tally.found[way]:4} of {tried:4} found")
        print(f"  untouched      {len(tally.false_alarms):4} false alarms in {times + 1:,} verifications")
        print("\n".join(["missed:", *tally.missed]) if tally.missed else "  none was missed")
        try:
            running = servers.up(workspace)
            assert running.mlflow is not None
            wrong = promoted_at_once(running.mlflow.address, workspace.ledger, rounds)
            undecided = decided_at_once(running.mlflow.address, workspace.ledger, rounds)
        finally:
            servers.down(workspace)
        print(f"\n{rounds} times two processes promoted at once on a real server: {len(wrong)} went wrong")
        print("\n".join(wrong) or "  each time one champion and two entries, the later one's version being champion")
        print(f"{rounds} times two verdicts were carried out at once: {len(undecided)} went wrong")
        print("\n".join(undecided) or "  each time one entry, and the other run was told to decide again")
    sys.exit(1 if tally.missed or tally.false_alarms or wrong or undecided else 0)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]), *(1000, 20)[len(sys.argv[1:3]) :])
