"""Somebody's recordings in MLflow and on a Prefect server: found, taken out, and a retrain without them asked for."""

from __future__ import annotations

from tasks.erase import flow_runs
from tasks.erase.flow_runs import request_retrain
from tasks.erase.runs import TAG, known_clips, purge, tag, traces

__all__ = ("TAG", "flow_runs", "known_clips", "purge", "request_retrain", "tag", "traces")
