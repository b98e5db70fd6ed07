"""What `tenuto erase` runs: a speaker withdraws consent, and her recordings and her name go everywhere they are.

First everything is found (`plan`) and nothing is changed. Then a journal is written, and every step after it may be
taken twice: whoever is killed is called again and goes on. The certificate comes last but one, the journal goes last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pydantic import Field

from flows import servers
from tasks import dataset, erase, registry
from tenuto.dataset import manifest
from tenuto.errors import DatasetError, SettingsError, TenutoError
from tenuto.records import Record
from tenuto.settings import Params
from tenuto.splitting import holdout, splits
from tenuto.tracing import ledger
from tenuto.tracing.erasure import finding, refusals, served, traces
from tenuto.tracing.erasure.dataset import of
from tenuto.tracing.erasure.files import write
from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.records import Certificate, Journal, Purged, Trace, next_number, unfinished
from tenuto.tracing.erasure.traces import Mention
from tenuto.typed_yaml import read_yaml
from tenuto.workspace import Workspace

OUT_OF_REACH = {
    "git": "what was committed stays in git's history, and in every clone",
    "other clones and copies": "clones of this workspace, backups and exported models elsewhere are not searched",
    "where the recordings came from": "the source folders and tables that were imported are never changed",
    "weights": "models that heard the recordings keep what they learned; they are tagged, and a retrain replaces them",
    "later imports": "a copy under another coding and without its group cannot be told from a new recording",
}
"""What no erasure can do, as each certificate says."""

OnStep = Callable[[str], None]


class Plan(Record):
    """All that an erasure would change; finding it changes nothing."""

    journal: Journal
    labels: dict[str, int] = Field(description="her clips in the present dataset, by label")
    short_labels: tuple[str, ...] = Field(description="classes that keep fewer than two clips: no training after it")
    moved: int = Field(description="other clips that the division puts into another split without hers")
    dataset_versions: tuple[dataset.CachedVersion, ...] = Field(description="those in the DVC cache and remotes")
    files: dict[str, int] = Field(description="files under .tenuto/ that name her, by folder")
    mentions: tuple[Mention, ...] = Field(description="lines of settings that name her; a person has to change them")
    unread: dict[str, str] = Field(description="remotes that could not be searched, and why")

    @property
    def champion(self) -> Trace | None:
        """The run of the version that serves now, when it heard her."""
        return next((trace for trace in self.journal.traces if "champion" in trace.aliases and trace.heard), None)


def begun(workspace: Workspace) -> Journal | None:
    """The erasure that was begun here and not finished."""
    return unfinished(workspace.erasure_journal)


def plan(
    workspace: Workspace,
    params: Params,
    groups: Sequence[str],
    clips: Sequence[str],
    *,
    actor: str,
    reason: str = "",
) -> Plan:
    """What erasing the recordings of `groups` ('speaker=ann') and `clips` (ids) would change.

    Raises SettingsError when a group is not of the form name=value or `reason` or `actor` names her, DatasetError when
    no recording is known by such a group, value or id.
    """
    tracking_uri = servers.tracking_uri(workspace, params)
    versions, tables, unread = dataset.cached_versions(workspace.root)
    known = _known(workspace, params, tables, tracking_uri)
    asked = [finding.pair(text) for text in groups]
    refused = refusals.read(workspace.erasures)
    ids = {*finding.of_groups(known, asked, refused), *finding.of_ids(known, clips)}
    who = Identities.of(known, ids, asked, ordinary=(params.name, *workspace.root.parts))
    for option, text in (("--reason", reason), ("--actor", actor)):
        if who.are_in(text):
            raise SettingsError(f"{option} {text!r} names whom it erases, and the certificate is kept; say it without.")
    affected, clean = erase.traces(tracking_uri, params.name, who) if _has_store(tracking_uri) else ((), ())
    present = manifest.read(workspace.manifest) if workspace.manifest.is_file() else manifest.empty()
    hers = of(present, who)
    return Plan(
        journal=Journal(
            number=next_number(workspace.erasures),
            at=datetime.now(UTC),
            actor=actor,
            reason=reason,
            asked=tuple(asked),
            who=who,
            traces=affected,
            clean_pages=clean,
            dataset_md5_before=_md5(workspace),
        ),
        labels={str(label): int(n) for label, n in present.loc[hers, "label"].value_counts().sort_index().items()},
        short_labels=_short_labels(present, hers),
        moved=_moved(workspace, params, present, hers, who),
        dataset_versions=tuple(version for version in versions if not who.ids.isdisjoint(version.clips)),
        files=traces.held(workspace, who) if workspace.state.is_dir() else {},
        mentions=traces.mentions(workspace, who),
        unread=unread,
    )


def begin(workspace: Workspace, params: Params, planned: Plan) -> Journal:
    """The journal of the erasure, on disk. Raises SettingsError while settings name whom it erases."""
    if planned.mentions:
        lines = "\n".join(f"  {found.file}, line {found.line}: {found.text}" for found in planned.mentions)
        raise SettingsError(
            f"Nothing was erased. Settings that people own name the recordings; edit them first:\n{lines}"
        )
    version = dataset.fetch.fn(workspace.root)
    journal = planned.journal
    present = manifest.read(version.manifest_path)
    # before anything is removed: where the others are can only be told while her recordings are there
    after = _holdout_without(workspace, params, present, of(present, journal.who), journal.who)
    journal = journal.model_copy(update={"holdout": after})
    journal.save(workspace.erasure_journal)
    return journal


def finish(workspace: Workspace, params: Params, journal: Journal, on_step: OnStep = lambda step: None) -> Certificate:
    """The certificate of the erasure, when all that the journal says is done."""
    tracking_uri = servers.tracking_uri(workspace, params)
    for step, take in _STEPS.items():
        if step not in journal.done:
            on_step(step)
            journal = take(workspace, params, tracking_uri, journal)
            journal.save(workspace.erasure_journal)
    on_step("certificate")
    certificate = _certificate(workspace, journal)
    _enter(workspace, params, tracking_uri, certificate)
    workspace.erasure_journal.unlink()
    return certificate


def request_retrain(workspace: Workspace, params: Params) -> str | None:
    """The flow run that was asked for; None without a Prefect server that has the workspace's deployment."""
    address = os.environ.get("PREFECT_API_URL", "")
    if not address or not servers.answers(f"{address.rstrip('/')}/health"):
        return None
    return erase.request_retrain(workspace.root, params.name)


