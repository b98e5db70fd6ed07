"""Several models on the same clips: the table, what is left out, and what is derived from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tenuto.deciding import gate
from tenuto.errors import TrainingError
from tenuto.records import Evaluation
from tenuto.scoring import acoustics, evaluation
from tenuto.settings import EvaluateSettings
from tests.tones import TONES_HZ, ToneModel, write_clips

SETTINGS = EvaluateSettings(noise_snr_db=(20.0, 0.0), batch_size=8, resamples=200)
MODELS = {
    "candidate": ToneModel(),
    "baseline": ToneModel(deaf_to="high"),
    "champion": ToneModel(labels=("middle", "low"), sample_rate_hz=16_000),
}


@pytest.fixture
def clips(tmp_path: Path) -> pd.DataFrame:
    return write_clips(tmp_path, 4)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint's folder name stands for the model."""
    monkeypatch.setattr("tenuto.learning.predictor.Predictor.load", lambda path: MODELS[path.name])


def run(clips: pd.DataFrame, data: Path, *names: str, group: str | None = "speaker", **options: object) -> Evaluation:
    paths = {name: Path(name) for name in names or ("candidate", "baseline")}
    output = data / "answers" / "probabilities.parquet"
    return evaluation.evaluate(paths, clips, data, SETTINGS, group, output, **options)  # type: ignore[arg-type]


def test_every_model_answers_every_clip(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, *MODELS)
    table = pd.read_parquet(found.probabilities_path)
    columns = [f"p_{label}" for label in sorted(TONES_HZ)]
    assert list(table.columns) == [
        *("clip_id", "label", "group_speaker", "group_site"),
        *(f"slice_{kind}" for kind in acoustics.KINDS),
        *("unit", "model", "predicted"),
        *columns,
    ]
    assert table.groupby("model").size().to_dict() == dict.fromkeys((*MODELS, "majority"), len(clips))
    assert np.allclose(table[columns].sum(axis=1), 1)
    assert (table["predicted"] == table[columns].idxmax(axis=1).str.removeprefix("p_")).all()
    assert set(table["unit"]) == {"ann", "ben", "cid"}


