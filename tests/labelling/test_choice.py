from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tenuto.labelling import choice

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def frame(
    probabilities: list[list[float]], embeddings: list[list[float]] | None = None, **columns: object
) -> pd.DataFrame:
    """Rows as the log of served predictions has them; column j of `probabilities` is of the class 'abc'[j]."""
    n = len(probabilities)
    known: dict[str, object] = {
        "request_id": [f"r{i}" for i in range(n)],
        "position": 0,
        "at": [AT + timedelta(seconds=i) for i in range(n)],
        "version": "1",
        "is_shadow": False,
        "is_window": False,
        "audio": [f"{i}.flac" for i in range(n)],
        "clip_id": [f"clip{i}" for i in range(n)],
        "true_label": None,
        "novelty": 0.5,
        "embedding": list(np.array(embeddings if embeddings is not None else np.eye(n), float)),
    }
    classes = {f"p_{'abc'[j]}": column for j, column in enumerate(np.array(probabilities, float).T)}
    return pd.DataFrame(known | columns | classes)


def order(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in rows["clip_id"]]


def test_only_recordings_that_were_kept_and_have_no_label_can_be_labelled() -> None:
    rows = frame(
        [[1.0, 0.0]] * 6,
        audio=["0.flac", None, "2.flac", "3.flac", "4.flac", "5.flac"],
        true_label=[None, None, "a", None, None, None],
        is_shadow=[False, False, False, True, False, False],
        clip_id=["clip0", "clip1", "clip2", "clip3", "clip0", "clip5"],
    )
    found = choice.candidates(rows, frozenset({"clip5"}))
    assert list(found["request_id"]) == ["r0", "r4"]
    assert list(choice.of_one_version(found)["request_id"]) == ["r4"]


def test_windows_of_streams_are_not_asked_about() -> None:
    rows = frame([[1.0, 0.0]] * 3, is_window=[False, True, False])
    assert order(choice.candidates(rows)) == ["clip0", "clip2"]


def test_a_recording_that_was_sent_twice_needs_no_second_label() -> None:
    rows = frame([[1.0, 0.0]] * 3, clip_id=["same", "same", "other"], true_label=["a", None, None])
    assert order(choice.candidates(rows)) == ["other"]


def test_recordings_of_the_version_that_answered_last_are_compared_with_one_another() -> None:
    rows = frame([[1.0, 0.0]] * 4, version=["1", "1", "2", "2"], audio=["0.flac", "1.flac", "2.flac", None])
    assert order(choice.of_one_version(choice.candidates(rows))) == ["clip2"]
    assert choice.of_one_version(choice.candidates(rows.iloc[:0])).empty


def test_the_clip_between_two_classes_comes_first() -> None:
    # margins 0.2, 0.0, 0.6 and 0.98: a plain confidence would put the second behind the first
    rows = frame([[0.6, 0.4, 0.0], [0.45, 0.45, 0.1], [0.8, 0.2, 0.0], [0.99, 0.01, 0.0]])
    assert order(choice.choose(rows, 2)) == ["clip1", "clip0"]
    assert set(choice.choose(rows, 4)["reason"]) == {"uncertain"}


def test_with_several_labels_a_probability_near_one_half_is_doubt() -> None:
    rows = frame([[0.9, 0.05], [0.9, 0.5], [0.1, 0.2]])
    assert order(choice.choose(rows, 2, "many")) == ["clip1", "clip2"]


def test_a_confident_clip_that_is_unlike_the_training_clips_comes_too_and_says_why() -> None:
    rows = frame([[0.55, 0.45]] + [[0.99, 0.01]] * 8, novelty=[0.3] + [0.4] * 7 + [3.0])
    chosen = choice.choose(rows, 2)
    assert dict(zip(chosen["clip_id"], chosen["reason"], strict=True)) == {"clip0": "uncertain", "clip8": "novel"}


def test_copies_of_one_hard_clip_are_asked_about_once() -> None:
    spread = [[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3
    rows = frame([[0.5, 0.5], [0.51, 0.49], [0.52, 0.48], [0.53, 0.47], [0.54, 0.46], [0.55, 0.45]], spread)
    assert order(choice.choose(rows, 2)) == ["clip0", "clip3"]


def test_what_was_labelled_before_counts_as_known() -> None:
    rows = frame([[0.5, 0.5], [0.6, 0.4]], [[1.0, 0.0], [0.0, 1.0]])
    assert order(choice.choose(rows, 1, heard=np.array([[2.0, 0.0]]))) == ["clip1"]


def test_a_version_without_a_class_and_an_unknown_novelty_are_no_obstacle() -> None:
    rows = frame([[0.6, 0.4, np.nan], [0.5, 0.5, np.nan]], novelty=[np.nan, np.nan])
    assert order(choice.choose(rows, 5)) == ["clip1", "clip0"]
    assert choice.choose(rows, 0).empty


@pytest.mark.parametrize("seed", range(5))
def test_the_queue_finds_more_errors_than_chance_and_fewer_copies_than_the_most_uncertain(seed: int) -> None:
    """Three classes in 16 dimensions, each recording sent three times with a little noise; a sound that no class knows.

    The model puts a clip by its distance to the class means; of 600 clips about one in eight is answered wrongly, so
    60 drawn at random hold about 8 errors.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros((3, 16))
    means[:, :2] = [[2.0, 0.0], [-1.0, 1.8], [-1.0, -1.8]]
    truth = rng.integers(0, 3, 190)
    said = means[truth] + rng.normal(0, 1.0, (190, 16))
    strange = 6.0 * np.eye(16)[2] + rng.normal(0, 0.3, (10, 16))
    embeddings = np.repeat(np.vstack([said, strange]), 3, axis=0) + rng.normal(0, 0.01, (600, 16))
    distances = ((embeddings[:, None] - means) ** 2).sum(axis=2)
    probabilities = np.exp((distances.min(axis=1, keepdims=True) - distances) / 2)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    true = np.repeat(np.append(truth, np.full(10, 3)), 3)
    is_wrong = probabilities.argmax(axis=1) != true
    rows = frame(probabilities.tolist(), embeddings.tolist(), novelty=np.sqrt(distances.min(axis=1)) / 3)

    chosen = choice.choose(rows, 60).index.to_numpy()
    assert is_wrong[chosen].sum() >= 2 * 60 * is_wrong.mean()
    assert (true[chosen] == 3).any()
    margins = np.sort(probabilities, axis=1)
    most_uncertain = np.argsort(margins[:, -1] - margins[:, -2])[:60]
    assert len(set(chosen // 3)) > 1.5 * len(set(most_uncertain // 3))
    assert len(set(chosen[is_wrong[chosen]] // 3)) > len(set(most_uncertain[is_wrong[most_uncertain]] // 3))
