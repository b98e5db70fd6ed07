"""What the tree in the terminal says of weights and of the list of packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import audit_tree
from flows.audit_sources import AsOf
from tenuto.tracing.audit import answers
from tenuto.tracing.audit.answers import HeardAudit
from tenuto.tracing.audit.index import Index
from tests.tracing.audit.sample import START, clip, run, version


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weighting": "even"}, "trained on 2 clips of 1 accent, 2 speakers, weight 1 each, and 0 augmented copies"),
        ({"weighting": "even", "loss": "ldam"}, "weight 1 each in the ldam loss"),
        ({"weighting": "uneven"}, "weight 0.5 to 2, and"),
        ({"weighting": "group DRO"}, "weight varies (group DRO), and"),
        ({"weighting": "unknown"}, "weight not recorded, and"),
        ({"lock": None}, "list of all packages not recorded"),
        ({}, "212 packages installed, sha256 10c410c4"),
        ({}, "file:///store/inputs/environment.lock"),
    ],
)
def test_the_tree_says_what_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], said: str
) -> None:
    clips = [clip("a", "ann"), clip("z", "zoe")]
    weights = {("up", clips[0].groups): 0.5, ("up", clips[1].groups): 2.0}
    is_uneven = changes.get("weighting") == "uneven"
    with Index.open(tmp_path / "i.sqlite") as index:
        index.add(run(1, **changes), clips, weights if is_uneven else None)
        found = answers.model(index, version(1), {})
    audit_tree.print_model(found, "ledger", AsOf(entry=5, at=START, store="own"))
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert said in text
    assert ("weight 1 each" in text) == (changes.get("weighting", "even") == "even")


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        (AsOf(entry=5, at=START, store="own"), "as of entry 5 of 2026-03-02 03:00 UTC of the ledger aliases as"),
        (AsOf(entry=5, at=START, store="shared"), "of the ledger, compared with MLflow's copy"),
        (
            AsOf(entry=5, at=START, store="not reached", why="No [connection]."),
            "on this host alone: what other hosts did",
        ),
        (AsOf(entry=5, at=START, store="not reached", why="No [connection]."), "not in it. No [connection]."),
        (AsOf(entry=None, at=None, store="own"), "the ledger has no entry yet"),
    ],
)
def test_the_answer_says_how_far_it_reaches(capsys: pytest.CaptureFixture[str], as_of: AsOf, said: str) -> None:
    audit_tree.print_heard(HeardAudit(asked={"group": "speaker=ann"}), "ledger", as_of)
    assert said in " ".join(capsys.readouterr().out.split())
