"""The `tenuto` command as it starts: what it needs takes a moment to import, and Ctrl-C in that moment is a line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; `flows.cli` says with which codes it exits."""
    try:
        from flows import cli
    except KeyboardInterrupt:
        print("ended by Ctrl-C", file=sys.stderr)
        raise SystemExit(130) from None
    cli.main()


if __name__ == "__main__":
    main()
