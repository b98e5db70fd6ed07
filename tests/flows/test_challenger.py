"""`tenuto gate live`: from the log to a verdict that is kept as evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import challenger, servers
from tenuto.errors import RegistryError
from tenuto.settings import EvaluateSettings, Params
from tenuto.tracing import ledger, served
from tenuto.tracing.served import Feedback, Served
from tenuto.workspace import Workspace
from tests.monitoring import traffic

PARAMS = Params(name="bells", evaluate=EvaluateSettings(resamples=300))
POLICY = """
resamples: 300
rules:
  - {name: better, metric: accuracy, versus: champion, better_by: 0.0, severity: hold}
  - {name: scratch, metric: accuracy, versus: baseline, better_by: 0.0, severity: hold}
"""


@dataclass
class Registry:
    """Version 1 is champion; version 2, perhaps, challenger."""

    other: str | None = "2"
    name: str = "bells"

    def resolve(self, alias: str) -> str | None:
        return {"champion": "1", "challenger": self.other}.get(alias)

    def fetch(self, version: str) -> Path:
        raise AssertionError("nothing has to be fetched")

    def card(self, version: str) -> str | None:
        return None


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    found = Workspace(tmp_path)
    found.promotion.parent.mkdir()
    found.promotion.write_text(POLICY)
    monkeypatch.setattr(servers, "tracking_uri", lambda *_: "nowhere")
    monkeypatch.setattr("tasks.registry.record", lambda _, path, decision: ledger.append(path, decision))
    monkeypatch.setattr("flows.registry.entries", lambda *_: ledger.read(found.ledger))
    return found


def answered(path: Path, clips: int, wrong: dict[str, int]) -> None:
    """So many labelled clips that both versions heard; of the last ones each is wrong about so many."""
    for version, misses in wrong.items():
        labels = np.where(np.arange(clips) < clips - misses, "high", "low")
        served.add(path, [_served(f"q{i}", str(label), version) for i, label in enumerate(labels)])
    told = [Feedback(request_id=f"q{i}", label="high", at=traffic.NOW) for i in range(clips)]
    served.feedback(path, told)


def _served(request: str, label: str, version: str) -> Served:
    facts: dict[str, Any] = {"at": traffic.NOW, "model": "bells", "label": label, "probability": 0.9}
    p_high = 0.9 if label == "high" else 0.1
    shares = {"high": p_high, "low": 1 - p_high}
    return Served(request_id=request, version=version, probabilities=shares, is_shadow=version == "2", **facts)


def test_a_lead_on_live_traffic_is_judged_kept_as_evidence_and_moves_nothing(workspace: Workspace) -> None:
    answered(workspace.served, 200, {"1": 60, "2": 4})
    found = challenger.judge(workspace, PARAMS, source=Registry())
    assert (found.verdict.verdict, found.clips, found.not_judged) == ("promote", 200, ("scratch",))
    (entry,) = ledger.read(workspace.ledger)
    assert (entry.event, entry.version, entry.verdict, entry.number) == ("evidence", "2", "promote", found.entry)
    assert entry.aliases == {}
    assert found.metrics["candidate"]["accuracy"] == 0.98
    assert not workspace.runs.exists(), "a table that may name speakers is not kept"
    assert entry.use is not None
    assert entry.use.holdout == "live-2-1"


def test_every_look_spends_from_the_account_of_these_two_versions(workspace: Workspace) -> None:
    answered(workspace.served, 100, {"1": 12, "2": 10})
    accounts = [challenger.judge(workspace, PARAMS, source=Registry()).verdict.account for _ in range(2)]
    assert [account.used for account in accounts if account] == [0, 1]
    assert accounts[0] and accounts[1] and accounts[1].left < accounts[0].left


def test_too_few_labelled_clips_are_an_error_that_says_how_to_get_more(workspace: Workspace) -> None:
    answered(workspace.served, 19, {"1": 1, "2": 1})
    with pytest.raises(RegistryError, match=r"19 labelled clips .* at least 20 .*--challenger 0\.1"):
        challenger.judge(workspace, PARAMS, source=Registry())
    assert ledger.read(workspace.ledger) == ()


def test_another_model_in_the_same_log_has_no_say(workspace: Workspace) -> None:
    answered(workspace.served, 40, {"1": 1, "2": 1})
    gongs = [
        _served(f"g{i}", "low", version).model_copy(update={"model": "gongs"}) for i in range(9) for version in "12"
    ]
    served.add(workspace.served, gongs)
    served.feedback(workspace.served, [Feedback(request_id=f"g{i}", label="high", at=traffic.NOW) for i in range(9)])
    assert challenger.judge(workspace, PARAMS, source=Registry()).clips == 40


def test_without_a_challenger_there_is_nothing_to_compare(workspace: Workspace) -> None:
    with pytest.raises(RegistryError, match=r"bells has no @challenger.*`tenuto retrain --force`"):
        challenger.judge(workspace, PARAMS, source=Registry(other=None))
