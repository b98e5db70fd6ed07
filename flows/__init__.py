"""What runs when, and the `tenuto` command."""

from __future__ import annotations

import sys
from types import TracebackType


def _say_what_ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python calls for an exception that nobody took; Ctrl-C while the command is being imported is no mistake."""
    if issubclass(kind, KeyboardInterrupt):
        print("ended by Ctrl-C", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_what_ended
