"""How a model was made, in plain sentences for the page and the card: what departs from a plain fine-tuned backbone."""

from __future__ import annotations

from tenuto.labels import LabelType
from tenuto.learning import calibration
from tenuto.records import Checkpoint
from tenuto.serving.hearing.bundle import Exported
from tenuto.settings import ModelSettings, Params

_TUNED = "of fine-tuning"
"""How the origin of a fine-tuned checkpoint ends; else it names the head that was kept."""

_POOLS = {"statistics": "mean and deviation", "gru": "GRU", "lstm": "LSTM"}
_UNFROZEN = {"head": "the head alone fine-tuned", "gradual": "layers fine-tuned one after the other from the top"}


def is_finetuned(checkpoint: Checkpoint) -> bool:
    """False where the head fitted on frozen embeddings was kept, and the backbone stayed as it came."""
    return not checkpoint.origin or checkpoint.origin.endswith(_TUNED)


def built(params: Params, checkpoint: Checkpoint) -> list[str]:
    """What was kept of the fitting and what stands around the backbone; nothing of a plain fine-tuned model."""
    found = []
    if not is_finetuned(checkpoint):
        found.append(f"The backbone stayed as it came; the head alone was fitted ({checkpoint.origin}).")
    parts = _parts(params.model)
    if is_finetuned(checkpoint):
        parts += _tuned(params)
    return [*found, f"Built with {'; '.join(parts)}."] if parts else found


def calibrated(checkpoint: Checkpoint, kind: LabelType) -> list[str]:
    """What was fitted on the validation clips after training, and what was not, and why."""
    if not (checkpoint.path / calibration.FILE_NAME).is_file():
        return []
    fitted = calibration.load(checkpoint.path)
    found = []
    if fitted.temperature != 1:
        found.append(f"Probabilities are at temperature {fitted.temperature:.2f}, fitted on the validation clips.")
    if fitted.thresholds is not None:
        found.append(_thresholds(fitted.thresholds, kind))
    if fitted.note:
        found.append(f"Calibration has {fitted.note}.")
    return found


def served(exported: Exported | None) -> list[str]:
    """What serves the model and how like the checkpoint it answers, and why what was made besides may not serve."""
    if exported is None:
        return []
    if exported.bundle is None:
        return [f"The candidate was not exported, and is served from its checkpoint by MLflow alone: {exported.reason}"]
    best = exported.bundle.artefact()
    found = [
        f"The candidate is served as an ONNX graph, {best.name}; its speed and size are the graph's, on one thread."
    ]
    if best.parity:
        found.append(
            f"The graph gives {100 * best.parity.agreement:.1f} % of {best.parity.clips} test clips the label that the "
            f"checkpoint in PyTorch gives; macro-F1 changes by {best.parity.macro_f1_change:+.4f}."
        )
    left_out = [artefact for artefact in exported.bundle.artefacts if not artefact.is_published]
    return found + [f"{artefact.name} may not serve: {artefact.reason}." for artefact in left_out]


def _parts(model: ModelSettings) -> list[str]:
    found = []
    if model.truncate is not None:
        found.append(f"the first {model.truncate} layers of the backbone")
    if model.window_seconds is not None:
        found.append(
            f"windows of {model.window_seconds:g} s, {model.window_overlap:.0%} of each heard again by the next"
        )
    if model.pool != "own":
        found.append(f"{_POOLS.get(model.pool, model.pool)} pooling over time")
    if model.head != "linear":
        found.append(f"an mlp head of {model.hidden_size} units" if model.head == "mlp" else "a prototype head")
    return found


def _tuned(params: Params) -> list[str]:
    found = []
    if params.model.adapter_size:
        found.append(f"adapters of width {params.model.adapter_size} behind frozen layers")
    if params.model.lora_rank:
        found.append(f"LoRA updates of rank {params.model.lora_rank}, merged into frozen matrices")
    how = params.finetune.unfreeze
    if how != "all":
        found.append(_UNFROZEN.get(str(how), f"the top {how} layers fine-tuned"))
    return found


def _thresholds(thresholds: tuple[float, ...], kind: LabelType) -> str:
    usual = 0.5 if kind == "many" else 1 / len(thresholds)
    moved = sum(abs(value - usual) > 1e-9 for value in thresholds)
    if not moved:
        return f"Thresholds were asked for, and that of every class stayed at {usual:.2f}."
    said = f"Thresholds, fitted on the validation clips, decide which label is given: {moved} of {len(thresholds)}"
    return f"{said} are not {usual:.2f}" + (", so it need not be the likeliest." if kind == "one" else ".")
