"""The expectations of `expectations.yaml` as Great Expectations runs them.

Row expectations become its built-in column expectations. Table expectations become custom ones: a batch expectation
class for each, over one metric that hands the clips table to the domain's check and brings back what it found.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine.execution_engine import ExecutionEngine
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from great_expectations.expectations.core.expect_column_values_to_be_unique import ExpectColumnValuesToBeUnique
from great_expectations.expectations.expectation import BatchExpectation, Expectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from tenuto.validation import EXPECTATIONS, Entry, RowExpectation, Rows, TableExpectation, Tables

SEVERITIES = {"stop": "critical", "warn": "warning"}
"""Ours, as Great Expectations calls them."""


class ClipsOutcome(TableMetricProvider):
    """What a table expectation of the domain finds in the clips table."""

    metric_name = "clips.outcome"
    value_keys = ("check", "arguments", "tables", "facts")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(  # the engine calls it with the class
        cls,  # noqa: N805
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> dict[str, Any]:
        clips, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        others: dict[str, Any] = {name: pd.read_parquet(path) for name, path in metric_value_kwargs["tables"].items()}
        expectation = EXPECTATIONS[metric_value_kwargs["check"]](**metric_value_kwargs["arguments"])
        assert isinstance(expectation, TableExpectation)
        found = expectation.check(Tables(clips, **others, **metric_value_kwargs["facts"]))
        return asdict(found)


class ClipsExpectation(BatchExpectation):
    """Base of the custom expectations: the domain's check decides, and its sentence is the observed value."""

    check: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it
    tables: dict[str, str] = {}  # noqa: RUF012
    facts: dict[str, Any] = {}  # noqa: RUF012

    metric_dependencies = (ClipsOutcome.metric_name,)
    success_keys = ClipsOutcome.value_keys
    args_keys = ClipsOutcome.value_keys

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine[Any] | None = None,
    ) -> dict[str, Any]:
        found = metrics[ClipsOutcome.metric_name]
        # the Data Docs print the observed value as HTML, and labels are anybody's text
        shown = html.escape(found["summary"])
        return {"success": found["success"], "result": {"observed_value": shown, "details": found}}


def _custom(name: str, kind: type[TableExpectation]) -> type[ClipsExpectation]:
    """A class of its own for one table expectation, `expect_clips_<name>` in the results and the Data Docs."""
    words = "".join(word.capitalize() for word in name.split("_"))
    body = {"__module__": __name__, "__doc__": kind.__doc__, "__annotations__": {"check": str}, "check": name}
    return type(f"ExpectClips{words}", (ClipsExpectation,), body)


CUSTOM = {name: _custom(name, kind) for name, kind in EXPECTATIONS.items() if issubclass(kind, TableExpectation)}
"""The custom expectation classes by their names in expectations.yaml."""


def engine_expectation(entry: Entry, place: int, tables: Mapping[str, Path], facts: Mapping[str, Any]) -> Expectation:
    """What Great Expectations runs for one entry; `tables` are the Parquet files beside the clips table.

    `facts` are the other fields of `tenuto.validation.Tables`: has_champion and kind.
    `place` is the entry's place in the file: the results come in another order and carry it in their meta.
    """
    shared: dict[str, Any] = {
        "description": entry.expectation.wanted(),
        "severity": SEVERITIES[entry.severity],
        "meta": {"place": place},
    }
    if isinstance(entry.expectation, RowExpectation):
        return _built_in(entry.expectation.rows(), mostly=1 - entry.expectation.at_most_share, **shared)
    return CUSTOM[entry.name](
        arguments=entry.expectation.model_dump(mode="json"),
        tables={name: str(path) for name, path in tables.items()},
        facts=dict(facts),
        **shared,
    )


def _built_in(rows: Rows, **shared: Any) -> Expectation:
    match rows.kind:
        case "between":
            return ExpectColumnValuesToBeBetween(
                column=rows.column, min_value=rows.minimum, max_value=rows.maximum, **shared
            )
        case "in set":
            return ExpectColumnValuesToBeInSet(column=rows.column, value_set=list(rows.values), **shared)
        case "unique":
            return ExpectColumnValuesToBeUnique(column=rows.column, **shared)
