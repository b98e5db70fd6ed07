"""From a speaker to every model that heard her, and from a champion to its clips, on a large registry.

    python -m benchmarks.audit [VERSIONS CLIPS SPEAKERS]

Makes a real MLflow registry (SQLite) of 200 versions over a dataset that grows to 100,000 clips of 500 speakers, each
version with its run, lineage, verdict and clips table, and fills the audit's index from it as a rebuild does. Then it
asks both questions, and for comparison answers the first one the naive way, by reading the 200 tables. Prints the first
call, which finds no cache warm, and the median of five later ones; needs about 2 GB of disk for some minutes. Ends with
exit code 1 when a command's first or median call takes more than two seconds, or when index and tables disagree.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.command import machine, tenuto
from flows import audit as asking
from flows import servers
from tasks import audit as filling
from tenuto.settings import load_params
from tenuto.tracing import ledger
from tenuto.tracing.audit.index import Index
from tenuto.workspace import Workspace

VERSIONS, CLIPS, SPEAKERS = 200, 100_000, 500
REPEATS = 5
MOST_SECONDS = 2.0
LABELS = tuple(f"class-{number:02}" for number in range(10))
FIRST_SHARE = 0.3
"""How much of the dataset is there at the first version; the rest comes in equal parts."""


def main() -> None:
    versions, clips, speakers = [int(n) for n in sys.argv[1:4]] if len(sys.argv) > 1 else (VERSIONS, CLIPS, SPEAKERS)
    os.environ.update(servers.QUIET)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="tenuto-benchmark-") as folder:
        workspace = make_workspace(Path(folder) / "calls")
        whole = clips_table(clips, speakers, np.random.default_rng(1))
        seconds, _ = timed(lambda: fill_registry(workspace, whole, versions))
        print(f"{versions} versions, {clips:,} clips of {speakers} speakers registered in {seconds:.0f} s")
        params = load_params(workspace.params, ())
        uri = f"sqlite:///{workspace.mlflow_db}"
        seconds, _ = timed(lambda: filling.catch_up(uri, "calls", workspace.audit_index))
        size = workspace.audit_index.stat().st_size / 1e6
        print(f"index of {size:.1f} MB filled from MLflow in {seconds:.0f} s ({seconds / versions:.2f} s a run)")
        # every seventh speaker from 0 is trained on, whole
        ask(workspace, params, f"speaker=speaker-{speakers // 14 * 7:03}")
    print(machine())


def ask(workspace: Workspace, params: Any, group: str) -> None:
    """Prints how long both questions take, and the first one without an index; SystemExit when one is slow or wrong."""
    commands = {
        "speaker -> every model that heard her": ("audit", "--group", group),
        "champion -> its clips by split, label": ("audit", "@champion"),
        "champion -> page with a graph": ("audit", "@champion", "--page"),
    }
    # before anything else has read the index
    called = {name: calls(lambda line=line: tenuto(workspace.root, *line)[0]) for name, line in commands.items()}
    with asking.opened(workspace, params) as audit:
        back, heard = calls(lambda: asking.group(audit, group))
        forward, made = calls(lambda: asking.model(audit, "@champion"))
        listing, rows = calls(lambda: asking.clip_table(audit, made))
    naive, expected = timed(lambda: naively(workspace, group.partition("=")[2]))
    found = {version.version for version in heard.versions if version.has_heard}
    print(f"{group}: {len(heard.clips)} clips, heard by {len(found)} versions; @champion: {len(rows):,} clips")
    print(f"{'':45}first call   median of {REPEATS}")
    for name, (seconds, _) in called.items():
        print(f"{name:45}{seconds[0]:8.2f} s   {statistics.median(seconds[1:]):8.2f} s")
    for name, seconds in {
        "the speaker's": back,
        "the champion's": forward,
        "each clip of the champion's": listing,
    }.items():
        print(f"{f'  query alone, {name}':45}{seconds[0]:8.3f} s   {statistics.median(seconds[1:]):8.3f} s")
    print(f"{'speaker, reading all tables':45}{naive:8.3f} s")
    answers = {name: answer for name, (_, answer) in called.items()}
    told = {v["version"] for v in answers["speaker -> every model that heard her"]["versions"] if has_heard(v)}
    check({name: seconds for name, (seconds, _) in called.items()}, {"index": found, "command": told}, expected)
    if not len(rows) == made.listed == sum(share.clips for share in made.clips):
        raise SystemExit("the champion's clips do not add up to those of its table")


def check(seconds: dict[str, list[float]], found: dict[str, set[str]], expected: set[str]) -> None:
    """Ends the benchmark for a wrong answer or a slow command, by its first call or by the median of the later ones."""
    for who, versions in found.items():
        if versions != expected:
            raise SystemExit(f"{who} and tables disagree on versions {', '.join(sorted(versions ^ expected))}")
    for name, (first, *later) in seconds.items():
        if max(first, statistics.median(later)) > MOST_SECONDS:
            raise SystemExit(f"{name}: more than {MOST_SECONDS:g} s")


def has_heard(version: dict[str, Any]) -> bool:
    return bool(version["roles"].get("trained") or version["roles"].get("tuned"))


def make_workspace(root: Path) -> Workspace:
    (root / ".tenuto").mkdir(parents=True)
    (root / "params.yaml").write_text("name: calls\n", encoding="utf-8")
    return Workspace(root)


def clips_table(clips: int, speakers: int, rng: np.random.Generator) -> pa.Table:
    """The last version's clips, in the order in which they came: speakers are whole in a split and come back weekly."""
    speaker = rng.integers(speakers, size=clips)
    split = np.array(["train", "train", "train", "train", "validation", "test", "test"])[speaker % 7]
    columns = {
        "clip_id": [rng.bytes(16).hex() for _ in range(clips)],
        "label": np.array(LABELS)[rng.integers(len(LABELS), size=clips)].tolist(),
        "group_speaker": [f"speaker-{number:03}" for number in speaker],
        "group_accent": [f"accent-{number % 12}" for number in speaker],
        "source": [f"week-{i * 52 // clips:02}/call-{i:06}.wav" for i in range(clips)],
        "split": split.tolist(),
        "aside_reason": [""] * clips,
        "copies": np.where(split == "train", rng.integers(3, size=clips), 0).tolist(),
    }
    return pa.table(columns)


