"""A checkpoint as a logged model of MLflow: signature, input example, requirements, and the package `tenuto` in it.

With it goes the bundle that serves it, where it could be exported.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.registry import store
from tenuto.labels import LabelType
from tenuto.learning.checkpoint import labels_per_clip
from tenuto.records import Checkpoint
from tenuto.serving.hearing.bundle import FOLDER_NAME

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

_PYFUNC = Path(__file__).parents[1] / "pyfunc_model.py"
_SERVED_WITH = ("mlflow", "numpy", "pandas", "pydantic", "ruamel.yaml", "scipy", "soundfile", "soxr")
_BUNDLE_WITH = ("onnxruntime",)
_CHECKPOINT_WITH = ("safetensors", "torch", "transformers")


def log_model(
    client: MlflowClient, name: str, run_id: str, checkpoint: Checkpoint, pending: str, bundle: Path | None = None
) -> str:
    """The id of a logged model with signature, input example and the package `tenuto`; not yet in the registry.

    With the folder of a `bundle` it has that as `artifacts/serving`, and answers by it.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags={store.PENDING: pending})
    with tempfile.TemporaryDirectory(prefix="tenuto-model-") as scratch:
        folder = Path(scratch) / "model"
        description = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
        save_model(folder, checkpoint, description, bundle)
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def save_model(folder: Path, checkpoint: Checkpoint, description: Any, bundle: Path | None = None) -> None:
    """Write the logged model as `folder`, which must not exist; the signature's inputs are all optional."""
    import mlflow.pyfunc
    import pandas as pd

    import tenuto

    artifacts = {"checkpoint": str(checkpoint.path)}
    with tempfile.TemporaryDirectory(prefix="tenuto-bundle-") as scratch:
        if bundle:
            # MLflow names the folder of an artifact after its source, and follows no links
            artifacts[FOLDER_NAME] = str(shutil.copytree(bundle, Path(scratch) / FOLDER_NAME))
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(_PYFUNC),
            artifacts=artifacts,
            code_paths=[str(Path(tenuto.__file__).parent)],
            signature=_signature(checkpoint, has_bundle=bundle is not None),
            input_example=pd.DataFrame({"audio": [_example()]}),
            pip_requirements=_requirements(_SERVED_WITH + (_BUNDLE_WITH if bundle else _CHECKPOINT_WITH)),
            mlflow_model=description,
        )
    for leftover in folder.rglob("__pycache__"):
        shutil.rmtree(leftover)


def _signature(checkpoint: Checkpoint, *, has_bundle: bool) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import Array, DataType

    inputs = [
        ColSpec("binary", "audio", required=False),
        ColSpec(Array(DataType.double), "samples", required=False),
        ColSpec("double", "sample_rate_hz", required=False),
    ]
    one_label = [ColSpec("string", "label"), ColSpec("double", "probability")]
    answer = [ColSpec("string", "labels")] if labels_per_clip(checkpoint.path) == "many" else one_label
    unlike = [ColSpec("boolean", "is_unknown"), ColSpec("double", "novelty")] if has_bundle else []
    probabilities = [ColSpec("double", f"p_{label}") for label in checkpoint.labels]
    return ModelSignature(Schema(list(inputs)), Schema([*answer, *unlike, *probabilities]))


def _example() -> bytes:
    """Half a second of a quiet 440 Hz tone as wav: an example must be nobody's voice."""
    import numpy as np

    from tenuto.sound import audio

    seconds = np.arange(8000) / 16000
    return audio.encode_wav((0.1 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32), 16000)


def _requirements(names: tuple[str, ...]) -> list[str]:
    # a local version such as 2.13.0+cpu is on no package index
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def outputs(client: MlflowClient, source: str) -> tuple[LabelType, tuple[str, ...]]:
    """How many labels a stored model gives a clip, and its classes in the order of its outputs, from its signature.

    Raises MlflowException or OSError when its files are gone.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    with tempfile.TemporaryDirectory(prefix="tenuto-model-") as scratch:
        description = download_artifacts(
            artifact_uri=f"{source.rstrip('/')}/MLmodel", dst_path=scratch, tracking_uri=client.tracking_uri
        )
        signature = Model.load(description).signature
    names = signature.outputs.input_names() if signature else []
    kind: LabelType = "many" if "labels" in names else "one"
    return kind, tuple(name.removeprefix("p_") for name in names if name.startswith("p_"))
