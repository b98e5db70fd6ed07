"""What is asked of the registry and the ledger, and what a person does to them.

Plain functions and not Prefect flows: a person waits at the terminal, and starting an orchestration server would take
longer than the work.
"""

from __future__ import annotations

import getpass
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows import servers
from tasks import registry
from tasks.registry import Verification
from tenuto.errors import RegistryError
from tenuto.records import Record
from tenuto.settings import Params
from tenuto.tracing import history, ledger, tampering
from tenuto.tracing.history import Reign
from tenuto.tracing.ledger import Entry
from tenuto.workspace import Workspace


class Past(Record):
    """Who was champion when, as far as the ledger knows."""

    model: str
    ledger_began: datetime | None
    """Time of the first entry; None without any."""
    reigns: tuple[Reign, ...]


class Reigning(Record):
    """Who is or was champion at one moment."""

    model: str
    at: datetime
    version: str | None
    reign: Reign | None
    """None when nobody was, or when the ledger knows nothing of it."""
    earlier_that_day: tuple[str, ...] = ()
    """Versions that were champion on the day asked for and no more at its end."""
    is_recorded: bool = True
    """Whether the ledger says the same as the registry; asked of the present only."""


def versions(workspace: Workspace, params: Params) -> list[dict[str, Any]]:
    """One row per registered version of the workspace's model, newest first."""
    return registry.models(servers.tracking_uri(workspace, params), params.name)


def promote(
    workspace: Workspace,
    params: Params,
    version: str,
    *,
    actor: str | None,
    reason: str,
    accept_stale: bool = False,
    accept_refused: bool = False,
    accept_changes: bool = False,
) -> Entry:
    """The ledger's entry of the version made @champion (`tasks.registry.promote`)."""
    return registry.promote(
        *_where(workspace, params),
        version,
        actor=named(actor, workspace),
        reason=_why(reason),
        accept_stale=accept_stale,
        accept_refused=accept_refused,
        accept_changes=accept_changes,
    )


def rollback(
    workspace: Workspace,
    params: Params,
    to: str | None,
    *,
    actor: str | None,
    reason: str,
    accept_changes: bool = False,
) -> Entry:
    """The ledger's entry of the return to an earlier version (`tasks.registry.rollback`)."""
    return registry.rollback(
        *_where(workspace, params),
        to,
        actor=named(actor, workspace),
        reason=_why(reason),
        accept_changes=accept_changes,
    )


def approve(
    workspace: Workspace,
    params: Params,
    version: str,
    *,
    actor: str | None,
    reason: str,
    accept_changes: bool = False,
) -> Entry:
    """The ledger's entry of a person's consent (`tasks.registry.approve`)."""
    return registry.approve(
        *_where(workspace, params),
        version,
        actor=named(actor, workspace),
        reason=_why(reason),
        accept_changes=accept_changes,
    )


def refuse(workspace: Workspace, params: Params, version: str, *, actor: str | None, reason: str) -> Entry:
    """The ledger's entry of a person's refusal (`tasks.registry.refuse`)."""
    return registry.refuse(*_where(workspace, params), version, actor=named(actor, workspace), reason=_why(reason))


def decided(workspace: Workspace, params: Params, version: str) -> str | None:
    """How a person decided on the version, 'approved by ann'; None while it waits.

    Raises RegistryError when there is no such version, or nobody was asked.
    """
    rows = {row["version"]: row for row in versions(workspace, params)}
    approval = rows.get(version, {}).get("approval")
    if approval is None:
        raise RegistryError(f"Version {version} of {params.name} is not there, or does not wait for approval.")
    return None if approval == "awaiting" else str(approval)


def past(workspace: Workspace, params: Params) -> Past:
    """Who was champion from when until when, how and why."""
    entries = registry.history(*_where(workspace, params))
    return Past(model=params.name, ledger_began=entries[0].at if entries else None, reigns=history.reigns(entries))


def reigning(workspace: Workspace, params: Params, on: str | None = None) -> Reigning:
    """Who is champion now, by the registry, or was on a day (at its end) or at a minute, by the ledger.

    `on` is a date or a date with a time, in this machine's time zone unless it names one. Raises RegistryError when it
    cannot be read, is in the future, or was before the ledger began.
    """
    now = datetime.now(UTC)
    # a date that cannot be read is said before a server is asked
    at = history.moment(on, None, now) if on else now
    entries = registry.history(*_where(workspace, params))
    if on is None:
        return _now(workspace, params, entries, now)
    reign = history.champion_at(entries, at)
    return Reigning(
        model=params.name,
        at=at,
        version=reign.version if reign else None,
        reign=reign,
        earlier_that_day=_earlier_that_day(entries, on, at, reign),
    )


def entries(workspace: Workspace, params: Params) -> tuple[Entry, ...]:
    """The ledger of the workspace's model."""
    return registry.history(*_where(workspace, params))


def touched(workspace: Workspace, params: Params) -> int | None:
    """The first line of the ledger's file that was touched, as far as the file alone tells."""
    return tampering.first_touched(ledger.lines(workspace.ledger), params.name)


def verify(workspace: Workspace, params: Params) -> Verification:
    """What was done to the ledger, its mirror and the aliases."""
    return registry.verify(*_where(workspace, params))


def restore(workspace: Workspace, params: Params) -> Path | None:
    """The ledger made again from MLflow; where the old file went."""
    return registry.restore(*_where(workspace, params))


def named(actor: str | None, workspace: Workspace) -> str:
    """Who acts: the name given, else git's user.name, else the login name."""
    if actor is not None:
        if not actor.strip():
            raise RegistryError("--actor is empty; wanted the name of a person.")
        return " ".join(actor.split())
    command = ["git", "-C", str(workspace.root), "config", "user.name"]
    try:
        name = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        name = ""
    try:
        return name or getpass.getuser()
    except (KeyError, OSError):
        raise RegistryError("Neither git nor the system knows who acts here; say it with --actor NAME.") from None


def _where(workspace: Workspace, params: Params) -> tuple[str, str, Path]:
    return servers.tracking_uri(workspace, params), params.name, workspace.ledger


def _why(reason: str) -> str:
    if not reason.strip():
        raise RegistryError("--reason is empty; wanted why, in a sentence: the ledger keeps it for good.")
    return reason.strip()


def _now(workspace: Workspace, params: Params, entries: tuple[Entry, ...], now: datetime) -> Reigning:
    version = registry.aliases(servers.tracking_uri(workspace, params), params.name).get(history.CHAMPION)
    last = history.reigns(entries)[-1:]
    reign = last[0] if last and last[0].until is None else None
    is_recorded = version == (reign.version if reign else None)
    return Reigning(
        model=params.name, at=now, version=version, reign=reign if is_recorded else None, is_recorded=is_recorded
    )


def _earlier_that_day(entries: tuple[Entry, ...], on: str, at: datetime, last: Reign | None) -> tuple[str, ...]:
    if not history.names_a_day(on):
        return ()
    began = at.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    that_day = [
        reign.version
        for reign in history.reigns(entries)
        if reign.version and (reign.since is None or reign.since <= at) and (reign.until is None or reign.until > began)
    ]
    return tuple(dict.fromkeys(version for version in that_day if last is None or version != last.version))
