"""Which backbones meet which heads."""

from __future__ import annotations

from tenuto.learning.comparison import choices
from tests import chirps


def test_every_backbone_meets_every_head_and_a_network_from_scratch_its_own() -> None:
    params = chirps.params()
    found = choices.choices(params, ["speech-embedding", "log-mel-cnn"], ["linear", "mlp"], is_finetuned=True)
    assert [c.title for c in found] == [
        "speech-embedding, linear, fine-tuned",
        "speech-embedding, mlp, fine-tuned",
        "log-mel-cnn, own, from scratch",
    ]
    usual = choices.choices(params, (), ["linear"], is_finetuned=False)
    assert [c.backbone for c in usual] == ["speech-embedding", "log-mel-cnn", "log-mel-crnn"]
