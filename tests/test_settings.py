from pathlib import Path

import pytest

from tenuto.errors import SettingsError
from tenuto.settings import Params, load_params
from tenuto.typed_yaml import digest, validated


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text("name: digits\n")
    return path


def test_left_out_keys_keep_their_defaults(params: Path) -> None:
    assert load_params(params) == Params(name="digits")


@pytest.mark.parametrize(
    ("text", "names"),
    [("[nicolas, theo]", ("nicolas", "theo")), ("nicolas", ("nicolas",)), ("[3, 4]", ("3", "4"))],
)
def test_speakers_are_held_out_by_one_name_or_several(params: Path, text: str, names: tuple[str, ...]) -> None:
    assert load_params(params, [f"split.hold_out.speaker={text}"]).split.hold_out == {"speaker": names}


def test_overrides_apply_in_order_and_only_to_their_key(params: Path) -> None:
    loaded = load_params(params, ["finetune.epochs=5", "finetune.epochs=7", "seed=3"])
    assert (loaded.finetune.epochs, loaded.seed, loaded.finetune.batch_size) == (7, 3, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: digits\nsplitt: {}\n", "params.yaml: unknown key 'splitt'; did you mean 'split'?"),
        ("name: digits\nsplit: {tset: 0.3}\n", "unknown key 'split.tset'; did you mean 'test'?"),
        (
            "name: digits\nfinetune: {epochs: -1}\n",
            "finetune.epochs = -1 cannot be used: .*greater than or equal to 0",
        ),
        ("name: digits\nfinetune: {epochs: many}\n", "finetune.epochs = 'many' cannot be used"),
        (
            "name: digits\nfinetune: {unfreeze: tail}\n",
            "finetune.unfreeze = 'tail' cannot be used: .*'all', 'head' or 'gradual'",
        ),
        ("name: 'a b/c'\n", "name = 'a b/c' cannot be used"),
        ("seed: 1\n", "'name' is missing"),
        ("- a\n- b\n", "holds a list, wanted `key: value` lines"),
        ("name: [\n", "params.yaml is not valid YAML"),
    ],
)
def test_a_wrong_file_names_key_value_and_what_is_allowed(params: Path, text: str, message: str) -> None:
    params.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_params(params)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "wanted key=value"),
        ("=3", "wanted key=value"),
        ("finetune.=3", "wanted key=value"),
        ("name.first=x", "'name' holds a value, not a section"),
        ("finetune.epoch=3", "--set finetune.epoch=3: unknown key"),
        ("seed=[", "is not a YAML value"),
    ],
)
def test_a_wrong_override_is_named(params: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_params(params, [override])


@pytest.mark.parametrize("text", ["finetune:\n", "split:\n  hold_out:\n"])
def test_a_section_with_nothing_below_it_is_an_empty_one(params: Path, text: str) -> None:
    params.write_text(f"name: digits\n{text}")
    assert load_params(params) == Params(name="digits")
    assert load_params(params, ["finetune.epochs=3", "augment="]).finetune.epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("finetune: 3", "finetune = 3 cannot be used: wanted `key: value` lines."),
        ("augment: {fill: 2}", "augment.fill = 2 cannot be used: input should be less than or equal to 1."),
        ("augment: {fill: x}", "augment.fill = 'x' cannot be used: wanted a number."),
        ("augment: {fill: true}", "augment.fill = true cannot be used: wanted a number, not true or false."),
        ("evaluate: {noise_snr_db: 10}", "evaluate.noise_snr_db = 10 cannot be used: wanted a list such as [20, 10]."),
        (
            "evaluate: {noise_snr_db: [a, 10]}",
            "evaluate.noise_snr_db = ['a', 10] cannot be used: 'a' in it: wanted a number.",
        ),
        ("threads: true", "threads = true cannot be used: wanted a number, not true or false."),
        ("threads: 1.5", "threads = 1.5 cannot be used: wanted a whole number."),
        ("threads:", "threads = null cannot be used: wanted a whole number."),
        ("data: {upload: 3}", "data.upload = 3 cannot be used: wanted true or false."),
        ("backbone: 3", "backbone = 3 cannot be used: wanted text; write it in quotes."),
        ("backbone: ''", "backbone = '' cannot be used: it is empty."),
        ("seed: -1", "seed = -1 cannot be used: input should be greater than or equal to 0."),
        ("seed: 4294967296", "seed = 4294967296 cannot be used: input should be less than or equal to 4294967295."),
        ("split: {seed: -1}", "split.seed = -1 cannot be used: input should be greater than or equal to 0."),
        ("finetune: {epochs: .inf}", "finetune.epochs = inf cannot be used: wanted a finite number."),
        (
            "split: {hold_out: {speaker: []}}",
            "split.hold_out.speaker = [] cannot be used: wanted one name or a list of them.",
        ),
        (
            "split: {hold_out: {3: [a]}}",
            "the key 'split.hold_out.3' cannot be used: wanted text; write it in quotes.",
        ),
        (
            "split: {validation: 0.5, test: 0.5}",
            "split.validation = 0.5 and split.test = 0.5 leave nothing to train on; their sum must be below 1.",
        ),
        (
            "data: {min_duration_seconds: 700}",
            "data.min_duration_seconds = 700 and data.max_duration_seconds = 600.0 leave no recording; "
            "the first must be below the second.",
        ),
        (
            "augment: {min_snr_db: 9, max_snr_db: 8}",
            "augment.min_snr_db = 9 and augment.max_snr_db = 8 leave no signal-to-noise ratio; "
            "the first must not be above the second.",
        ),
    ],
)
def test_what_cannot_be_right_is_said_in_one_line_without_the_parsers_words(
    params: Path, text: str, message: str
) -> None:
    params.write_text(f"name: digits\n{text}\n")
    with pytest.raises(SettingsError) as error:
        load_params(params)
    assert str(error.value) == f"params.yaml: {message}"


