"""What a stage reads or writes, as OpenLineage names it.

The folder that DVC versions is `file` and its path, as in OpenLineage's naming; everything that a run makes is named
after the model in the namespace of the job, the same from run to run: the version facet tells the runs apart.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attr
import pyarrow.parquet as pq
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    data_quality_assertions_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    schema_dataset,
)

from tenuto.records import Checkpoint, DatasetVersion, Evaluation, ValidationReport

_SEVERITIES = {"stop": "error", "warn": "warn"}
"""Ours, as OpenLineage calls them."""


@attr.define
class Made:
    """One thing that a run made or found: which dataset it is, in which version, and of which form."""

    namespace: str
    name: str
    facets: dict[str, DatasetFacet]
    input_facets: dict[str, InputDatasetFacet] = attr.field(factory=dict)

    def as_input(self) -> InputDataset:
        return InputDataset(self.namespace, self.name, facets=dict(self.facets), inputFacets=dict(self.input_facets))

    def as_output(self) -> OutputDataset:
        return OutputDataset(self.namespace, self.name, facets=dict(self.facets))


def data(version: DatasetVersion) -> Made:
    """The folder data/ in the version that data.dvc names, with the columns of its manifest."""
    return Made("file", str(version.manifest_path.parent), _facets(version.md5, "FILE", version.manifest_path))


def clips(namespace: str, model: str, path: Path) -> Made:
    """The clips table: the manifest and the split of every clip."""
    return Made(namespace, f"{model}.clips", _facets(_sha256(path), "TABLE", path))


def checkpoint(namespace: str, model: str, role: str, made: Checkpoint) -> Made:
    """The weights of the candidate or of the baseline."""
    return Made(namespace, f"{model}.{role}", _facets(made.sha256, "MODEL"))


def evaluation(namespace: str, model: str, found: Evaluation) -> Made:
    """The table of answers that every figure of the evaluation follows from."""
    path = found.probabilities_path
    return Made(namespace, f"{model}.evaluation", _facets(_sha256(path), "TABLE", path))


def version(namespace: str, model: str, number: str) -> Made:
    """A version in the registry."""
    return Made(namespace, f"models:/{model}", _facets(number, "MODEL"))


def assertions(report: ValidationReport) -> dict[str, InputDatasetFacet]:
    """What the expectations came to, by their names alone: their sentences name clips and groups."""
    found = [
        data_quality_assertions_dataset.Assertion(
            assertion=finding.expectation, success=finding.success, severity=_SEVERITIES[finding.severity]
        )
        for finding in report.findings
    ]
    return {"dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(found)}


def _facets(version: str, kind: str, table: Path | None = None) -> dict[str, DatasetFacet]:
    facets: dict[str, Any] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(version),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(kind),
    }
    if table is not None and table.is_file():
        columns = pq.read_schema(table)
        fields = [schema_dataset.SchemaDatasetFacetFields(column.name, str(column.type)) for column in columns]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields)
    return facets


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
