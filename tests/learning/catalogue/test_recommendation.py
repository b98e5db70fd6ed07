"""Rankings of hand-made datasets; what a backbone is given and excluded for is added up by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tenuto.learning import catalogue
from tenuto.learning.catalogue import recommendation
from tenuto.learning.catalogue.recommendation import Facts, Ranked, Wishes, rank

AST = "MIT/ast-finetuned-audioset-10-10-0.4593"
CLAP, CLAP_MUSIC = "laion/clap-htsat-unfused", "laion/larger_clap_music"
WHISPER, DISTIL, WAVLM = "openai/whisper-tiny", "ntu-spml/distilhubert", "microsoft/wavlm-base-plus"
MERT = "m-a-p/MERT-v1-95M"


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def dataset(clips: int = 1000, seconds: float = 2.0, longest: float = 4.0, rate_hz: int = 16_000) -> Facts:
    return Facts(
        clips=clips,
        classes=10,
        rarest=clips // 10,
        median_seconds=seconds,
        longest_seconds=longest,
        sample_rate_hz=rate_hz,
    )


def places(facts: Facts, measured_ms: dict[str, float] | None = None, **wishes: object) -> dict[str, Ranked]:
    ranked = rank(facts, Wishes.model_validate(wishes), measured_ms or {})
    assert {place.id for place in ranked} == {entry.id for entry in catalogue.ENTRIES}
    for place in ranked:
        assert place.points == sum(reason.points for reason in place.reasons)
    return {place.id: place for place in ranked}


def said(place: Ranked) -> str:
    return "; ".join(reason.words for reason in place.reasons)


def usable(found: dict[str, Ranked]) -> list[str]:
    return [name for name, place in found.items() if not place.excluded]


def test_for_words_the_smallest_that_was_trained_on_speech_comes_first() -> None:
    found = places(dataset(), domain="speech")
    assert usable(found)[:3] == ["speech-embedding", WHISPER, DISTIL]
    assert found["speech-embedding"].points == 3
    assert found[WHISPER].points == 3  # its window is cut to 4 s, of which 2 are sound
    assert found[CLAP].points == -3 - 1 - 1  # 2 of 10 s are sound, and 8 of the 14 kHz it hears
    assert "fills a clip up to 10 s: 80% of its work is on padding" in said(found[CLAP])
    assert found[AST].points == -3


def test_one_long_clip_among_short_ones_makes_a_padded_backbone_work_on_silence() -> None:
    found = places(dataset(seconds=1, longest=20), domain="speech")
    assert found[WHISPER].points == 3 - 2
    assert "fills a clip up to 20 s (the longest clip): 95% of its work is on padding" in said(found[WHISPER])


def test_for_music_the_one_trained_on_music_comes_first_and_what_does_not_load_is_said_not_hidden() -> None:
    found = places(dataset(seconds=8, longest=10, rate_hz=44_100), domain="music")
    assert usable(found)[0] == CLAP_MUSIC
    assert found[MERT].excluded[0].startswith("needs Python code from the hub")
    assert found[MERT].points > found[CLAP_MUSIC].points - 3
    assert "is deaf to what lies above 3.8 kHz" in said(found["speech-embedding"])
    assert found["speech-embedding"].points == -3 - 1


def test_long_clips_want_windows_and_cost_attention() -> None:
    found = places(dataset(seconds=45, longest=60), domain="environmental")
    assert "hears 10.24 s at once and clips last up to 60 s: set model.window_seconds: 10.24 or less" in said(
        found[AST]
    )
    assert found[AST].points == 3 - 1
    assert "attention over clips of 60 s is slow" in said(found[WAVLM])
    assert "padding" not in said(found[WHISPER])
    assert "slow" not in said(found["speech-embedding"])


def test_telephone_recordings_leave_bands_empty() -> None:
    found = places(dataset(rate_hz=8_000), domain="speech")
    assert found["speech-embedding"].points == 3  # it hears up to 3.8 kHz, and 8 kHz hold 4
    assert found[DISTIL].points == 3 - 1
    assert "recordings at 8 kHz leave 50% of the band empty" in said(found[DISTIL])
    assert "leave 71% of the band empty" in said(found[CLAP])  # 4 of 14 kHz


def test_fifty_clips_favour_what_is_small_or_frozen() -> None:
    found = places(dataset(clips=50), domain="speech")
    assert (found["speech-embedding"].points, found[DISTIL].points, found[WAVLM].points) == (3 + 1, 3 - 1, 3 - 2)
    assert "94 million parameters learn 50 clips by heart: keep them frozen" in said(found[WAVLM])


def test_a_rare_class_counts_as_few_clips() -> None:
    facts = dataset(clips=3000).model_copy(update={"rarest": 7})
    assert "7 clips of the rarest class" in said(places(facts, domain="speech")[WAVLM])


def test_many_clips_favour_what_is_large() -> None:
    found = places(dataset(clips=20_000), domain="speech")
    assert found[WAVLM].points == 3 + 1 and usable(found)[0] in (WAVLM, "facebook/wav2vec2-base")


def test_a_tiny_budget_excludes_by_size_and_by_measured_latency() -> None:
    measured = {"speech-embedding": 8.0, DISTIL: 30.0}
    found = places(dataset(), measured, domain="speech", size_mb=100, latency_ms=20)
    assert found[WAVLM].excluded == ("378 MB, and 100 MB are allowed",)
    assert found[DISTIL].excluded == ("60 ms for a clip on this machine, and 20 ms are allowed",)  # 2 s at 30 ms
    assert found["speech-embedding"].points == 3 + 1 and "16 ms for a clip" in said(found["speech-embedding"])
    assert found[WHISPER].points == 3 - 2 and "not measured here" in said(found[WHISPER])
    assert usable(found)[0] == "speech-embedding"


def test_one_that_fills_clips_up_takes_the_time_of_its_window_for_any_clip() -> None:
    found = places(dataset(seconds=2, longest=8), {WHISPER: 10.0, CLAP: 90.0}, latency_ms=100)
    assert "80 ms for a clip" in said(found[WHISPER])  # cut to the longest clip, 8 s at 10 ms
    assert "90 ms for a clip" in said(found[CLAP])  # always 10 s


def test_commercial_use_excludes_a_licence_that_forbids_it() -> None:
    assert not any("commercial" in why for why in places(dataset())[MERT].excluded)
    found = places(dataset(), commercial=True)
    assert "its licence CC-BY-NC-4.0 forbids commercial use" in found[MERT].excluded
    unknown = catalogue.ENTRIES[3].model_copy(update={"licence": "unknown"})
    (place,) = rank(dataset(), Wishes(commercial=True), {}, [unknown])
    assert place.excluded == ("its licence is unknown, and with it whether it allows commercial use",)


def test_networks_from_scratch_are_opponents_only() -> None:
    assert places(dataset())["log-mel-crnn"].excluded == (
        "has no pre-trained weights: an opponent, finetune.baseline: log-mel-crnn",
    )


def test_without_a_domain_the_assumption_is_said_and_training_sounds_count_for_nothing() -> None:
    assert "no --domain was given" in str(recommendation.assumption(Wishes()))
    assert recommendation.assumption(Wishes(domain="bio")) is None
    assert "trained on" not in "".join(said(place) for place in places(dataset()).values())


def test_where_a_backbone_is_is_read_from_the_local_cache(tmp_path: Path) -> None:
    found = places(dataset())
    assert found["speech-embedding"].where == "comes with Tenuto"
    assert (found[DISTIL].where, found[MERT].where) == ("wants the hub", "does not load")
    entry = catalogue.entry(DISTIL)
    assert entry is not None and entry.revision is not None
    snapshot = tmp_path / "hub" / "models--ntu-spml--distilhubert" / "snapshots" / entry.revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert places(dataset())[DISTIL].where == "in the local cache"


def test_the_facts_of_a_manifest_are_counted() -> None:
    frame = pd.DataFrame(
        {
            "label": ["dog", "dog", "cat;dog", ""],
            "duration_seconds": [1.0, 2.0, 4.0, 9.0],
            "sample_rate_hz": [8000, 8000, 44100, 8000],
        }
    )
    one, many = recommendation.facts(frame, "one"), recommendation.facts(frame, "many")
    assert (one.clips, one.classes, one.rarest) == (4, 3, 1)
    assert (many.classes, many.rarest) == (2, 1)
    assert (many.median_seconds, many.longest_seconds, many.sample_rate_hz) == (3.0, 9.0, 8000)
    assert str(many) == "4 clips of 2 classes (the rarest has 1), 3.0 s in the median and 9.0 s at most, at 8 kHz"