def _refuse(workspace: Workspace, params: Params, tracking_uri: str, journal: Journal) -> Journal:
    listed = refusals.read(workspace.erasures).extended(journal.who.clips, journal.asked, journal.number)
    refusals.save(listed, workspace.erasures)
    counts = {"clips": len(journal.who.clips), "groups": len(journal.asked)}
    return journal.after("refusals", (Purged(place="refusal list", counts=counts),))


def _tag(workspace: Workspace, params: Params, tracking_uri: str, journal: Journal) -> Journal:
    if not _has_store(tracking_uri):
        return journal.after("registry", ())
    erase.tag(tracking_uri, params.name, journal.traces, journal.number)
    own = servers.addresses(workspace)
    is_file = tracking_uri.startswith("sqlite:") or bool(own and own.mlflow and own.mlflow.address == tracking_uri)
    purged = erase.purge(tracking_uri, params.name, journal.who, journal.traces, journal.number, has_file_here=is_file)
    return journal.after("registry", (purged,))


def _remove(workspace: Workspace, params: Params, tracking_uri: str, journal: Journal) -> Journal:
    if journal.holdout is not None:
        holdout.write(journal.holdout, workspace.holdout)
    version, removed = dataset.remove(workspace.root, journal.who, push=params.data.upload)
    after = {"dataset_md5_after": version.md5, "clips_left": version.clips} if version else {}
    return journal.after("dataset", (removed,), **after)


def _purge_stores(workspace: Workspace, params: Params, tracking_uri: str, journal: Journal) -> Journal:
    return journal.after("DVC cache and remotes", dataset.purge(workspace.root, journal.who))


def _purge_files(workspace: Workspace, params: Params, tracking_uri: str, journal: Journal) -> Journal:
    known = manifest.read(workspace.manifest)["clip_id"] if workspace.manifest.is_file() else ()
    purged = traces.purge(workspace, journal.who, tuple(known), journal.clean_pages, journal.number)
    return journal.after("files", purged)


def _purge_servers(workspace: Workspace, params: Params, tracking_uri: str, journal: Journal) -> Journal:
    purged = traces.purge_databases(workspace, tracking_uri, journal.who)
    address = os.environ.get("PREFECT_API_URL", "")
    own = servers.addresses(workspace)
    if address and not (own and own.prefect and own.prefect.address == address):
        flow_runs = [trace.prefect_run for trace in journal.traces if trace.prefect_run]
        purged += (erase.flow_runs.purge(address, flow_runs, journal.who),)
    return journal.after("databases and servers", purged)


_STEPS: dict[str, Callable[[Workspace, Params, str, Journal], Journal]] = {
    "refusals": _refuse,
    "registry": _tag,
    "dataset": _remove,
    "DVC cache and remotes": _purge_stores,
    "files": _purge_files,
    "databases and servers": _purge_servers,
}
"""Each may be taken again by whoever finishes an erasure that was killed."""


