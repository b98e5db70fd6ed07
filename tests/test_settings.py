from pathlib import Path

import pytest

from tenuto.errors import SettingsError
from tenuto.settings import Params, digest, load_params


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
            "finetune.unfreeze = 'tail' cannot be used: .*'all' or 'head'",
        ),
        ("name: 'a b/c'\n", "name = 'a b/c' cannot be used"),
        ("seed: 1\n", "'name' is missing"),
        ("- a\n- b\n", "holds list, wanted `key: value` lines"),
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
        ("name.first=x", "'name' holds a value, not a section"),
        ("finetune.epoch=3", "--set finetune.epoch=3.*|unknown key 'finetune.epoch'; did you mean 'epochs'?"),
        ("seed=[", "is not a YAML value"),
    ],
)
def test_a_wrong_override_is_named(params: Path, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_params(params, [override])


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="tenuto init"):
        load_params(tmp_path / "params.yaml")


def test_the_digest_follows_the_choices_not_their_order(params: Path) -> None:
    params.write_text("seed: 1\nname: digits\n")
    one = digest(load_params(params))
    params.write_text("name: digits\nseed: 1\n")
    assert digest(load_params(params)) == one
    assert digest(load_params(params, ["seed=2"])) != one
