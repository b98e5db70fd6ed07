"""Events read back from the file that they went to."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pandas as pd
import pytest
from openlineage.client import facet_v2
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from flows.stages import Stages
from tasks import openlineage
from tasks.openlineage import Events, discretion, facets
from tenuto.errors import TrainingError
from tenuto.records import Account, RegisteredModel, Verdict
from tenuto.reporting.report import ReportInputs
from tenuto.workspace import Workspace
from tests.tasks.openlineage.retrain import events, of

FLOW_RUN = "d2f9a7b2-6f0e-4a55-9c7e-1b6b6f1d0a52"


def test_every_stage_begins_and_ends_inside_the_flow(told: list[dict[str, Any]]) -> None:
    said = [(e["job"]["name"].removeprefix("digits.retrain").lstrip("."), e["eventType"]) for e in told]
    stages = ["fetch", "split", "find-champion", "validate", "train-candidate", "train-baseline", "evaluate", "decide",
              "register", "report"]  # fmt: skip
    inner = [(stage, state) for stage in stages for state in ("START", "COMPLETE")]
    assert said == [("", "START"), *inner, ("", "COMPLETE")]
    times = [e["eventTime"] for e in told]
    assert times == sorted(times)
    assert all(e["producer"].startswith("urn:tenuto:") for e in told)
    assert all(
        f["_producer"] == told[0]["producer"] for e in told for f in e["run"]["facets"].values() if "tags" not in f
    )


def test_both_events_of_a_run_share_its_id_and_name_the_flow_as_parent(told: list[dict[str, Any]]) -> None:
    flow, *stages, end = told
    assert flow["run"]["runId"] == end["run"]["runId"]
    assert "parent" not in flow["run"]["facets"]
    for start, stop in zip(stages[::2], stages[1::2], strict=True):
        assert start["run"]["runId"] == stop["run"]["runId"]
        for event in (start, stop):
            parent = event["run"]["facets"]["parent"]
            assert parent["run"]["runId"] == flow["run"]["runId"]
            assert parent["job"] == {"namespace": "tenuto", "name": "digits.retrain", "facets": {}}
            assert parent["root"]["run"]["runId"] == flow["run"]["runId"]
    assert len({e["run"]["runId"] for e in told}) == 1 + len(stages) // 2


def test_data_flow_from_the_dataset_to_the_version(told: list[dict[str, Any]], run: ReportInputs) -> None:
    def named(event: dict[str, Any], side: str) -> list[str]:
        return [f"{d['namespace']} {d['name']}" for d in event[side]]

    assert run.dataset
    data = f"file {run.dataset.manifest_path.parent}"
    clips, candidate, version = "tenuto digits.clips", "tenuto digits.candidate", "tenuto models:/digits"
    assert named(of(told, "digits.retrain.fetch"), "outputs") == [data]
    assert named(of(told, "digits.retrain.split"), "inputs") == [data]
    assert named(of(told, "digits.retrain.split"), "outputs") == [clips]
    assert named(of(told, "digits.retrain.find-champion"), "inputs") == [version]
    assert named(of(told, "digits.retrain.train-candidate", "START"), "inputs") == [data, clips]
    assert named(of(told, "digits.retrain.train-candidate"), "outputs") == [candidate]
    evaluate = of(told, "digits.retrain.evaluate")
    assert named(evaluate, "inputs") == [data, clips, candidate, "tenuto digits.baseline", version]
    assert evaluate["inputs"][4]["facets"]["version"]["datasetVersion"] == "6"
    register = of(told, "digits.retrain.register")
    assert register["outputs"][0]["facets"]["version"]["datasetVersion"] == "7"
    flow = of(told, "digits.retrain")
    assert named(flow, "inputs") == [data]
    assert named(flow, "outputs") == [version]


def test_a_dataset_tells_its_version_and_columns(told: list[dict[str, Any]], run: ReportInputs) -> None:
    assert run.dataset
    data = of(told, "digits.retrain.fetch")["outputs"][0]["facets"]
    assert data["version"]["datasetVersion"] == run.dataset.md5
    columns = {field["name"]: field["type"] for field in data["schema"]["fields"]}
    assert columns["duration_seconds"] == "double"
    assert {"clip_id", "label", "group_speaker", "group_accent"} <= set(columns)


def test_expectations_are_assertions_on_the_validated_dataset_only(told: list[dict[str, Any]]) -> None:
    validated = of(told, "digits.retrain.validate")["inputs"][0]
    assertions = validated["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(a["assertion"], a["success"], a["severity"]) for a in assertions] == [
        ("class_imbalance", False, "warn"),
        ("group_support", False, "warn"),
        ("no_group_leakage", True, "error"),
        ("label_known", True, "error"),
    ]
    trained_on = of(told, "digits.retrain.train-candidate")["inputs"][0]
    assert trained_on["name"] == validated["name"]
    assert "dataQualityAssertions" not in trained_on["inputFacets"]


def known_facets() -> dict[str, Any]:
    """Every facet class that the library generates from the specification, by the address of its schema."""
    modules = [getattr(facet_v2, name) for name in facet_v2.__all__ if name.islower()]
    classes = [kind for module in modules for kind in vars(module).values() if hasattr(kind, "_get_schema")]
    return {kind._get_schema(): kind for kind in classes}


def test_every_facet_is_one_that_the_library_accepts(told: list[dict[str, Any]]) -> None:
    known = known_facets()
    sides = [dataset for event in told for dataset in (*event["inputs"], *event["outputs"])]
    holders = [holder for event in told for holder in (event["run"]["facets"], event["job"]["facets"])]
    holders += [
        dataset[key] for dataset in sides for key in ("facets", "inputFacets", "outputFacets") if key in dataset
    ]
    seen = set()
    for name, facet in ((name, facet) for holder in holders for name, facet in holder.items()):
        assert urlsplit(facet["_producer"]).scheme and urlsplit(facet["_schemaURL"]).scheme
        if name.startswith("tenuto_"):
            continue
        # a key that the class does not know, or one that it misses, is a TypeError; its validators run too
        known[facet["_schemaURL"]](**{key: value for key, value in facet.items() if not key.startswith("_")})
        seen.add(name)
    assert seen == {
        "dataQualityAssertions", "datasetType", "jobType", "parent", "processing_engine", "schema", "tags", "version",
    } | ({"sourceCodeLocation"} & seen)  # fmt: skip
    for event in told:
        RunEvent(eventTime=event["eventTime"], eventType=RunState(event["eventType"]), producer=event["producer"],
                 run=Run(event["run"]["runId"]), job=Job(**event["job"]))  # fmt: skip
        assert event["schemaURL"] == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


def facet_schema(name: str) -> dict[str, Any]:
    text = (Path(facets.__file__).parent / f"{name}.json").read_text()
    schema = json.loads(text)
    # the base schema is on the web, which no test asks
    own = next(iter(schema["$defs"].values()))
    own["allOf"][0] = {"required": ["_producer", "_schemaURL"]}
    return schema


@pytest.mark.parametrize(
    ("stage", "key", "name"),
    [
        ("evaluate", "tenuto_evaluation", "TenutoEvaluationRunFacet"),
        ("decide", "tenuto_verdict", "TenutoVerdictRunFacet"),
    ],
)
def test_our_facets_are_as_their_schemas_say(told: list[dict[str, Any]], stage: str, key: str, name: str) -> None:
    facet = of(told, f"digits.retrain.{stage}")["run"]["facets"][key]
    schema = facet_schema(name)
    jsonschema.Draft202012Validator(schema).validate({key: facet})
    assert facet["_schemaURL"] == f"{schema['$id']}#/$defs/{name}"
    known = next(iter(schema["$defs"].values()))["allOf"][1]["properties"]
    assert set(facet) - {"_producer", "_schemaURL"} <= set(known)
    assert of(told, "digits.retrain")["run"]["facets"][key] == facet
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: facet | {next(iter(known)): []}}, schema)


def test_the_verdict_tells_outcomes_and_figures(told: list[dict[str, Any]], run: ReportInputs) -> None:
    verdict = of(told, "digits.retrain.decide")["run"]["facets"]["tenuto_verdict"]
    assert verdict["verdict"] == "register"
    assert verdict["policySha256"] == "5f" * 32
    assert [rule["outcome"] for rule in verdict["rules"]] == [rule.outcome for rule in run.verdict.rules]
    assert verdict["rules"][0] == {
        "rule": "…'s recall", "outcome": "pass", "severity": "reject", "reason": "recall 0.934",
        "observed": 0.934, "low": 0.911, "high": 0.952, "threshold": 0.8,
    }  # fmt: skip


def test_account_and_p_value_are_told_when_there_are_any() -> None:
    account = Account(holdout="1", alpha=0.05, decisions=52, used=3, level=0.001, left=0.9)
    verdict = Verdict(verdict="promote", reasons=(), rules=(), account=account, p_value=0.0004)
    facet = Serde.to_dict(facets.verdict(verdict, str))
    assert facet["pValue"] == 0.0004
    assert facet["account"]["left"] == 0.9
    jsonschema.validate({"tenuto_verdict": facet}, facet_schema("TenutoVerdictRunFacet"))


def test_no_clip_and_no_value_of_a_group_is_told(workspace: Workspace, told: list[dict[str, Any]]) -> None:
    text = json.dumps([{**e, "inputs": [], "outputs": []} for e in told])
    text += json.dumps([d["facets"] for e in told for d in (*e["inputs"], *e["outputs"])])
    manifest = pd.read_parquet(workspace.manifest)
    groups = {*manifest["group_speaker"], *manifest["group_accent"]}
    assert not [word for word in groups if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    assert not [name for name in manifest["source"] if name in text]
    assert not [clip for clip in manifest["clip_id"] if len(clip) == 32 and clip in text]


def test_figures_that_json_cannot_hold_are_left_out(run: ReportInputs) -> None:
    assert run.evaluation
    broken = run.evaluation.model_copy(update={"metrics": {"candidate": {"macro_f1": float("nan"), "accuracy": 0.5}}})
    assert facets.evaluation(broken).metrics == {"candidate": {"accuracy": 0.5}}


def test_a_stage_that_fails_says_why_without_naming_clips_or_groups(workspace: Workspace, run: ReportInputs) -> None:
    stages = Stages()
    with pytest.raises(TrainingError), stages.flow("retrain", workspace, "digits"), stages("train candidate"):
        raise TrainingError(f"seven_hana_0.wav ({0:032x}) by Hana cannot be heard; banana")
    fail, flow = events(workspace)[-2:]
    assert (fail["eventType"], flow["eventType"]) == ("FAIL", "FAIL")
    for event in (fail, flow):
        error = event["run"]["facets"]["errorMessage"]
        assert error["message"] == "TrainingError: seven_…_0.wav (…) by … cannot be heard; banana"
        assert error["programmingLanguage"] == "PYTHON"


def test_ctrl_c_aborts_the_stage_and_the_flow(workspace: Workspace) -> None:
    stages = Stages()
    with pytest.raises(KeyboardInterrupt), stages.flow("retrain", workspace, "digits"), stages("fetch"):
        raise KeyboardInterrupt
    assert [e["eventType"] for e in events(workspace)] == ["START", "START", "ABORT", "ABORT"]


def test_a_stage_may_fail_and_run_again_in_a_flow_that_ends_well(workspace: Workspace) -> None:
    stages = Stages()
    with stages.flow("retrain", workspace, "digits"):
        with pytest.raises(ValueError), stages("register"):
            raise ValueError
        with stages("register") as stage:
            stage.made(RegisteredModel(name="digits", version="8", aliases=()))
    told = events(workspace)
    assert [e["eventType"] for e in told] == ["START", "START", "FAIL", "START", "COMPLETE", "COMPLETE"]
    assert told[1]["run"]["runId"] != told[3]["run"]["runId"]
    assert told[2]["run"]["facets"]["errorMessage"]["message"] == "ValueError"
    assert "outputs" not in told[2] or told[2]["outputs"] == []


def test_later_runs_append_and_a_line_cut_short_costs_no_other(workspace: Workspace) -> None:
    workspace.events.parent.mkdir()
    workspace.events.write_text('{"cut sho')
    with Stages().flow("retrain", workspace, "digits"):
        pass
    first, *lines = workspace.events.read_text().splitlines()
    assert first == '{"cut sho'
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]


def test_prefects_id_and_the_time_that_a_run_was_due(workspace: Workspace) -> None:
    due = datetime(2026, 3, 3, 6, 30, tzinfo=UTC)
    sent = Events(workspace, "digits", "retrain", FLOW_RUN, due)
    sent.ended(sent.started(), None)
    sent.close()
    for event in events(workspace):
        assert event["run"]["runId"] == FLOW_RUN
        assert event["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2026-03-03T06:30:00+00:00"
        assert event["run"]["facets"]["processing_engine"]["name"] == "Prefect"


def test_the_commit_and_its_repository_are_on_every_job(workspace: Workspace) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.check_output(["git", *who, *arguments], cwd=workspace.root, text=True).strip()

    git("init", "-q", "-b", "trunk")
    git("commit", "-q", "--allow-empty", "-m", "first")
    git("remote", "add", "origin", "https://ann:secret@git.example.org/audio/digits.git")
    with Stages().flow("retrain", workspace, "digits"):
        pass
    for event in events(workspace):
        where = event["job"]["facets"]["sourceCodeLocation"]
        assert where["type"] == "git"
        assert where["version"] == git("rev-parse", "HEAD")
        assert where["branch"] == "trunk"
        assert where["url"] == where["repoUrl"] == "https://git.example.org/audio/digits.git"
    assert "secret" not in workspace.events.read_text()
    git("remote", "set-url", "origin", "git@git.example.org:audio/digits.git")
    assert facets.code(workspace.root)["sourceCodeLocation"].url == "ssh://git@git.example.org/audio/digits.git"  # type: ignore[attr-defined]
    git("remote", "remove", "origin")
    assert facets.code(workspace.root)["sourceCodeLocation"].url == workspace.root.resolve().as_uri()  # type: ignore[attr-defined]


def test_without_git_no_code_is_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.root.parent))
    assert facets.code(workspace.root) == {}


def test_words_are_blanked_whole_and_in_any_case(workspace: Workspace) -> None:
    def told(text: str) -> str:
        return discretion.without_clips_and_groups(text, workspace.manifest)

    assert told("ann and Ann's banana") == "… and …'s banana"
    assert told("en-gb-scotland, not en-gb") == "…, not …"
    # the hash of a dataset is no clip
    assert told("a3b1c2d4e5f60718293a4b5c6d7e8f90.dir") == "a3b1c2d4e5f60718293a4b5c6d7e8f90.dir"
    assert discretion.without_clips_and_groups("ann", workspace.root / "none.parquet") == "ann"


def test_ids_of_runs_are_uuids(told: list[dict[str, Any]]) -> None:
    assert all(uuid.UUID(e["run"]["runId"]) for e in told)


def test_only_the_retrain_flows_stages_have_data() -> None:
    assert openlineage.STAGES[openlineage.FLOW].makes == "version"
    makes = [stage.makes for stage in openlineage.STAGES.values() if stage.makes]
    assert all(read in makes for stage in openlineage.STAGES.values() for read in stage.reads)
