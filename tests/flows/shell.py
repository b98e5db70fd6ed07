"""The `tenuto` command line as tests call it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import cli

QUICK = ("--set", "finetune.epochs=1", "--set", "threads=1", "--set", "evaluate.noise_snr_db=[10]")
"""Options of `retrain` that make it quick."""


class Shell:
    """The command line against the Prefect server of the test session, in this process or in one of its own."""

    def __init__(self, prefect_address: str) -> None:
        self.address = prefect_address

    def start(self, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """A `tenuto` process of its own."""
        environment = os.environ | {"PREFECT_API_URL": self.address, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # tests that run in the background ignore Ctrl-C, and a child would inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, folder: Path, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `tenuto ARGUMENTS` called in `folder`, without the time a process takes."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, PREFECT_API_URL=self.address),
            mock.patch.object(sys, "argv", ["tenuto", *arguments]),
            temporary_settings({PREFECT_API_URL: self.address}),
            mock.patch.object(cli, "_set_up_process"),  # or it would outlast the call
            warnings.catch_warnings(action="ignore"),
            pytest.raises(SystemExit) as exit_,
        ):
            cli.main()
        return exit_.value.code or 0, out.getvalue(), err.getvalue()

    def json(self, folder: Path, *arguments: str, code: int | None = 0) -> dict[str, Any]:
        """The object that `tenuto ARGUMENTS --json` printed, and nothing but that; any of the good codes for None."""
        found, out, err = self.run(folder, *arguments, "--json")
        assert found in ((0, 2) if code is None else (code,)), f"exit {found}: {out}\n{err}"
        assert out.count("\n") == 1, out
        return json.loads(out)