def test_what_the_model_decides_counts_and_not_its_likeliest_label(
    clips: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shy(ToneModel):
        def decide(self, found: np.ndarray) -> np.ndarray:
            return np.tile([label == "low" for label in self.labels], (len(found), 1))

    monkeypatch.setattr("tenuto.learning.predictor.Predictor.load", lambda path: Shy())
    found = run(clips, tmp_path)
    table = pd.read_parquet(found.probabilities_path)
    assert set(table.loc[table["model"] == "candidate", "predicted"]) == {"low"}
    assert found.metrics["candidate"]["accuracy"] == pytest.approx(1 / 3)
    assert found.noise["candidate"] == pytest.approx({"clean": 1 / 3, "20 dB": 1 / 3, "0 dB": 1 / 3})


def test_scores_follow_from_what_the_models_hear(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, *MODELS)
    assert found.labels == ("high", "low", "middle")
    assert found.metrics["candidate"]["macro_f1"] == 1.0
    assert found.per_class["baseline"]["high"]["recall"] == 0.0
    assert found.metrics["baseline"]["accuracy"] == pytest.approx(2 / 3)
    assert found.per_group["candidate"]["speaker"]["ann"]["support"] == 12
    assert found.gaps["candidate"] == {"speaker": {"macro_f1": 0.0, "accuracy": 0.0, "recall": 0.0}}
    assert np.array(found.confusion["candidate"]).tolist() == (12 * np.eye(3, dtype=int)).tolist()
    assert found.differences["baseline"].value == pytest.approx(1 - found.metrics["baseline"]["macro_f1"]) and set(
        found.differences
    ) == {"baseline", "champion", "majority"}
    assert found.intervals["candidate"].resampled == "3 speakers' clips"


def test_a_champion_that_lacks_a_class_never_answers_it(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, *MODELS)
    table = pd.read_parquet(found.probabilities_path)
    assert (table.loc[table["model"] == "champion", "p_high"] == 0).all()
    assert found.per_class["champion"]["high"]["recall"] == 0
    assert found.per_class["champion"]["low"]["recall"] == 1


def test_noise_is_reported_beside_clean(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path)
    assert list(found.noise) == ["candidate", "baseline"]
    assert list(found.noise["candidate"]) == ["clean", "20 dB", "0 dB"]
    assert found.noise["candidate"]["clean"] == 1.0
    assert found.noise["baseline"]["clean"] == pytest.approx(2 / 3)


def test_no_noise_levels_no_noise_table(clips: pd.DataFrame, tmp_path: Path) -> None:
    quiet = SETTINGS.model_copy(update={"noise_snr_db": ()})
    found = evaluation.evaluate({"candidate": Path("candidate")}, clips, tmp_path, quiet, None, tmp_path / "p.parquet")
    assert found.noise == {}


def test_progress_ends_at_the_total(clips: pd.DataFrame, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(clips, tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (72, 72) and seen == sorted(seen)


def test_clips_the_champion_trained_on_are_left_out_for_all(
    clips: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = frozenset(clips["clip_id"][:5]) | {"of another test set"}
    found = run(clips, tmp_path, *MODELS, contaminated=known)
    table = pd.read_parquet(found.probabilities_path)
    assert found.left_out == tuple(clips["clip_id"][:5])
    assert not set(table["clip_id"]) & known
    assert found.intervals["candidate"].n == 31
    assert "trained on 5 of 36 test clips" in caplog.text


def test_without_a_champion_nothing_is_left_out(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, contaminated=frozenset(clips["clip_id"]))
    assert found.left_out == () and found.unscored == {} and found.intervals["candidate"].n == 36


def test_a_champion_that_trained_on_every_clip_is_not_scored(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, *MODELS, contaminated=frozenset(clips["clip_id"]))
    assert found.unscored == {"champion": "the champion was trained on all 36 test clips"}
    assert "champion" not in found.metrics and found.left_out == ()
    assert found.intervals["candidate"].n == 36


def test_a_champion_of_unknown_training_is_not_scored(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, *MODELS, contaminated=None)
    assert found.unscored == {"champion": "what it trained on is unknown"}
    assert "champion" not in found.metrics and found.left_out == ()
    assert run(clips, tmp_path, contaminated=None).unscored == {}


def test_rules_against_a_champion_of_unknown_training_are_not_evaluated(clips: pd.DataFrame, tmp_path: Path) -> None:
    rule = {"name": "no worse", "metric": "macro_f1", "versus": "champion", "not_worse_by": 0.1, "severity": "reject"}
    verdict = gate.judge(
        gate.Policy.model_validate({"rules": [rule]}), run(clips, tmp_path, *MODELS, contaminated=None)
    )
    assert verdict.verdict == "not evaluated"
    assert verdict.reasons == ("no worse: what it trained on is unknown.",)


def test_acoustic_slices_are_scored_like_groups(clips: pd.DataFrame, tmp_path: Path) -> None:
    clips["snr_db"] = [5.0 if label == "high" else 40.0 for label in clips["label"]]
    clips["sample_rate_hz"] = 8000
    found = run(clips, tmp_path)
    assert list(found.per_slice["baseline"]) == ["noise"]  # the rate divides nothing
    assert {band: (row["accuracy"], row["support"]) for band, row in found.per_slice["baseline"]["noise"].items()} == {
        "under 10 dB": (0.0, 12.0),
        "over 30 dB": (1.0, 24.0),
    }
    table = pd.read_parquet(found.probabilities_path)
    assert set(table["slice_rate"]) == {"8 kHz"}
    assert (table["slice_noise"] == "under 10 dB").sum() == 12 * 3  # for each of three models
    assert table["slice_level"].isna().all()


def test_models_are_timed_on_clips_that_decide(clips: pd.DataFrame, tmp_path: Path) -> None:
    assert set(run(clips, tmp_path).latency) == {"candidate", "baseline"}
    watched = run(clips, tmp_path, is_judged=False)
    assert watched.latency == watched.noise == {}
    assert watched.metrics["candidate"]["accuracy"] == 1


def test_clips_without_facts_have_no_slices(clips: pd.DataFrame, tmp_path: Path) -> None:
    assert run(clips, tmp_path).per_slice == {"candidate": {}, "baseline": {}, "majority": {}}


def test_majority_is_the_training_sets(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, trained=["middle", "low", "middle"])
    assert found.per_class["majority"]["middle"]["recall"] == 1
    assert found.metrics["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert "majority" not in found.noise


def test_without_a_group_families_are_resampled(clips: pd.DataFrame, tmp_path: Path) -> None:
    assert run(clips, tmp_path, group=None).unit_name == "clip"
    clips["family"] = [clip[:1] for clip in clips["clip_id"]]
    found = run(clips, tmp_path, group=None)
    assert found.unit_name == "recording"
    assert found.intervals["candidate"].groups == clips["family"].nunique()


def test_a_clip_of_unknown_speaker_stands_for_itself(clips: pd.DataFrame) -> None:
    clips.loc[0, "group_speaker"] = None
    assert evaluation.units(clips, "speaker")[:2] == [clips.loc[0, "clip_id"], clips.loc[1, "group_speaker"]]


def test_the_record_survives_json(clips: pd.DataFrame, tmp_path: Path) -> None:
    found = run(clips, tmp_path, *MODELS)
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_no_test_clip_is_an_error(clips: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no clip"):
        run(clips.iloc[:0], tmp_path)
