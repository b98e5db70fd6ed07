"""What a flow run has made so far, as the datasets and facets that its events carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import InputDatasetFacet, RunFacet

from tasks.openlineage import datasets, facets


class Stage(NamedTuple):
    """What a stage reads, the one thing that it makes or finds, and which of our own facets it tells of."""

    reads: tuple[str, ...] = ()
    makes: str = ""
    tells: tuple[str, ...] = ()


FLOW = "the flow itself"


STAGES: Mapping[str, Stage] = {
    "fetch": Stage(makes="data"),
    "split": Stage(("data",), "clips"),
    "find champion": Stage(makes="champion"),
    "validate": Stage(("data", "clips"), "validation"),
    "train candidate": Stage(("data", "clips"), "candidate"),
    "train baseline": Stage(("data", "clips"), "baseline"),
    "compare fill": Stage(("data", "clips")),
    "export": Stage(("data", "clips", "candidate")),
    "evaluate": Stage(("data", "clips", "candidate", "baseline", "champion"), "evaluation", ("evaluation",)),
    "decide": Stage(("evaluation",), "verdict", ("verdict",)),
    "register": Stage(("candidate", "evaluation"), "version"),
    FLOW: Stage(("data",), "version", ("evaluation", "verdict")),
}
"""The retrain flow and its stages; one of another name is told of without data."""

_UNKNOWN = Stage()
_FOUND = "champion"  # an input although no stage made it


class Known:
    """Datasets and facets by what they are: 'data', 'clips', 'candidate', 'evaluation' ..."""

    def __init__(self, namespace: str, model: str, discreet: Callable[[str], str]) -> None:
        self._namespace = namespace
        self._model = model
        self._discreet = discreet
        self._made: dict[str, datasets.Made] = {}
        self._assertions: dict[str, InputDatasetFacet] = {}
        self._facets: dict[str, RunFacet] = {}

    def learn(self, stage: str, record: Any) -> None:
        """Takes note of what the stage made: the record or path that it returned."""
        space, model = self._namespace, self._model
        match kind := STAGES.get(stage, _UNKNOWN).makes:
            case "data":
                self._made[kind] = datasets.data(record)
            case "clips":
                self._made[kind] = datasets.clips(space, model, record)
            case "validation":
                self._assertions = datasets.assertions(record)
            case "candidate" | "baseline":
                self._made[kind] = datasets.checkpoint(space, model, kind, record)
            case "champion" | "version":
                self._made[kind] = datasets.version(space, model, record.version)
            case "evaluation":
                self._made[kind] = datasets.evaluation(space, model, record)
                self._facets[kind] = facets.evaluation(record)
            case "verdict":
                self._facets[kind] = facets.verdict(record, self._discreet)

    def inputs(self, stage: str) -> list[InputDataset]:
        """What the stage reads, as far as it is known."""
        reads, makes, _ = STAGES.get(stage, _UNKNOWN)
        kinds = (*reads, makes) if makes == _FOUND else reads
        found = {kind: self._made[kind].as_input() for kind in kinds if kind in self._made}
        if makes == "validation" and "data" in found:
            found["data"].inputFacets = dict(self._assertions)
        return list(found.values())

    def outputs(self, stage: str) -> list[OutputDataset]:
        """What the stage made, empty for one that made none."""
        kind = STAGES.get(stage, _UNKNOWN).makes
        return [self._made[kind].as_output()] if kind in self._made and kind != _FOUND else []

    def facets(self, stage: str) -> dict[str, RunFacet]:
        """Our own facets: `tenuto_evaluation`, `tenuto_verdict`."""
        kinds = STAGES.get(stage, _UNKNOWN).tells
        return {f"tenuto_{kind}": self._facets[kind] for kind in kinds if kind in self._facets}
