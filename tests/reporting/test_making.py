"""What the page and the card say of how a model was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenuto.learning.calibration import Calibration
from tenuto.records import Checkpoint
from tenuto.reporting import card, making
from tenuto.reporting.card.contents import contents
from tenuto.serving.hearing.bundle import Exported
from tenuto.settings import Params
from tests.bundles import two_artefacts
from tests.reporting.test_card import NO_FILE, inputs

TUNED, KEPT = "epoch 3 of fine-tuning", "mlp on frozen embeddings"


def params(**sections: dict[str, Any]) -> Params:
    return Params.model_validate({"name": "digits"} | sections)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> card.CardInputs:
    return inputs(tmp_path_factory.mktemp("run"), params())


def made(whole: card.CardInputs, origin: str, **more: Any) -> Checkpoint:
    return whole.checkpoint.model_copy(update={"origin": origin, **more})


def test_of_a_plain_model_there_is_nothing_to_say(whole: card.CardInputs, tmp_path: Path) -> None:
    plain = made(whole, TUNED, path=tmp_path)
    assert making.built(params(), plain) == making.calibrated(plain, "one") == []
    text = card.render(replace(whole, checkpoint=plain), NO_FILE)
    assert "fine-tuned from speech-embedding" in text and "Built with" not in text


def test_a_kept_head_was_not_fine_tuned_and_has_no_adapters(whole: card.CardInputs) -> None:
    tailored = params(model={"head": "mlp", "pool": "mean", "truncate": 2, "adapter_size": 16})
    kept, tuned = (making.built(tailored, made(whole, origin)) for origin in (KEPT, TUNED))
    around = "Built with the first 2 layers of the backbone; mean pooling over time; an mlp head of 128 units"
    assert kept == [f"The backbone stayed as it came; the head alone was fitted ({KEPT}).", f"{around}."]
    assert tuned == [f"{around}; adapters of width 16 behind frozen layers."]
    text = card.render(replace(whole, params=tailored, checkpoint=made(whole, KEPT)), NO_FILE)
    assert "with a head on frozen embeddings of speech-embedding" in text and "fine-tuned from" not in text
    assert around in text


def test_windows_lora_and_layers_are_told(whole: card.CardInputs) -> None:
    settings = params(model={"window_seconds": 5, "lora_rank": 8, "pool": "gru", "head": "prototype"})
    text = card.render(replace(whole, params=settings, checkpoint=made(whole, TUNED)), NO_FILE)
    assert "a prototype head; LoRA updates of rank 8, merged into frozen matrices." in text, "not cut"
    told = "windows of 5 s, 50% of each heard again by the next; GRU pooling over time; a prototype head"
    lora = "LoRA updates of rank 8, merged into frozen matrices"
    assert making.built(settings, made(whole, TUNED)) == [f"Built with {told}; {lora}."]
    top = params(finetune={"unfreeze": 2})
    assert making.built(top, made(whole, TUNED)) == ["Built with the top 2 layers fine-tuned."]
    assert making.built(top, made(whole, "linear probe"))[1:] == []


def test_temperature_and_thresholds_are_told(whole: card.CardInputs, tmp_path: Path) -> None:
    Calibration(1.5, (0.2, 0.4, 0.1, 0.1), "").save(tmp_path)
    told = making.calibrated(made(whole, TUNED, path=tmp_path), "many")
    assert told == [
        "Probabilities are at temperature 1.50, fitted on the validation clips.",
        "Thresholds, fitted on the validation clips, decide which label is given: 4 of 4 are not 0.50.",
    ]


def test_with_thresholds_the_confidence_is_that_of_the_label_given(whole: card.CardInputs, tmp_path: Path) -> None:
    """Two clips by hand: 0.9 for the likeliest, and 0.3 for the label that a threshold put above 0.7."""
    answers = pd.DataFrame(
        {"model": "candidate", "predicted": ["a", "b"], "p_a": [0.9, 0.7], "p_b": [0.1, 0.3]}, index=[5, 6]
    )
    answers.to_parquet(tmp_path / "answers.parquet")
    evaluation = whole.evaluation.model_copy(
        update={"probabilities_path": tmp_path / "answers.parquet", "labels": ("a", "b")}
    )
    values = contents(replace(whole, evaluation=evaluation), pd.read_parquet(whole.clips_path))
    assert values["calibration"]["confidence"] == pytest.approx(0.6)
    assert values["calibration"]["moved"] == 1
    text = card.render(replace(whole, evaluation=evaluation), NO_FILE)
    assert "mean confidence 0.600" in text
    assert "The error is of the likeliest label; on 1 test clip a threshold gave another." in text


def test_what_serves_is_said_with_its_parity_and_what_may_not_serve_with_its_reason() -> None:
    assert making.served(two_artefacts()) == [
        "The candidate is served as an ONNX graph, fp32; its speed and size are the graph's, on one thread.",
        "The graph gives 99.5 % of 200 test clips the label that the checkpoint in PyTorch gives; macro-F1 changes by "
        "-0.0020.",
        "int8-static may not serve: it says otherwise of 3 clips.",
    ]


def test_a_candidate_that_was_not_exported_says_why_and_an_old_run_says_nothing() -> None:
    (sentence,) = making.served(Exported(reason="It has no graph."))
    assert (
        sentence
        == "The candidate was not exported, and is served from its checkpoint by MLflow alone: It has no graph."
    )
    assert making.served(None) == []
