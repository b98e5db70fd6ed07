"""Is drift found within 200 clips, and how many alarms do 50 clean weeks raise?

    python -m benchmarks.drift

Wide-band spoken digits by espeak-ng: a head is fitted on the frozen default backbone with four accents, and its
reference is what `tenuto monitor` would hold later clips against. A week has 200 clips. Clean weeks are of the voices
that trained, or of voices half of which were never heard before, all of the same accents. Drift is the telephone band
(300 to 3,400 Hz; at the old level it is tried too, and nothing is claimed), two new accents, and noise that rises from
30 to 5 dB below the speech. Then the same with the real recordings of the Free Spoken Digit Dataset, where they are:
six speakers, of whom one at a time is new. Exits with 1 when a drift is missed or more than 3 of 50 clean weeks raise
an alarm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import soxr
import torch
from scipy.signal import butter, sosfilt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.command import ABSENT, FSDD, machine
from tenuto.dataset import starter
from tenuto.dataset.espeak import Espeak
from tenuto.learning import backbones
from tenuto.learning.preprocessing import Preprocessing
from tenuto.monitoring import drift
from tenuto.serving.hearing import novelty
from tenuto.sound import audio
from tenuto.sound.audio import load_waveform

RATE_HZ = 16_000
WEEK_CLIPS = 200
WEEKS = 50
MOST_ALARMS = 3
LEVEL = 0.01
REPEATS = 5
ACCENTS = ("american", "received", "scottish", "lancastrian")
NEW_ACCENTS = ("caribbean", "russian")
VOICES = ("m1", "m3", "m8", "f2", "f3", "f4")
NEW_VOICES = ("m2", "m4", "m5", "m7", "f1", "f5")

Wave = np.ndarray
Change = Callable[[Wave, float, np.random.Generator], Wave]
"""Of a wave, given how far the week has gone in [0, 1]."""


@dataclass(frozen=True)
class Clip:
    """A recording before anything happens to it."""

    wave: Wave
    label: str
    speaker: str


class Model:
    """The default backbone with a head that was fitted on clips, and the reference that goes with it."""

    def __init__(self, training: Sequence[Clip], validation: Sequence[Clip]) -> None:
        backbone = backbones.resolve("speech-embedding")
        self._encoder = backbone.pretrained(["a", "b"], seed=0)
        self._preprocessing = Preprocessing.of(backbone.feature_extractor, backbone.config, 10.0)
        self._head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        embeddings = [self._embeddings([clip.wave for clip in clips]) for clips in (training, validation)]
        labels = [clip.label for clip in training]
        self._head.fit(embeddings[0], labels)
        fitted = novelty.fit(embeddings[0], labels, embeddings[1])
        assert fitted is not None
        self._novelty = fitted
        clips = [*training, *validation]
        self.reference = self.answers([clip.wave for clip in clips]).assign(
            label=[clip.label for clip in clips],
            split=["train"] * len(training) + ["validation"] * len(validation),
        )
        told = self.reference[self.reference["split"] == "validation"]
        self.accuracy = float((told["predicted"] == told["label"]).mean())

    def answers(self, waves: Sequence[Wave]) -> pd.DataFrame:
        """What the log of served predictions would hold of the waves."""
        embeddings = self._embeddings(waves)
        probabilities = self._head.predict_proba(embeddings)
        classes = self._head.classes_
        unlike = self._novelty.score(embeddings)
        table = pd.DataFrame(
            {
                "predicted": classes[probabilities.argmax(axis=1)],
                "probability": probabilities.max(axis=1),
                "novelty": unlike,
                "is_unknown": unlike > 1,
                "duration_seconds": [len(wave) / RATE_HZ for wave in waves],
                "level_dbfs": [audio.level_dbfs(wave) for wave in waves],
                "embedding": list(embeddings),
            }
        )
        table["label"] = table["predicted"].mask(table["is_unknown"], "unknown")
        table[[f"p_{label}" for label in classes]] = probabilities
        return table

    def found(self, table: pd.DataFrame) -> list[str]:
        signals = drift.judged(drift.measure(self.reference, table), LEVEL)
        return [signal.name for signal in signals if signal.is_found]

    def sound(self, table: pd.DataFrame) -> float:
        return next(found.size for found in drift.measure(self.reference, table, 0) if found.name == "sound")

    def _embeddings(self, waves: Sequence[Wave]) -> np.ndarray:
        rows: dict[int, Any] = {}
        with torch.inference_mode():
            for places, features in self._preprocessing.batches([w.astype(np.float32) for w in waves], 64):
                rows.update(zip(places, backbones.pooled(self._encoder, features).numpy(), strict=True))
        return np.stack([rows[place] for place in range(len(rows))])


def main() -> int:
    torch.set_num_threads(1)
    print(machine(), flush=True)
    misses = [*_synthetic(), *_real()]
    print(machine())
    for miss in misses:
        print(f"MISSED: {miss}")
    return 1 if misses else 0


def _synthetic() -> Iterator[str]:
    rng = np.random.default_rng(7)
    espeak = Espeak()

    def said(count: int, accents: Sequence[str], voices: Sequence[str]) -> list[Clip]:
        return [_said(espeak, str(rng.choice(accents)), str(rng.choice(voices)), rng) for _ in range(count)]

    model = Model(_all_recorded(said(700, ACCENTS, VOICES), rng), _all_recorded(said(300, ACCENTS, VOICES), rng))
    print(f"espeak-ng, 16 kHz: accuracy {model.accuracy:.3f} on the validation clips")
    yield from _clean(model, "same voices", said(4_000, ACCENTS, VOICES), rng)
    yield from _clean(model, "half new voices", said(4_000, ACCENTS, (*VOICES, *NEW_VOICES)), rng)
    fresh = {"": ACCENTS, **{f"{accent} accent": (accent,) for accent in NEW_ACCENTS}}
    for name, change in (("telephone band", telephone), ("rising noise", rising_noise)):
        yield from _drifted(model, name, [said(WEEK_CLIPS, fresh[""], VOICES) for _ in range(REPEATS)], change, rng)
    # no claim: where something behind the line sets the level anew, little is left to be found
    quiet = [said(WEEK_CLIPS, fresh[""], VOICES) for _ in range(REPEATS)]
    list(_drifted(model, "telephone, level kept", quiet, telephone_at_level, rng))
    for name in (name for name in fresh if name):
        yield from _drifted(model, name, [said(WEEK_CLIPS, fresh[name], VOICES) for _ in range(REPEATS)], as_it_is, rng)


def _real() -> Iterator[str]:
    if not FSDD.is_dir():
        print(ABSENT)
        return
    rng = np.random.default_rng(8)
    paths = sorted(FSDD.glob("*.wav"))
    clips = [Clip(load_waveform(path, RATE_HZ), *path.stem.split("_")[:2]) for path in paths]
    rng.shuffle(clips)  # type: ignore[arg-type]
    model = Model(_all_recorded(clips[:700], rng), _all_recorded(clips[700:1000], rng))
    print(f"Free Spoken Digits, six speakers: accuracy {model.accuracy:.3f} on the validation clips")
    yield from _clean(model, "same speakers", clips[1000:], rng)
    weeks = [[clips[1000 + int(i)] for i in rng.choice(2000, WEEK_CLIPS, replace=False)] for _ in range(REPEATS)]
    yield from _drifted(model, "rising noise", weeks, rising_noise, rng)
    for speaker in sorted({clip.speaker for clip in clips}):
        others = [clip for clip in clips if clip.speaker != speaker]
        theirs = [clip for clip in clips if clip.speaker == speaker]
        without = Model(_all_recorded(others[:700], rng), _all_recorded(others[700:1000], rng))
        weeks = [[theirs[int(i)] for i in rng.choice(len(theirs), WEEK_CLIPS, replace=False)] for _ in range(2)]
        yield from _drifted(without, f"speaker {speaker} alone", weeks, as_it_is, rng)


def _clean(model: Model, name: str, pool: Sequence[Clip], rng: np.random.Generator) -> Iterator[str]:
    """The alarms of 50 weeks, each of other clips of the pool; how far the sound of a week lies at most."""
    answers = model.answers([_recorded(clip.wave, rng) for clip in pool])
    weeks = [answers.iloc[rng.choice(len(pool), WEEK_CLIPS, replace=False)] for _ in range(WEEKS)]
    found = [model.found(week) for week in weeks]
    alarms = sum(bool(names) for names in found)
    sizes = [model.sound(week) for week in weeks]
    which = ", ".join(sorted({name for names in found for name in names}))
    print(
        f"  {name:24} {alarms} of {WEEKS} clean weeks alarmed {which}; sound at most {max(sizes):.4f}, "
        f"median {np.median(sizes):.4f}",
        flush=True,
    )
    if alarms > MOST_ALARMS:
        yield f"{alarms} alarms in {WEEKS} clean weeks of {name}"


def _drifted(
    model: Model, name: str, weeks: Sequence[Sequence[Clip]], change: Change, rng: np.random.Generator
) -> Iterator[str]:
    """How often drift is found in the first 50, 100 and 200 clips, and by which signals."""
    times = {50: 0, 100: 0, WEEK_CLIPS: 0}
    signals: list[str] = []
    sizes = []
    for week in weeks:
        places = np.linspace(0, 1, len(week))
        changed = [change(_recorded(c.wave, rng), float(at), rng) for c, at in zip(week, places, strict=True)]
        answers = model.answers(changed)
        for clips in times:
            times[clips] += bool(model.found(answers.head(clips)))
        signals += model.found(answers)
        sizes.append(model.sound(answers))
    counts = ", ".join(f"{signal} {signals.count(signal)}" for signal in sorted(set(signals)))
    within = ", ".join(f"{count}/{len(weeks)} in {clips}" for clips, count in times.items())
    print(f"  {name:24} found {within} clips; by {counts}; sound median {np.median(sizes):.4f}", flush=True)
    if times[WEEK_CLIPS] < len(weeks):
        yield f"{name} in {len(weeks) - times[WEEK_CLIPS]} of {len(weeks)} weeks"


def as_it_is(wave: Wave, at: float, rng: np.random.Generator) -> Wave:
    return wave


def telephone(wave: Wave, at: float, rng: np.random.Generator) -> Wave:
    band: Wave = sosfilt(butter(4, [300, 3400], "bandpass", fs=RATE_HZ, output="sos"), wave)
    return band


def telephone_at_level(wave: Wave, at: float, rng: np.random.Generator) -> Wave:
    band = telephone(wave, at, rng)
    return band * float(np.sqrt(np.mean(wave**2) / np.mean(band**2)))


def rising_noise(wave: Wave, at: float, rng: np.random.Generator) -> Wave:
    return _with_noise(wave, 30.0 - 25.0 * at, rng)


def _said(espeak: Espeak, accent: str, variant: str, rng: np.random.Generator) -> Clip:
    voice, words = starter.ACCENTS[accent]
    digit = int(rng.integers(10))
    wave = espeak.say(
        words[digit],
        voice=f"{voice}+{variant}",
        words_per_minute=int(rng.integers(110, 260)),
        pitch=int(rng.integers(15, 85)),
        pitch_range=int(rng.integers(20, 80)),
        seed=int(rng.integers(1, 2**31 - 1)),
    )
    loud = np.flatnonzero(np.abs(wave) > 0.02 * np.abs(wave).max())
    word = soxr.resample(wave[loud[0] : loud[-1] + 1], espeak.sample_rate_hz, RATE_HZ)
    return Clip(word, str(digit), f"{accent}-{variant}")


def _all_recorded(clips: Sequence[Clip], rng: np.random.Generator) -> list[Clip]:
    return [replace(clip, wave=_recorded(clip.wave, rng)) for clip in clips]


def _recorded(wave: Wave, rng: np.random.Generator) -> Wave:
    """As a microphone hears it: some noise, and a level that nobody set."""
    noisy = _with_noise(wave, float(rng.uniform(30, 50)), rng)
    return noisy * (10 ** (rng.uniform(-12.0, -1.0) / 20) / np.abs(noisy).max())


def _with_noise(wave: Wave, snr_db: float, rng: np.random.Generator) -> Wave:
    power = float(np.mean(wave**2)) / 10 ** (snr_db / 10)
    return wave + rng.standard_normal(len(wave)) * np.sqrt(power)


if __name__ == "__main__":
    sys.exit(main())