def test_a_test_set_by_name_leaves_its_share_unused(params: Path) -> None:
    assert load_params(params, ["split.test=0.9", "split.hold_out.speaker=ann"]).split.test == 0.9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a b", "wanted letters, digits, '.', '_' or '-', the first a letter or digit."),
        ("a" * 201, "wanted at most 200 characters, found 201."),
    ],
)
def test_a_name_that_cannot_be_used_says_what_is_allowed(params: Path, name: str, message: str) -> None:
    params.write_text(f"name: {name}\n")
    with pytest.raises(SettingsError) as error:
        load_params(params)
    assert str(error.value).endswith(f"cannot be used: {message}")


def test_each_problem_is_told_of_the_place_that_it_was_written_in(params: Path) -> None:
    params.write_text("name: digits\nthreads: 0\nsplit: {validation: 0.3}\n")
    with pytest.raises(SettingsError) as error:
        load_params(params, ["finetune.epoch=3", "finetune.warmup=2", "split.test=0.8"])
    assert sorted(str(error.value).splitlines()) == [
        "--set finetune.epoch=3: unknown key 'finetune.epoch'; did you mean 'epochs'?",
        "--set finetune.warmup=2: finetune.warmup = 2 cannot be used: input should be less than 1.",
        "--set split.test=0.8: split.validation = 0.3 and split.test = 0.8 leave nothing to train on; "
        "their sum must be below 1.",
        "params.yaml: threads = 0 cannot be used: input should be greater than or equal to 1.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nname: a\nname: b\n", "params.yaml line 3: key 'name' is there twice."),
        ("name: a\nseed: *x\n", "params.yaml is not valid YAML: line 2: found undefined alias 'x'."),
        (
            'name: "a\x07"\n',
            "params.yaml is not valid YAML: unacceptable character #x0007: special characters are not allowed.",
        ),
    ],
)
def test_wrong_yaml_is_told_by_its_line(params: Path, text: str, message: str) -> None:
    params.write_text(text)
    with pytest.raises(SettingsError) as error:
        load_params(params)
    assert str(error.value) == message


def test_a_file_in_another_encoding_is_named(params: Path) -> None:
    params.write_bytes("name: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"params\.yaml is not UTF-8 text"):
        load_params(params)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`tenuto init DIR` makes one"):
        load_params(tmp_path / "params.yaml")


def test_the_digest_follows_the_choices_not_their_order(params: Path) -> None:
    params.write_text("seed: 1\nname: digits\n")
    one = digest(load_params(params))
    params.write_text("name: digits\nseed: 1\n")
    assert digest(load_params(params)) == one
    assert digest(load_params(params, ["seed=2"])) != one


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"class_weights": "inverse"}, "imbalance.loss = 'logit-adjustment' and imbalance.class_weights = 'inverse'"),
        ({"sample_by": "label"}, "imbalance.loss = 'logit-adjustment' and imbalance.sample_by = 'label'"),
    ],
)
def test_classes_are_not_evened_out_twice(values: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"{named} both even out the classes"):
        validated(Params, {"name": "a", "imbalance": {"loss": "logit-adjustment"} | values}, "params.yaml")
    by_group = {"loss": "logit-adjustment", "sample_by": "accent"}
    assert validated(Params, {"name": "a", "imbalance": by_group}, "params.yaml").imbalance.sample_by == ("accent",)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 10.0),
        ({"model": {"window_seconds": 5.0}}, 600.0),
        ({"model": {"window_seconds": 5.0}, "data": {"max_duration_seconds": 60.0}}, 60.0),
        ({"model": {"window_seconds": 5.0}, "finetune": {"max_clip_seconds": 20.0}}, 20.0),
        ({"finetune": {"max_clip_seconds": 20.0}}, 20.0),
    ],
)
def test_a_clip_is_cut_to_ten_seconds_unless_windows_hear_it(values: dict[str, object], seconds: float) -> None:
    assert validated(Params, {"name": "a"} | values, "params.yaml").longest_heard_seconds == seconds


def test_keys_of_two_sections_that_do_not_go_together_are_both_named() -> None:
    values = {"name": "a", "finetune": {"label_smoothing": 0.1}, "imbalance": {"loss": "focal"}}
    wanted = r"finetune.label_smoothing = 0.1 and imbalance.loss = 'focal' do not go together"
    with pytest.raises(SettingsError, match=wanted):
        validated(Params, values, "params.yaml")


def test_classes_are_evened_out_once() -> None:
    values = {"name": "a", "imbalance": {"sample_by": "label", "class_weights": "inverse"}}
    with pytest.raises(SettingsError, match=r"imbalance.sample_by = 'label' and imbalance.class_weights = 'inverse'"):
        validated(Params, values, "params.yaml")


def test_the_cards_text_is_at_most_as_long_as_the_registry_can_show() -> None:
    values = {"name": "a", "card": {"limits": "x" * 2001}}
    with pytest.raises(SettingsError, match=r"card.limits = .* wanted at most 2000 characters, found 2001"):
        validated(Params, values, "params.yaml")
    with pytest.raises(SettingsError, match=r"unknown key 'card.contcat'; did you mean 'contact'"):
        validated(Params, {"name": "a", "card": {"contcat": "ann"}}, "params.yaml")
    assert validated(Params, {"name": "a", "card": None}, "params.yaml").card.contact is None
