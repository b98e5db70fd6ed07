"""What `tune.space` may hold, said in one line for each key that it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto import search_space
from tenuto.errors import SettingsError
from tenuto.search_space import Range, space_of, with_settings
from tenuto.settings import Params, load_params


def loaded(folder: Path, *lines: str) -> Params:
    path = folder / "params.yaml"
    path.write_text("\n".join(["name: digits", *lines]))
    return load_params(path)


def test_choices_and_ranges_are_read_by_dotted_keys_or_below_their_section(tmp_path: Path) -> None:
    dotted = loaded(
        tmp_path,
        "tune:",
        "  on: finetune",
        "  space:",
        "    finetune.learning_rate: {low: 1e-5, high: 1e-3, log: true}",
        "    finetune.unfreeze: [all, 2]",
        "    imbalance.sample_by: [[], [label, accent]]",
    )
    assert dotted.tune.space == {
        "finetune.learning_rate": Range(low=1e-5, high=1e-3, log=True),
        "finetune.unfreeze": ("all", 2),
        "imbalance.sample_by": ([], ["label", "accent"]),
    }
    nested = loaded(
        tmp_path,
        "tune: {on: finetune, space: {finetune: {learning_rate: {low: 1e-5, high: 1e-3, log: true},",
        "  unfreeze: [all, 2]}, imbalance: {sample_by: [[], [label, accent]]}}}",
    )
    assert nested == dotted


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            "finetune.learning_rat: [1]",
            "tune.space has the unknown key 'finetune.learning_rat'; did you mean 'finetune.learning_rate'?",
        ),
        ("model.xyz: [1]", "tune.space has the unknown key 'model.xyz'; known there: adapter_size, head, "),
        (
            "split.seed: [0, 1]",
            "tune.space has the key 'split.seed'; wanted a setting of augment, model, finetune, imbalance",
        ),
        ("seed: [0, 1]", "tune.space has the key 'seed'; wanted a setting of augment, model, finetune, imbalance"),
        (
            "finetune.optimizer: [adamw, adam]",
            "tune.space.finetune.optimizer: finetune.optimizer = 'adam' cannot be used: input should be 'adamw', 'sgd'",
        ),
        (
            "finetune.warmup: {low: 0.1, high: 1.5}",
            "tune.space.finetune.warmup: finetune.warmup = 1.5 cannot be used: input should be less than 1",
        ),
        (
            "finetune.warmup: {low: 0.3, high: 0.1}",
            "tune.space.finetune.warmup.low = 0.3 and tune.space.finetune.warmup.high = 0.1 leave nothing to choose",
        ),
        (
            "finetune.warmup: {low: 0, high: 0.1, log: true}",
            "tune.space.finetune.warmup.low = 0 and tune.space.finetune.warmup.log = true do not go together",
        ),
        (
            "finetune.warmup: {low: a, high: 0.1}",
            "tune.space.finetune.warmup = {'low': 'a', 'high': 0.1} cannot be used: wanted a number",
        ),
        (
            "finetune.batch_size: {low: 1.5, high: 8}",
            "tune.space.finetune.batch_size: finetune.batch_size = 1.5 cannot be used: wanted a whole number",
        ),
        ("model.head: mlp", "tune.space.model.head = 'mlp' cannot be used: wanted a list of choices, or {low: "),
        ("model.head: []", "tune.space.model.head = [] cannot be used: wanted a list of choices, or {low: "),
        ("finetune.warmup: {from: 0, to: 1}", "cannot be used: wanted a list of choices, or {low: ..., high: ..."),
        (
            "finetune.optimizer: {low: 0, high: 1}",
            "tune.space.finetune.optimizer cannot be a range: finetune.optimizer is no number; wanted a list",
        ),
        ("finetune.compile: {low: 0, high: 1}", "finetune.compile is no number; wanted a list of choices"),
    ],
)
def test_a_key_or_value_that_the_settings_do_not_allow_is_named(tmp_path: Path, space: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, "tune:", "  on: finetune", "  space:", f"    {space}")
    assert str(error.value).startswith("params.yaml: ")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("finetune.optimizer: [adamw, sgd]", "which do not depend on it; wanted tune.on: finetune"),
        ("augment.mixup_alpha: [0, 0.2]", "which do not depend on it; wanted tune.on: finetune"),
        ("augment.noise: {low: 0, high: 1}", "cannot be a range on embeddings: each value costs new ones"),
        (
            "model.pool: [mean, gru]",
            "tune.space.model.pool = 'gru' learns in fine-tuning only; wanted tune.on: finetune",
        ),
    ],
)
def test_on_embeddings_only_what_they_show_can_be_tuned(tmp_path: Path, space: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, "tune:", "  space:", f"    {space}")
    assert message in str(error.value)


def test_a_space_of_the_command_line_is_named_as_its_origin(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("name: digits\n")
    with pytest.raises(SettingsError, match=r"^--set tune.space.model.head=\[tree\]: tune.space.model.head: "):
        load_params(tmp_path / "params.yaml", ["tune.space.model.head=[tree]"])


def test_a_space_without_a_line_is_one_that_fits_the_other_settings() -> None:
    plain = space_of(Params(name="a"))
    assert plain["imbalance.loss"] == ("cross-entropy", "focal", "ldam", "logit-adjustment"), "one label a clip"
    many = space_of(Params.model_validate({"name": "a", "data": {"labels": "many"}}))
    assert many["model.head"] == ("linear", "mlp")
    assert many["imbalance.loss"] == ("cross-entropy", "focal", "asymmetric")
    smoothed = space_of(Params.model_validate({"name": "a", "finetune": {"label_smoothing": 0.1}}))
    assert smoothed["imbalance.loss"] == ("cross-entropy", "logit-adjustment")
    adapted = {"name": "a", "model": {"adapter_size": 8}, "tune": {"on": "finetune"}}
    assert "finetune.unfreeze" not in space_of(Params.model_validate(adapted))
    auto = space_of(Params.model_validate({"name": "a", "imbalance": {"remedy": "auto"}}))
    assert not [key for key in auto if key.startswith("imbalance.")]


@pytest.mark.parametrize("on", ["embeddings", "finetune"])
def test_the_default_spaces_pass_the_check_themselves(on: str) -> None:
    space = space_of(Params.model_validate({"name": "a", "tune": {"on": on}}))
    search_space.check(Params.model_validate({"name": "a", "tune": {"on": on, "space": dict(space)}}), "params.yaml")
    assert len(space) >= 6


def test_settings_are_put_in_their_place_and_checked_together() -> None:
    params = Params.model_validate({"name": "a", "finetune": {"label_smoothing": 0.1}, "tune": {"trials": 3}})
    changed = with_settings(params, {"finetune.probe_c": 2.5, "imbalance.sample_by": ["label"]})
    assert changed.finetune.probe_c == 2.5 and changed.imbalance.sample_by == ("label",)
    assert changed.finetune.label_smoothing == 0.1 and changed.tune == params.tune
    with pytest.raises(SettingsError, match=r"label_smoothing = 0\.1 and imbalance\.loss = 'ldam' do not go together"):
        with_settings(params, {"imbalance.loss": "ldam"})


def test_settings_survive_the_way_over_the_command_line(tmp_path: Path) -> None:
    settings = {"finetune.probe_c": 1e-5, "imbalance.sample_by": ["label"], "model.truncate": None, "model.head": "mlp"}
    (tmp_path / "params.yaml").write_text("name: digits\n")
    expected = with_settings(Params(name="digits"), settings)
    assert load_params(tmp_path / "params.yaml", search_space.overrides(settings)) == expected


def test_what_a_remedy_decides_is_no_part_of_a_search() -> None:
    auto = {"name": "a", "imbalance": {"remedy": "auto"}}
    assert not {"augment.fill", "imbalance.loss"} & set(space_of(Params.model_validate(auto)))
    asked = Params.model_validate({**auto, "tune": {"space": {"augment.fill": [0, 1]}}})
    with pytest.raises(
        SettingsError, match=r"tune.space.augment.fill and imbalance.remedy = 'auto' do not go together"
    ):
        search_space.check(asked, "params.yaml")


def test_settings_that_nothing_takes_notice_of_are_left_out() -> None:
    found = {"model.head": "linear", "model.hidden_size": 64, "finetune.probe_c": 0.5}

    def left(**choices: str) -> set[str]:
        settings = found | {f"model.{name}": value for name, value in choices.items()}
        return set(search_space.effective(Params(name="digits"), settings)) - {"model.pool"}

    assert left() == {"model.head", "finetune.probe_c"}
    assert left(head="mlp") == {"model.head", "model.hidden_size"}
    assert left(head="prototype") == {"model.head"}
    assert left(pool="gru") == set(found)
