import pandas as pd
import pytest

from tenuto.tracing.erasure.identities import Identities

ANN, BEN = "a" * 32, "b" * 32


def known(**columns: list[object]) -> pd.DataFrame:
    table = {"clip_id": [ANN, BEN], "label": ["up", "down"], "source": ["up_ann.wav", "down_ben.wav"], "batch": [0, 0]}
    return pd.DataFrame(table | {"family": [ANN, BEN], "group_speaker": ["ann", "ben"]} | columns)


def of_ann(**columns: list[object]) -> Identities:
    return Identities.of(known(**columns), [ANN], [("speaker", "ann")])


@pytest.mark.parametrize(
    "text",
    [
        "the worst speaker is ann",
        "speaker=Ann",
        "up_ann_0.wav",
        '{"speaker": "ann"}',
        f"clips/aa/{ANN}.wav",
        "https://host/report?speaker=ann&page=2",
    ],
)
def test_a_name_is_found_in_sentences_file_names_json_and_addresses(text: str) -> None:
    who = of_ann()
    assert who.are_in(text)
    assert not who.are_in(who.without(text))


@pytest.mark.parametrize("text", ["channel", "annual", "joanna", f"clips/bb/{BEN}.wav", "ben", ANN + "0", ""])
def test_other_words_that_contain_the_name_are_left_alone(text: str) -> None:
    assert of_ann().without(text) == text


@pytest.mark.parametrize("value", ["7", "up", "test", "x", "berlin"])
def test_a_name_that_means_something_else_too_is_replaced_beside_its_groups_name_only(value: str) -> None:
    table = known(group_speaker=[value, "ben"], group_site=["rome", "berlin"])
    who = Identities.of(table, [ANN], [("speaker", value)])
    assert (
        who.without(f"{value} of 10 clips; speaker={value}, speaker {value}")
        == f"{value} of 10 clips; (erased), (erased)"
    )


def test_names_with_accents_and_quotes_are_found_as_json_html_and_addresses_write_them() -> None:
    who = of_ann(group_speaker=['Zoë "Z"', "ben"])
    who = Identities.of(known(group_speaker=['Zoë "Z"', "ben"]), [ANN], [])
    for text in ('Zoë "Z"', r"Zo\u00eb \"Z\"", r"Zo\\u00eb \\\"Z\\\"", "Zoë &quot;Z&quot;", "Zo%C3%AB%20%22Z%22"):
        assert who.are_in(f"speaker: {text}!"), text


def test_other_values_that_only_her_recordings_carry_go_with_her() -> None:
    who = of_ann(group_device=["anns phone", "studio"], group_site=["rome", "rome"])
    assert who.groups == (("device", "anns phone"), ("speaker", "ann"))


def test_a_file_name_that_another_recording_has_too_stays() -> None:
    assert of_ann(source=["1.wav", "1.wav"]).sources == ()


def test_a_family_named_after_an_erased_clip_is_named_after_its_oldest_other_clip() -> None:
    older, newer = "c" * 32, "d" * 32
    table = pd.concat(
        [known(), known(clip_id=[newer, older], family=[ANN, ANN], batch=[2, 1], group_speaker=["ben", "ben"])]
    )
    assert Identities.of(table, [ANN], []).families == {ANN: older}