def fill_registry(workspace: Workspace, whole: pa.Table, versions: int) -> None:
    """Runs and versions as retrains leave them, and the ledger's entries; three quarters of the versions promoted."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{workspace.mlflow_db}"
    client = MlflowClient(uri, uri)
    place = workspace.mlflow_artifacts.as_uri()
    experiment = client.create_experiment("calls", artifact_location=place)
    client.create_registered_model("calls")
    champion = ""
    for number in range(1, versions + 1):
        share = FIRST_SHARE + (1 - FIRST_SHARE) * (number / versions)
        table = whole.slice(0, round(whole.num_rows * share))
        run_id = one_run(client, experiment, number, table)
        tags = {"tenuto.checkpoint_sha256": f"{number:064}", "tenuto.evaluated_against": champion or "no champion"}
        client.create_model_version("calls", source=place, run_id=run_id, tags=tags)
        champion = str(number) if number % 4 else champion
        decision = ledger.Decision(
            at=datetime.now(UTC),
            actor="retrain",
            event="decision",
            model="calls",
            version=str(number),
            verdict="promote",
            run_id=run_id,
            aliases={"champion": champion},
        )
        ledger.append(workspace.ledger, decision)
    client.set_registered_model_alias("calls", "champion", champion)


def one_run(client: Any, experiment: str, number: int, table: pa.Table) -> str:
    """The id of a finished run with its clips table and documents."""
    md5 = f"{number:032x}.dir"
    tags = {"tenuto.trained": "true", "tenuto.dataset_md5": md5, "tenuto.verdict": "promote"}
    run_id = str(client.create_run(experiment, tags=tags).info.run_id)
    findings = [
        {"expectation": f"expectation_{i}", "severity": "warn", "success": True, "summary": "as wanted"}
        for i in range(25)
    ]
    made_from = {
        "dataset": {"md5": md5, "manifest_path": "m", "clips": table.num_rows, "quarantined": 0},
        "code": {"commit": f"{number:040x}", "branch": "main"},
        "inputs": str(number),
        "source_sha256": "0",
        "environment": {f"package-{i}": "1.0" for i in range(30)},
    }
    verdict = {"verdict": "promote", "reasons": ["better"], "rules": [], "policy_sha256": "0"}
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in {
            "lineage/lineage.json": made_from,
            "verdict/verdict.json": verdict,
            "validation/report.json": {"findings": findings},
        }.items():
            path = Path(scratch) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        pq.write_table(table, Path(scratch) / "lineage" / "clips.parquet", compression="zstd")
        client.log_artifacts(run_id, scratch)
    client.set_terminated(run_id)
    return run_id


def naively(workspace: Workspace, speaker: str) -> set[str]:
    """The versions that heard a speaker, by reading the clips table of every run."""
    with Index.open(workspace.audit_index) as index:
        versions = {version.run_id: version.version for version in index.versions()}
    found = set()
    for run_id, version in versions.items():
        path = workspace.mlflow_artifacts / str(run_id) / "artifacts" / "lineage" / "clips.parquet"
        table = pq.read_table(path, columns=["group_speaker", "split"])
        hers = table.filter(pc.equal(table["group_speaker"], speaker))["split"].to_pylist()
        if {"train", "validation"} & set(hers):
            found.add(version)
    return found


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def calls(call: Callable[[], Any]) -> tuple[list[float], Any]:
    """The time of a first call and of five more, and what the last one gave."""
    times = [timed(call) for _ in range(1 + REPEATS)]
    return [seconds for seconds, _ in times], times[-1][1]


if __name__ == "__main__":
    main()
