"""The Great Expectations side of validation: one suite, one checkpoint, its results as findings, its Data Docs.

Apart from the task so that importing the task does not import Great Expectations, which takes seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

# read when the library is imported
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import pandas as pd
from great_expectations.checkpoint.actions import UpdateDataDocsAction
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from tasks.validate import pages
from tasks.validate.expectations import engine_expectation
from tenuto.dataset.manifest import group_names
from tenuto.labels import LabelType
from tenuto.records import Finding, ValidationReport
from tenuto.validation import Entry, Expectations, Outcome, RowExpectation, require_groups
from tenuto.validation.base import at_most_clips

SUITE = "clips"
SITE = "tenuto"


def run(
    suite: Expectations,
    clips_path: Path,
    tables: Mapping[str, Path],
    docs: Path,
    *,
    source: str,
    has_champion: bool = False,
    kind: LabelType = "one",
) -> ValidationReport:
    """The suite's findings in a clips table; `tables` are Parquet files: quarantine, reference, champion.

    `source` is the file that the suite came from, for errors; `has_champion` says that there is a champion, with or
    without a table; `kind` whether clips have one label or several.
    """
    clips = pd.read_parquet(clips_path)
    require_groups(suite, group_names(clips), source)
    with _quiet(), TemporaryDirectory(prefix="tenuto-docs-") as built:
        # the library empties the folder that it builds in, and earlier pages are to stay
        results, page = _checked(
            suite, clips, tables, {"has_champion": has_champion, "kind": kind}, Path(built).resolve()
        )
        pages.publish(Path(built), docs)
    by_place = {_place(result): result for result in results}
    findings = tuple(_finding(entry, by_place[place], len(clips)) for place, entry in enumerate(suite))
    return ValidationReport(findings=findings, data_docs=docs / page)


def _checked(
    suite: Expectations, clips: pd.DataFrame, tables: Mapping[str, Path], facts: Mapping[str, Any], docs: Path
) -> tuple[list[ExpectationValidationResult], Path]:
    """The checkpoint's results, and its page in the Data Docs, relative to `docs`."""
    context = _context(docs)
    asset = context.data_sources.add_pandas("dataset").add_dataframe_asset("clips")
    expectations = [engine_expectation(entry, place, tables, facts) for place, entry in enumerate(suite)]
    definition = gx.ValidationDefinition(
        name=SUITE,
        data=asset.add_batch_definition_whole_dataframe("version"),
        suite=context.suites.add(gx.ExpectationSuite(name=SUITE, expectations=expectations)),
    )
    checkpoint = gx.Checkpoint(
        name=SUITE,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[UpdateDataDocsAction(name="data-docs", site_names=[SITE])],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["clip_id"]},
    )
    outcome = context.checkpoints.add(checkpoint).run(
        batch_parameters={"dataframe": clips}, run_id=RunIdentifier(run_name="retrain")
    )
    ((identifier, run),) = outcome.run_results.items()
    (site,) = context.get_docs_sites_urls(resource_identifier=identifier, site_names=[SITE])
    return run.results, Path(url2pathname(urlsplit(str(site["site_url"])).path)).relative_to(docs)


def _context(docs: Path) -> EphemeralDataContext:
    """A context that lives in memory and writes nothing but its pages, under `docs`."""
    site = {
        "class_name": "SiteBuilder",
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={SITE: site},
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _place(result: ExpectationValidationResult) -> int:
    """The place in the file of the entry that the result is of; results come in another order."""
    assert result.expectation_config is not None and result.expectation_config.meta is not None
    return int(result.expectation_config.meta["place"])


def _finding(entry: Entry, result: ExpectationValidationResult, total: int) -> Finding:
    outcome = _outcome(entry, result, total)
    return Finding(
        expectation=entry.name,
        severity=entry.severity,
        success=outcome.success,
        summary=outcome.summary,
        action="" if outcome.success else entry.action,
        clips=outcome.clips,
        groups=outcome.groups,
        observed=outcome.observed,
    )


def _outcome(entry: Entry, result: ExpectationValidationResult, total: int) -> Outcome:
    """The result in the domain's words; an expectation that could not be evaluated has not passed."""
    error = _error(result.exception_info or {})
    if error:
        return Outcome(False, f"could not be checked: {error}")
    if isinstance(entry.expectation, RowExpectation):
        broken = int(result.result.get("unexpected_count", 0))
        rows = result.result.get("unexpected_index_list") or []
        return entry.expectation.outcome(bool(result.success), broken, at_most_clips(r["clip_id"] for r in rows), total)
    details = result.result["details"]
    return Outcome(**{**details, "clips": tuple(details["clips"]), "groups": tuple(details["groups"])})


def _error(exception_info: Mapping[str, Any]) -> str:
    """The message of the exception that an expectation ended with, or ''."""
    nested: list[Mapping[str, Any]] = [info for info in exception_info.values() if isinstance(info, dict)]
    messages = [
        str(info.get("exception_message")) for info in [*nested, exception_info] if info.get("raised_exception")
    ]
    return messages[0] if messages else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the library's chatter off the console; warnings and errors still show."""
    library = logging.getLogger("great_expectations")
    before = library.level
    library.setLevel(logging.WARNING)
    try:
        yield
    finally:
        library.setLevel(before)
