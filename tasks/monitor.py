"""Tells Prefect what a look at served predictions found, so that automations can act on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tenuto.monitoring import events

log = logging.getLogger(__name__)


def tell(model: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Emit `found`, payloads by event (`tenuto.monitoring.events`); without a Prefect server nobody hears them."""
    from prefect.events import emit_event

    for event, payload in found.items():
        log.info("event %s: %s", event, dict(payload))
        resource = {"prefect.resource.id": events.resource(model), "prefect.resource.name": model}
        emit_event(event, resource=resource, payload=dict(payload))
