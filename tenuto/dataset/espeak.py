"""espeak-ng through its C interface: text to samples, no process started.

The library comes with the `starter` extra. It holds one voice for the whole process, so there is one Espeak at a time.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenuto.errors import SourceError

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples to the callback, espeak_Synth returns when done
_RATE, _PITCH, _RANGE, _WORD_GAP = 1, 3, 4, 7  # espeak_PARAMETER
_UTF8 = 1

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """A synthesiser; `sample_rate_hz` is the rate of what it says."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise SourceError(
                "espeak-ng is not installed, and the starter set is made with it: pip install 'tenuto[starter]'. "
                "The set itself is committed; a retrain fetches it without espeak-ng."
            ) from error
        self._library = _private_copy(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0))
        if self.sample_rate_hz <= 0:
            raise SourceError(f"espeak-ng could not be started with the voices in {data.decode()}.")
        self._library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def say(
        self, text: str, *, voice: str, words_per_minute: int, pitch: int, pitch_range: int, seed: int
    ) -> npt.NDArray[np.float32]:
        """The spoken text, (n,) in [-1, 1], with espeak-ng's own silence around it.

        `voice` is a language with a variant, 'en-us+m3'; `pitch` and `pitch_range` go from 0 to 99, `words_per_minute`
        from 80 to 450. Raises SourceError for a voice that espeak-ng does not have.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SourceError(f"espeak-ng has no voice {voice!r}.")
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range), (_WORD_GAP, 0)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._library.espeak_ng_SetRandSeed(seed)
        self._chunks.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._chunks).astype(np.float32) / 32768.0

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short] | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0


def _private_copy(library: str) -> ctypes.CDLL:
    """The library loaded from a copy, so that its static state is fresh: what was said before changes what is said."""
    with tempfile.TemporaryDirectory() as folder:
        return ctypes.CDLL(str(shutil.copy(library, Path(folder) / "espeak-ng.so")))