def _certificate(workspace: Workspace, journal: Journal) -> Certificate:
    """The certificate, on disk; the one that is there already when the erasure was killed after it."""
    path = workspace.erasures / f"{journal.number}.json"
    if path.is_file():
        return Certificate.model_validate_json(path.read_bytes())
    hashes = refusals.read(workspace.erasures)
    groups: dict[str, list[str]] = {}
    for name, value in journal.asked:
        groups.setdefault(name, []).append(hashes.group_hash(name, value))
    purged = tuple(done for step in journal.done.values() for done in step)
    searched, hits = traces.left(workspace, journal.who)
    shown = ", ".join(journal.who.without(path) for path in hits)
    named = {"files here": f"{len(hits)} still name what was erased: {shown}"} if hits else {}
    certificate = Certificate(
        number=journal.number,
        at=journal.at,
        actor=journal.actor,
        reason=journal.reason,
        salt=hashes.salt,
        clips=tuple(sorted(hashes.clip_hash(clip) for clip in journal.who.clips)),
        groups={name: tuple(sorted(values)) for name, values in groups.items()},
        dataset_md5_before=journal.dataset_md5_before,
        dataset_md5_after=journal.dataset_md5_after,
        clips_left=journal.clips_left,
        runs=journal.traces,
        purged=purged,
        unreached={**{done.place: done.unreached for done in purged if done.unreached}, **named, **OUT_OF_REACH},
        verified={"files searched": searched, "files that still name her": len(hits)},
    )
    write(path, certificate.to_bytes())
    return certificate


def _enter(workspace: Workspace, params: Params, tracking_uri: str, certificate: Certificate) -> None:
    """Puts the erasure into the ledger, once."""
    evidence = {"certificate": certificate.sha256}
    if any(entry.event == "erasure" and entry.evidence == evidence for entry in ledger.read(workspace.ledger)):
        return
    heard = [trace.version for trace in certificate.runs if trace.heard and trace.version]
    versions = f"versions that heard them: {', '.join(heard)}" if heard else "no version heard them"
    said = f"consent withdrawn for {len(certificate.clips)} recordings (erasures/{certificate.number}.json); {versions}"
    decision = ledger.Decision(
        at=datetime.now(UTC),
        actor=certificate.actor,
        event="erasure",
        model=params.name,
        reasons=(said,),
        evidence=evidence,
        dataset_md5=certificate.dataset_md5_after,
    )
    registry.record(tracking_uri, workspace.ledger, decision)


def _known(workspace: Workspace, params: Params, tables: list[pd.DataFrame], tracking_uri: str) -> pd.DataFrame:
    """Every clip that the dataset, its older versions and the runs ever held, or that was sent to a server and named,
    each once."""
    known = manifest.read(workspace.manifest) if workspace.manifest.is_file() else manifest.empty()
    of_runs = erase.known_clips(tracking_uri, params.name) if _has_store(tracking_uri) else ()
    for table in (*tables, *of_runs, served.known(workspace.served)):
        known = finding.joined(known, table)
    if known.empty:
        raise DatasetError(f"{workspace.root} holds no recordings, so there is nothing to erase.")
    return known


def _holdout_without(
    workspace: Workspace, params: Params, present: pd.DataFrame, hers: pd.Series, who: Identities
) -> holdout.Holdout | None:
    """The holdout without her, under which nobody else moves; None when there is none and nothing to say in one."""
    before = holdout.read(workspace.holdout)
    if hers.any():
        before = splits.without(
            present, params.split, before, hers.to_numpy(), who.families, forgets=True, kind=params.data.labels
        )
    after = _without(before, who)
    return after if workspace.holdout.is_file() or after != holdout.Holdout() else None


def _without(before: holdout.Holdout, who: Identities) -> holdout.Holdout:
    """The holdout without her; families that were named by one of her clips go by their new names."""
    values = [value for name, value in who.groups if name in (before.group, *before.hold_out)]
    text = before.model_dump_json()
    for old, new in who.families.items():
        text = text.replace(old, new)
    return holdout.Holdout.model_validate_json(text).without(*who.clips, *values)


def _short_labels(present: pd.DataFrame, hers: pd.Series) -> tuple[str, ...]:
    left = present.loc[~hers, "label"].value_counts()
    return tuple(sorted(str(label) for label in set(present["label"]) if left.get(label, 0) < 2))


def _moved(workspace: Workspace, params: Params, present: pd.DataFrame, hers: pd.Series, who: Identities) -> int:
    """How many other clips go to another split: none, but where hers were all that one split had."""
    left = present[~hers].assign(family=lambda rows: rows["family"].replace(who.families))
    try:
        kind, without = params.data.labels, _holdout_without(workspace, params, present, hers, who)
        before = splits.assign(present, params.split, holdout.read(workspace.holdout), kind)[~hers]["split"]
        after = splits.assign(left, params.split, without, kind)["split"]
    except TenutoError:
        return 0
    return int((before != after).sum())


def _md5(workspace: Workspace) -> str | None:
    outs = read_yaml(workspace.data_dvc).get("outs") if workspace.data_dvc.is_file() else None
    return str(outs[0]["md5"]) if outs else None


def _has_store(tracking_uri: str) -> bool:
    """False for a SQLite file that is not there yet: asking MLflow would make it."""
    prefix, _, path = tracking_uri.partition("sqlite:///")
    return bool(prefix or not path or Path(path).is_file())
