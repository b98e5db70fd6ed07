"""A registry with its ledger: a store of its own for each test, with one open run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tasks import registry as registries
from tasks.registry import packaging, store
from tenuto.learning.checkpoint import labels_per_clip
from tenuto.records import Checkpoint, RuleResult, Verdict
from tenuto.tracing import ledger
from tenuto.tracing.ledger import Entry, Grounds

RULE = RuleResult(rule="good", outcome="pass", severity="reject", reason="ann: 0.9", plain="good: 0.9")
PROMOTE = Verdict(verdict="promote", reasons=("better", "fair"), rules=(RULE,), policy_sha256="policy")
HOLD = Verdict(verdict="register", reasons=("rare class unsure",), rules=())
REJECT = Verdict(verdict="reject", reasons=("worse",), rules=())


def save_little(folder: Path, checkpoint: Checkpoint, description: Any, bundle: Path | None = None) -> None:
    """Stands in for MLflow's pyfunc format, which takes seconds to write."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    answer = "labels" if labels_per_clip(checkpoint.path) == "many" else "label"
    outputs = Schema([ColSpec("string", answer), *(ColSpec("double", f"p_{label}") for label in checkpoint.labels)])
    shutil.copytree(checkpoint.path, folder / "artifacts" / "checkpoint")
    if bundle:
        shutil.copytree(bundle, folder / "artifacts" / "serving")
    description.add_flavor("python_function", artifacts={"checkpoint": {"path": "artifacts/checkpoint"}})
    description.signature = ModelSignature(inputs=Schema([ColSpec("binary", "audio")]), outputs=outputs)
    description.save(str(folder / "MLmodel"))


@pytest.fixture(autouse=True)
def _saved_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "save_model", save_little)


@dataclass
class Registry:
    """A store with one open run, its ledger, and what they hold."""

    tracking_uri: str
    ledger: Path
    run_id: str
    checkpoint: Checkpoint
    name: str = field(default="bells")

    @property
    def client(self) -> Any:
        return store.connect(self.tracking_uri)

    @property
    def state(self) -> dict[str, Any]:
        """Aliases, the versions without anything pending, the models behind them, and what the ledger tells."""
        experiment = self.client.get_experiment_by_name(self.name).experiment_id
        versions = self.client.search_model_versions(f"name='{self.name}'")
        return {
            "aliases": store.aliases(self.client, self.name),
            "versions": {int(version.version) for version in versions},
            "pending": [version.version for version in versions if store.PENDING in version.tags],
            "models": len(self.client.search_logged_models([experiment])),
            "told": [(entry.event, entry.version) for entry in self.entries],
        }

    @property
    def entries(self) -> tuple[Entry, ...]:
        return ledger.read(self.ledger)

    @property
    def turns(self) -> list[str]:
        """Tags of turns that are under way or were left."""
        tags = self.client.get_experiment_by_name(self.name).tags
        return [key for key in tags if key.startswith("tenuto.turn.")]

    def breaches(self) -> list[str]:
        return [breach.what for breach in registries.verify(self.tracking_uri, self.name, self.ledger).breaches]

    def carry_out(
        self, verdict: Verdict, against: str | None = None, sha256: str = "", run_id: str = "", **more: Any
    ) -> Any:
        """Carries out the verdict on a checkpoint of other weights each time, or on that of `sha256`."""
        checkpoint = self.checkpoint.model_copy(update={"sha256": sha256 or uuid4().hex, **more.pop("checkpoint", {})})
        candidate = registries.Candidate(checkpoint=checkpoint, evaluated_against=against, tags=more.pop("tags", {}))
        grounds = Grounds(run_id=run_id or self.new_run(), dataset_md5="d41d8", code_commit="abc")
        return registries.carry_out.fn(self.tracking_uri, self.name, self.ledger, verdict, grounds, candidate, **more)

    def new_run(self) -> str:
        experiment = self.client.get_experiment_by_name(self.name).experiment_id
        return str(self.client.create_run(experiment).info.run_id)

    def ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """One of the calls a person makes, by ann, because of a test."""
        named = {"actor": "ann", "reason": "a test", **named}
        return call(self.tracking_uri, self.name, self.ledger, *arguments, **named)


def new_registry(tracking_uri: str, folder: Path, name: str = "bells") -> Registry:
    """A store with one run, whose artifacts lie in `folder`, and no version."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text("{}")
    trained = Checkpoint(
        path=checkpoint,
        sha256="c0ffee",
        backbone="speech-embedding",
        backbone_revision="1",
        preprocessing="p",
        labels=("low", "high"),
        trainable_parameters=12,
        seconds=1.5,
    )
    client = store.connect(tracking_uri)
    location = (folder / "mlartifacts").as_uri() if tracking_uri.startswith("sqlite") else None
    experiment = client.create_experiment(name, artifact_location=location)
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "stands for a table", "lineage/clips.parquet")
    return Registry(tracking_uri, folder / "ledger.jsonl", run, trained, name)


def copied(registry: Registry, folder: Path) -> Registry:
    """The same registry in another database, with a ledger that is that of no other place; artifacts are shared."""
    folder.mkdir(exist_ok=True)
    database = shutil.copy(registry.tracking_uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    shutil.copy(registry.ledger, folder / "ledger.jsonl")
    return Registry(f"sqlite:///{database}", folder / "ledger.jsonl", registry.run_id, registry.checkpoint)


@pytest.fixture
def registry(tracking_uri: str, tmp_path: Path) -> Registry:
    return new_registry(tracking_uri, tmp_path / "store")


@pytest.fixture(scope="module")
def settled_template(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("settled")
    database = shutil.copy(empty_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packaging, "save_model", save_little)
        registry = new_registry(f"sqlite:///{database}", folder / "store")
        registry.carry_out(PROMOTE, None)
        registry.carry_out(PROMOTE, "1")
    return registry


@pytest.fixture
def settled(settled_template: Registry, tmp_path: Path) -> Registry:
    """Version 2 is champion, version 1 was before it."""
    return copied(settled_template, tmp_path / "copy")
