"""What all tasks of the flow have in common."""

from __future__ import annotations

import importlib

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE

MODULES = ("dataset", "decide", "evaluate", "registry", "report", "split", "track", "train", "validate")


def tasks_of(module: str) -> list[Task]:
    return [value for value in vars(importlib.import_module(f"tasks.{module}")).values() if isinstance(value, Task)]


@pytest.mark.parametrize("module", MODULES)
def test_no_task_is_replayed_from_a_kept_result(module: str) -> None:
    found = tasks_of(module)
    assert found
    assert [task.name for task in found if task.cache_policy is not NO_CACHE or task.persist_result is not False] == []


def test_only_tasks_that_can_be_done_twice_are_retried() -> None:
    retried = {task.name for module in MODULES for task in tasks_of(module) if task.retries}
    assert retried == {"fetch-data", "find-champion", "log-results"}
