"""The benchmark of streams counts windows whose label differs from the offline one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import streaming
from tests.bundles import tone, write_tones
from tests.serving.streaming.test_stream_api import TwoVersions, answers, serving


def test_a_window_with_another_label_is_counted(tmp_path: Path) -> None:
    write_tones(tmp_path)
    sound = np.round(20000 * np.concatenate([tone(400, 2.0), tone(2500, 2.0)])).astype(np.int16)
    with serving(TwoVersions({"1": tmp_path}), stream={}) as (client, _):
        messages = answers(client, sound.astype("<i2").tobytes(), {"sample_rate_hz": 8000, "format": "s16le"})
    windows = [message for message in messages if message["type"] == "window"]
    assert streaming.compared(tmp_path, sound, windows) == (0, pytest.approx(0, abs=1e-6))
    windows[3] |= {"label": "unknown"}
    windows[4]["probabilities"] |= {"low": 0.5}
    assert streaming.compared(tmp_path, sound, windows) == (1, pytest.approx(0.5, abs=0.01))
    with pytest.raises(RuntimeError, match="16 windows offline, 15 in the stream"):
        streaming.compared(tmp_path, sound, windows[1:])
