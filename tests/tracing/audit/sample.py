"""Small indexes for the tests of the audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tenuto.records import CodeVersion
from tenuto.tracing.audit.documents import Lock, Met, RunDocument, VersionDocument
from tenuto.tracing.audit.index import Index, group_text
from tenuto.tracing.audit.listings import ClipUse

START = datetime(2026, 3, 2, 3, tzinfo=UTC)


def clip(name: str, speaker: str, split: str = "train", *, label: str = "up", copies: int | None = 0) -> ClipUse:
    """A clip whose id is made of its name."""
    return ClipUse(
        clip_id=identity(name),
        label=label,
        groups=group_text({"speaker": speaker, "accent": "north"}),
        source=f"week/{name}.wav",
        split=split,
        copies=copies,
    )


def identity(name: str) -> str:
    return name.encode().hex().ljust(32, "0")


def run(number: int, **changes: object) -> RunDocument:
    return RunDocument(
        run_id=f"run-{number}",
        model="bells",
        status="FINISHED",
        started_at=START + timedelta(weeks=number),
        is_trained=True,
        flow_run=f"flow-{number}",
        dataset_md5=f"{number:032x}.dir",
        code=CodeVersion(commit=f"{number:040x}", branch="main", dirty_files=("params.yaml",)),
        environment={"python": "3.11.7", "torch": "2.13.0"},
        weighting="even",
        lock=Lock(sha256="10c4" * 16, packages=212, place="file:///store/inputs/environment.lock"),
        validation=(Met(expectation="balance", severity="warn", success=False, summary="ann has too few clips"),),
        verdict="promote",
        reasons=("better",),
    ).model_copy(update=changes)


def version(number: int, run_number: int | None = None) -> VersionDocument:
    return VersionDocument(
        model="bells",
        version=str(number),
        run_id=f"run-{run_number or number}",
        registered_at=START + timedelta(weeks=number),
        tags={"tenuto.checkpoint_sha256": f"{number:064x}", "tenuto.evaluated_against": str(number - 1) or ""},
    )


WEEKS: tuple[list[ClipUse], ...] = (
    [clip("a1", "ann", copies=2), clip("b1", "ben", "validation"), clip("c1", "cat", "test")],
    [clip("a1", "ann", copies=2), clip("b1", "ben", "validation"), clip("c1", "cat", "test"), clip("a2", "ann")],
    [clip("a1", "ann", copies=1), clip("b1", "ben", "validation"), clip("c1", "cat", "golden"), clip("a2", "ann")],
)
"""The clips tables of three runs: week two adds a2; week three makes fewer copies of a1 and freezes c1."""


def fill(index: Index) -> None:
    """Three runs, of which the first and the third registered versions 1 and 2."""
    for number, clips in enumerate(WEEKS, start=1):
        index.add(run(number), clips)
    index.set_versions("bells", [version(1), version(2, 3)])
