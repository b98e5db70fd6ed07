"""How training clips count, on tables small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto.errors import SettingsError
from tenuto.learning import losses
from tenuto.learning.imbalance import Balance, balance, weights
from tenuto.settings import FinetuneSettings, ImbalanceSettings

ROWS = pd.DataFrame(
    {
        "label": ["up", "up", "up", "down"],
        "group_accent": ["x", "x", "y", "x"],
        "group_site": [None, "a", "a", None],
    }
)
CLASSES = np.array([1, 1, 1, 0])


def balanced(smoothing: float = 0.0, **settings: object) -> Balance:
    chosen = ImbalanceSettings.model_validate(settings)
    return balance(ROWS, CLASSES, 2, chosen, FinetuneSettings(label_smoothing=smoothing))


def test_by_default_every_clip_counts_alike() -> None:
    found = balanced()
    assert found.is_plain and found.loss.weights is None


def test_classes_are_drawn_equally_often() -> None:
    draws = balanced(sample_by="label").draws
    assert draws is not None
    assert draws.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])


def test_every_combination_that_occurs_is_drawn_equally_often() -> None:
    """(up, x) twice, (up, y) and (down, x) once each: 4 / 3 draws a combination."""
    draws = balanced(sample_by=["label", "accent"]).draws
    assert draws is not None
    assert draws.tolist() == pytest.approx([2 / 3, 2 / 3, 4 / 3, 4 / 3])


def weighed(**settings: object) -> list[float] | None:
    found = weights(ROWS, CLASSES, 2, ImbalanceSettings.model_validate(settings))
    return None if found is None else found.tolist()


def test_weights_are_draws_times_class_weights() -> None:
    """Accent x thrice and y once: drawn 2 / 3 and 2 times; three up and one down: 2 / 3 and 2 in the loss."""
    assert weighed() == [1, 1, 1, 1]
    assert weighed(sample_by="accent") == pytest.approx([2 / 3, 2 / 3, 2, 2 / 3])
    assert weighed(class_weights="inverse") == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    both = weighed(sample_by="accent", class_weights="inverse", loss="focal")
    assert both == pytest.approx([4 / 9, 4 / 9, 4 / 3, 4 / 3])


def test_group_dro_has_no_weights_that_stay() -> None:
    assert weighed(group_dro="accent", class_weights="inverse") is None


def test_clips_without_the_group_are_a_group_of_their_own() -> None:
    found = balanced(group_dro="site")
    assert found.group_names == ("(unknown)", "a") and found.groups is not None
    assert found.groups.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cross-entropy", losses.CrossEntropy),
        ("focal", losses.Focal),
        ("ldam", losses.LDAM),
        ("logit-adjustment", losses.LogitAdjustment),
    ],
)
def test_the_loss_is_the_one_that_is_named(name: str, kind: type) -> None:
    assert type(balanced(loss=name).loss) is kind


def test_settings_reach_the_loss() -> None:
    """Counts 1 and 3: shares 1/4 and 3/4, inverse weights 2 and 2/3."""
    assert balanced(loss="focal", focal_gamma=1.0).loss(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(
        0.5 * np.log(2)
    )
    adjusted = balanced(loss="logit-adjustment", logit_tau=2.0).loss
    assert adjusted(torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(np.log(10))
    assert balanced(class_weights="inverse").loss.weights.tolist() == pytest.approx([2, 2 / 3])
    smoothed = balanced(smoothing=0.5).loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    plain = balanced().loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    assert smoothed.item() == pytest.approx(plain.item() + 0.5)


@pytest.mark.parametrize(
    ("settings", "key"), [({"sample_by": ["label", "site2"]}, "sample_by"), ({"group_dro": "site2"}, "group_dro")]
)
def test_an_unknown_group_is_named_with_the_known_ones(settings: dict[str, object], key: str) -> None:
    with pytest.raises(SettingsError, match=rf"imbalance.{key} names 'site2'.*known: label, accent, site"):
        balanced(**settings)
