"""What is known of the backbones that Tenuto was made for, before anything is downloaded.

Imports no torch and no transformers, so the command line can list, recommend and refuse in a moment. A test builds
every transformers encoder from its configuration and counts the parameters. Revisions are commits of the hub that other
people's pins name for the same repository; None where the model needs code from the hub, which Tenuto does not run.
"""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import Field

from tenuto.learning import licences
from tenuto.records import Record

Domain = Literal["speech", "environmental", "music", "bio"]
Family = Literal["CNN", "CRNN", "transformer"]

_BYTES_PER_WEIGHT = 4
_BYTES_PER_MB = 1_000_000


class Entry(Record):
    """One backbone."""

    id: str = Field(description="what `backbone` in params.yaml names")
    family: Family
    domains: tuple[Domain, ...] = Field(description="what it was trained on; empty: trained from scratch only")
    sample_rate_hz: int
    window_seconds: float | None = Field(description="the longest sound it hears at once; None: any length")
    is_padded: bool = Field(default=False, description="shorter clips are filled up to the window, at full cost")
    hop_seconds: float = Field(description="from one of its frames to the next")
    parameters: int = Field(description="of the encoder, without a head")
    layers: int
    dimensions: int = Field(description="of a clip's vector")
    licence: str = Field(description="SPDX identifier of the weights' licence, or 'unknown'")
    revision: str | None = Field(description="pinned commit on the hub; None: comes with Tenuto, or cannot be loaded")
    origin: Literal["embedded", "scratch", "hub", "own code"] = Field(
        description="own code: it needs Python code from the hub, which Tenuto does not run"
    )
    paper: str
    strong: str
    weak: str
    traps: tuple[str, ...] = ()

    @property
    def allows_commercial_use(self) -> bool | None:
        return licences.allows_commercial_use(self.licence)

    @property
    def is_pretrained(self) -> bool:
        return self.origin != "scratch"

    @property
    def has_attention(self) -> bool:
        return self.family == "transformer"

    @property
    def size_mb(self) -> float:
        """Of the weights on disk, as 32-bit numbers."""
        return self.parameters * _BYTES_PER_WEIGHT / _BYTES_PER_MB


_GROUP_NORM = "its first layer normalises over time, so it takes no attention mask: clips of one batch hear the padding"
_OWN_CODE = "needs Python code from the hub (trust_remote_code), which Tenuto does not run: it does not load here"
_TEN_SECONDS = "shorter clips are repeated and padded to 10 s, longer ones are cut: set model.window_seconds"

