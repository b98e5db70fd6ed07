"""What a dataset version must be like to be trained on: `expectations.yaml` and the checks behind it.

A person writes names, arguments and severities; each name is a typed class here that can say what it wants, judge the
tables and say what the run does when it is not met. Nothing here knows the engine that runs the suite
(`tasks.validate`): row expectations state a rule that the engine's built-in checks apply, table expectations judge the
whole clips table themselves.
"""

from tenuto.validation.base import Expectation, Outcome, Rows, TableExpectation, Tables
from tenuto.validation.expectations import (
    EXPECTATIONS,
    STOP_ACTION,
    Entry,
    Expectations,
    load_expectations,
    require_groups,
)
from tenuto.validation.leakage import contaminated
from tenuto.validation.recordings import RowExpectation

__all__ = [
    "EXPECTATIONS",
    "STOP_ACTION",
    "Entry",
    "Expectation",
    "Expectations",
    "Outcome",
    "RowExpectation",
    "Rows",
    "TableExpectation",
    "Tables",
    "contaminated",
    "load_expectations",
    "require_groups",
]
