"""Tells Prefect what a look at served predictions found, so that automations can act on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tenuto.monitoring import events

log = logging.getLogger(__name__)


def tell(model: str, found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Emit `found`, payloads by event (`tenuto.monitoring.events`); the names of those that a server was told.

    None without a Prefect server, or when it does not answer: what is not told now is told at a later look. One that
    is started for this process alone would have no automation to act.
    """
    if not found:
        return ()
    from prefect import get_client
    from prefect.events import emit_event
    from prefect.settings import PREFECT_API_URL

    if not PREFECT_API_URL.value():
        log.info("no Prefect server to tell of %s; `tenuto up` starts one", ", ".join(found))
        return ()
    with get_client(sync_client=True) as client:
        if error := client.api_healthcheck():
            log.warning("the Prefect server could not be told of %s (%s)", ", ".join(found), type(error).__name__)
            return ()
    for event, payload in found.items():
        log.info("event %s: %s", event, dict(payload))
        resource = {"prefect.resource.id": events.resource(model), "prefect.resource.name": model}
        emit_event(event, resource=resource, payload=dict(payload))
    return tuple(found)
