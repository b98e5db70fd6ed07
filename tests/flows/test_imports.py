"""What a quick command may not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("prefect", "mlflow", "dvc", "great_expectations", "torch", "transformers", "pandas", "sklearn")


@pytest.mark.parametrize("module", ["flows.cli", "flows.commands.audit", "flows.terminal"])
def test_the_command_line_starts_without_the_heavy_libraries(module: str) -> None:
    """Each takes a second or more to import, and Prefect reads its settings when it is imported."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == []
