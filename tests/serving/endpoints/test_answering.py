from __future__ import annotations

from tenuto.serving.answers import Answer, Version
from tenuto.serving.endpoints.answering import Notes
from tenuto.serving.metrics import Metrics


def test_a_clip_with_several_labels_counts_under_each_and_combinations_make_no_series() -> None:
    metrics = Metrics()
    notes = Notes(metrics, None)
    for label in ("dog;rain", "dog", "", "unknown", "a;b"):
        version = Version(name="m", version="1", alias="champion", artefact="fp32")
        answer = Answer(
            request_id="r",
            position=0,
            file=None,
            model=version,
            label=label,
            likeliest="dog",
            probability=0.5,
            # a single class may have a semicolon in its name
            probabilities={"dog": 0.5, "rain": 0.5, "a;b": 0.1},
            is_unknown=label == "unknown",
            novelty=0.5,
            duration_seconds=1,
            latency_ms=1,
        )
        notes.put([answer], (), None)  # type: ignore[arg-type]
    counts = [line for line in metrics.text().decode().splitlines() if line.startswith("tenuto_clips_total{")]
    assert sorted(counts) == sorted(
        f'tenuto_clips_total{{is_shadow="false",label="{label}",version="1"}} {count}'
        for label, count in {"dog": 2.0, "rain": 1.0, "": 1.0, "unknown": 1.0, "a;b": 1.0}.items()
    )
