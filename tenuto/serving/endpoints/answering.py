"""From what a model heard to what a client reads, and to what the log and the counters keep of it."""

from __future__ import annotations

from collections.abc import Sequence

from tenuto.labels import UNKNOWN, joined, parts
from tenuto.serving.answers import Answer
from tenuto.serving.endpoints.sounds import Decoded
from tenuto.serving.hearing.classifier import Heard
from tenuto.serving.hearing.models import Model
from tenuto.serving.metrics import Metrics
from tenuto.serving.recorder import Recorder, rows_of


def answers_of(
    request_id: str,
    model: Model,
    clips: Sequence[Decoded],
    heard: Heard,
    latency_ms: float,
    files: Sequence[str | None] | None = None,
) -> tuple[Answer, ...]:
    """What the model says of each clip, in words."""
    labels = model.classifier.labels
    answers = []
    for row, clip in enumerate(clips):
        probabilities, decided = heard.probabilities[row], heard.decided[row]
        given = [label for label, is_given in zip(labels, decided, strict=True) if is_given]
        is_unknown = bool(heard.is_unknown[row])
        of_given = probabilities[decided] if given and not is_unknown else probabilities
        answers.append(
            Answer(
                request_id=request_id,
                position=row,
                file=files[row] if files else None,
                model=model.version,
                label=UNKNOWN if is_unknown else joined(given),
                likeliest=labels[int(probabilities.argmax())],
                probability=float(of_given.max()),
                probabilities=dict(zip(labels, probabilities.tolist(), strict=True)),
                is_unknown=is_unknown,
                novelty=float(heard.novelty[row]),
                duration_seconds=clip.duration_seconds,
                latency_ms=latency_ms,
            )
        )
    return tuple(answers)


class Notes:
    """Keeps what was answered: a count of each label, and a row of the log where there is one. Never waits."""

    def __init__(self, metrics: Metrics, recorder: Recorder | None) -> None:
        self._metrics = metrics
        self._recorder = recorder

    def put(
        self,
        answers: Sequence[Answer],
        clips: Sequence[Decoded],
        heard: Heard,
        *,
        is_shadow: bool = False,
        window: int | None = None,
    ) -> None:
        """Takes note of clips of one request, or of windows of a stream from its number `window` on.

        Those that the challenger heard beside the answer are shadows.
        """
        for answer in answers:
            is_one = answer.is_unknown or answer.label in answer.probabilities
            for label in (answer.label,) if is_one else parts(answer.label) or ("",):
                self._metrics.answered(answer.model.version, label, is_shadow=is_shadow)
        if self._recorder is not None:
            rows = rows_of(answers, clips, heard, is_shadow=is_shadow, window=window)
            self._recorder.put(rows, () if is_shadow else [clip.sound for clip in clips])