ENTRIES = (
    Entry(
        id="speech-embedding",
        family="CNN",
        domains=("speech",),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.08,
        parameters=328_128,
        layers=20,
        dimensions=96,
        licence="Apache-2.0",
        revision=None,
        origin="embedded",
        paper="Lin et al., Training keyword spotters with limited and synthesized speech data, ICASSP 2020",
        strong="spoken words, from 5 clips per class; milliseconds on one CPU thread; comes with Tenuto",
        weak="speakers, emotions and sounds other than words; hears 60 to 3,800 Hz only",
        traps=("a frame hears 775 ms; shorter clips are padded to 1.28 s",),
    ),
    Entry(
        id="log-mel-cnn",
        family="CNN",
        domains=(),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.08,
        parameters=92_896,
        layers=3,
        dimensions=256,
        licence="Apache-2.0",
        revision=None,
        origin="scratch",
        paper="after the CNN baselines of Kong et al., PANNs, IEEE/ACM TASLP 2020",
        strong="an honest opponent: what a small network learns from your clips alone",
        weak="few clips",
        traps=("has no pre-trained weights: it is for finetune.baseline",),
    ),
    Entry(
        id="log-mel-crnn",
        family="CRNN",
        domains=(),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.01,
        parameters=167_392,
        layers=3,
        dimensions=128,
        licence="Apache-2.0",
        revision=None,
        origin="scratch",
        paper="after Cakir et al., CRNNs for polyphonic sound event detection, IEEE/ACM TASLP 2017",
        strong="an opponent that hears order in time (a GRU over frames)",
        weak="few clips; slower than the CNN",
        traps=("has no pre-trained weights: it is for finetune.baseline",),
    ),
    Entry(
        id="ntu-spml/distilhubert",
        family="transformer",
        domains=("speech",),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.02,
        parameters=23_491_968,
        layers=2,
        dimensions=768,
        licence="Apache-2.0",
        revision="fa87d96265d6b7af66e112faff6ff44df419cec9",
        origin="hub",
        paper="Chang et al., DistilHuBERT, ICASSP 2022",
        strong="most of HuBERT's knowledge of speech with two layers, a quarter of its size",
        weak="sounds other than speech; fine phonetic detail",
        traps=(_GROUP_NORM, "two layers: model.truncate and finetune.unfreeze have little to choose from"),
    ),
    Entry(
        id="facebook/wav2vec2-base",
        family="transformer",
        domains=("speech",),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.02,
        parameters=94_371_712,
        layers=12,
        dimensions=768,
        licence="Apache-2.0",
        revision="0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
        origin="hub",
        paper="Baevski et al., wav2vec 2.0, NeurIPS 2020",
        strong="what is said, in English read aloud (LibriSpeech, 960 hours)",
        weak="who speaks, noise, sounds other than speech; the last layers know less than the middle ones",
        traps=(_GROUP_NORM, "the last layers fit its own training task: try model.truncate: 8"),
    ),
    Entry(
        id="facebook/hubert-base-ls960",
        family="transformer",
        domains=("speech",),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.02,
        parameters=94_371_712,
        layers=12,
        dimensions=768,
        licence="Apache-2.0",
        revision="dba3bb02fda4248b6e082697eee756de8fe8aa8a",
        origin="hub",
        paper="Hsu et al., HuBERT, IEEE/ACM TASLP 2021",
        strong="words and emotions in speech; frozen layers serve many tasks",
        weak="noise, sounds other than speech",
        traps=(_GROUP_NORM,),
    ),
    Entry(
        id="microsoft/wavlm-base-plus",
        family="transformer",
        domains=("speech",),
        sample_rate_hz=16_000,
        window_seconds=None,
        hop_seconds=0.02,
        parameters=94_381_936,
        layers=12,
        dimensions=768,
        licence="CC-BY-SA-3.0",
        revision="4c66d4806a428f2e922ccfa1a962776e232d487b",
        origin="hub",
        paper="Chen et al., WavLM, IEEE JSTSP 2022",
        strong="who speaks, overlapping and noisy speech (94,000 hours, mixed with other talkers and noise)",
        weak="slower than wav2vec2 for its relative positions; sounds other than speech",
        traps=(
            _GROUP_NORM,
            "its model card points to CC BY-SA 3.0 (share alike), its code repository to MIT: settle which is right",
        ),
    ),
    Entry(
        id="openai/whisper-tiny",
        family="transformer",
        domains=("speech",),
        sample_rate_hz=16_000,
        window_seconds=30.0,
        is_padded=True,
        hop_seconds=0.02,
        parameters=8_208_384,
        layers=4,
        dimensions=384,
        licence="Apache-2.0",
        revision="169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
        origin="hub",
        paper="Radford et al., Robust speech recognition via large-scale weak supervision, ICML 2023",
        strong="speech in many languages, accents and noise (680,000 hours)",
        weak="short clips: a second costs as much as half a minute",
        traps=("every clip is padded or cut to 30 s", "only the encoder is used, 8 of 38 million parameters"),
    ),
    Entry(
        id="MIT/ast-finetuned-audioset-10-10-0.4593",
        family="transformer",
        domains=("environmental", "music", "speech", "bio"),
        sample_rate_hz=16_000,
        window_seconds=10.24,
        hop_seconds=0.1,
        parameters=86_187_264,
        layers=12,
        dimensions=768,
        licence="BSD-3-Clause",
        revision="f826b80d28226b62986cc218e5cec390b1096902",
        origin="hub",
        paper="Gong et al., AST: Audio Spectrogram Transformer, Interspeech 2021",
        strong="everyday sounds: 527 AudioSet classes of machines, animals, music and voices",
        weak="words and speakers; the slowest per second of sound of those listed",
        traps=(
            "made for 1,024 frames (10.24 s): used as it comes, a second of sound is nine tenths padding",
            "expects levels normalised by AudioSet's mean and deviation",
        ),
    ),
    Entry(
        id="laion/clap-htsat-unfused",
        family="transformer",
        domains=("environmental", "music"),
        sample_rate_hz=48_000,
        window_seconds=10.0,
        is_padded=True,
        hop_seconds=0.32,
        parameters=27_534_488,
        layers=4,
        dimensions=768,
        licence="Apache-2.0",
        revision="8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
        origin="hub",
        paper="Wu et al., Large-scale contrastive language-audio pretraining, ICASSP 2023",
        strong="sounds that people describe in words: effects, scenes, instruments; hears up to 14 kHz",
        weak="words and speakers; recordings below 48 kHz lack the band it listens to",
        traps=(_TEN_SECONDS, "a Swin transformer: `layers` are its four stages"),
    ),
    Entry(
        id="laion/larger_clap_music",
        family="transformer",
        domains=("music",),
        sample_rate_hz=48_000,
        window_seconds=10.0,
        is_padded=True,
        hop_seconds=0.32,
        parameters=67_824_408,
        layers=4,
        dimensions=1_024,
        licence="Apache-2.0",
        revision="a0b4534a14f58e20944452dff00a22a06ce629d1",
        origin="hub",
        paper="Wu et al., Large-scale contrastive language-audio pretraining, ICASSP 2023",
        strong="music: genres, instruments, moods",
        weak="speech; recordings below 48 kHz lack the band it listens to",
        traps=(_TEN_SECONDS, "a Swin transformer: `layers` are its four stages"),
    ),
    Entry(
        id="mispeech/ced-tiny",
        family="transformer",
        domains=("environmental", "music", "speech", "bio"),
        sample_rate_hz=16_000,
        window_seconds=10.0,
        hop_seconds=0.16,
        parameters=5_500_000,
        layers=12,
        dimensions=192,
        licence="Apache-2.0",
        revision=None,
        origin="own code",
        paper="Dinkel et al., CED: Consistent ensemble distillation for audio tagging, ICASSP 2024",
        strong="AudioSet's classes at a fifteenth of AST's size; clips of any length up to 10 s without padding",
        weak="words and speakers",
        traps=(_OWN_CODE,),
    ),
    Entry(
        id="mispeech/ced-base",
        family="transformer",
        domains=("environmental", "music", "speech", "bio"),
        sample_rate_hz=16_000,
        window_seconds=10.0,
        hop_seconds=0.16,
        parameters=86_000_000,
        layers=12,
        dimensions=768,
        licence="Apache-2.0",
        revision=None,
        origin="own code",
        paper="Dinkel et al., CED: Consistent ensemble distillation for audio tagging, ICASSP 2024",
        strong="AudioSet's classes, better than AST at a third of its patches",
        weak="words and speakers",
        traps=(_OWN_CODE,),
    ),
    Entry(
        id="m-a-p/MERT-v1-95M",
        family="transformer",
        domains=("music",),
        sample_rate_hz=24_000,
        window_seconds=None,
        hop_seconds=1 / 75,
        parameters=95_000_000,
        layers=12,
        dimensions=768,
        licence="CC-BY-NC-4.0",
        revision=None,
        origin="own code",
        paper="Li et al., MERT: Acoustic music understanding with large-scale self-supervised training, ICLR 2024",
        strong="music: pitch, key, genre, singers",
        weak="speech and everyday sounds; trained on 5 s at a time",
        traps=(_OWN_CODE,),
    ),
)
"""Every backbone of the catalogue; parameters of those with code of their own are rounded, as their cards have them."""

_BY_ID = {entry.id: entry for entry in ENTRIES}


def entry(name: str) -> Entry | None:
    """The entry whose id is `name`."""
    return _BY_ID.get(name)


def close_to(name: str) -> str | None:
    """The id that somebody who wrote `name` probably meant: with another case, without its owner, or misspelt."""
    lower = {id_.lower(): id_ for id_ in _BY_ID}
    short = {id_.rpartition("/")[2]: original for id_, original in lower.items()}
    given = name.lower()
    for names in (lower, short):
        if given in names:
            return names[given]
    close = difflib.get_close_matches(given, [*lower, *short], n=1, cutoff=0.8)
    return {**short, **lower}[close[0]] if close else None


def is_slip(name: str) -> bool:
    """Whether `name` is an id of the catalogue but for case or one character; the hub has others that look alike."""
    return any(_is_one_off(name.lower(), id_.lower()) for id_ in _BY_ID)


def pinned(name: str, revision: str | None) -> str:
    """The hub revision to use: the one asked for, else the catalogue's commit, else the main branch."""
    found = _BY_ID.get(name)
    return revision or (found.revision if found else None) or "main"


def _is_one_off(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return short[start + (len(short) == len(long)) :] == long[start + 1 :]
