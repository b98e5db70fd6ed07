"""Judges a dataset version by the suite in `expectations.yaml`, run by a Great Expectations checkpoint."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tenuto import validation
from tenuto.labels import LabelType
from tenuto.records import ValidationReport


@task(
    name="validate",
    task_run_name="validate-against-{expectations_path.name}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def validate(
    clips_path: Path,
    quarantine_path: Path,
    expectations_path: Path,
    reference_path: Path | None,
    champion_clips_path: Path | None,
    docs: Path,
    *,
    has_champion: bool = False,
    kind: LabelType = "one",
) -> ValidationReport:
    """What every expectation found in a clips table, in the order of the file; Data Docs are built under `docs`.

    `reference_path` is the clips table of the version that was trained last, `champion_clips_path` that of the
    champion; without them there is nothing to compare with, which is a failure for the latter when `has_champion` says
    that there is a champion. Raises SettingsError for a faulty expectations.yaml.
    """
    from tasks.validate import checkpoint

    suite = validation.load_expectations(expectations_path)
    others = {"quarantine": quarantine_path, "reference": reference_path, "champion": champion_clips_path}
    tables = {name: path for name, path in others.items() if path is not None and path.exists()}
    source = expectations_path.name
    return checkpoint.run(suite, clips_path, tables, docs, source=source, has_champion=has_champion, kind=kind)
