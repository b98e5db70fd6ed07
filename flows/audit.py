"""What `tenuto audit` asks: from a version to its clips, and from a clip, a group or a prediction to the versions.

Answers come from the audit's index and the ledger, without any server where the store is the workspace's own; what
`flows.audit_sources` does when they lack something takes seconds.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import audit_sources
from flows.audit_sources import Audit, opened
from tenuto.errors import ClipError, RegistryError
from tenuto.tracing import served
from tenuto.tracing.audit import answers, page, places, tabular
from tenuto.tracing.audit.answers import DatasetHolding, Erased, ErasedTrace, HeardAudit, ModelAudit
from tenuto.tracing.audit.documents import RunDocument, VersionDocument
from tenuto.tracing.audit.index import Index
from tenuto.tracing.erasure import refusals
from tenuto.tracing.ledger import Entry
from tenuto.workspace import Workspace

__all__ = ["Audit", "behind", "clip", "clip_table", "group", "model", "opened", "write"]

_MODEL = re.compile(r"(?P<name>[^@/]*)(?:@(?P<alias>[^@/]+)|/(?P<version>[^@/]+))?")
_NEAR = 3
_OF_CERTIFICATE = {"chosen": "tuned", "scored": "tested"}
"""Roles as certificates of erasure call them."""
_HEX = re.compile(r"[0-9a-f]{4,32}")


def model(audit: Audit, asked: str = "") -> ModelAudit:
    """What made the version that `asked` names: 'NAME', '@alias', '3', 'NAME@alias', 'NAME/3'.

    Without alias and version the champion is meant, and where there is none the newest version. Raises RegistryError
    naming what there is.
    """
    version = _chosen(audit, asked)
    found = answers.model(
        audit.index, version, audit.aliases.get(version.model, {}), decision=_decision(audit.entries, version)
    )
    erased = {number: clips for number, clips in _erased_clips(audit, found.run) if clips}
    return found.model_copy(update={"certificates": erased})


def _erased_clips(audit: Audit, run: RunDocument | None) -> Iterator[tuple[str, int]]:
    """For every certificate of erasure how many clips of the run it names."""
    if run is None:
        return
    for path in sorted(audit.workspace.erasures.glob("[0-9]*.json")):
        certificate = _erased(path)
        yield certificate.number, sum(sum(t.roles.values()) for t in certificate.runs if t.run == run.run_id)


def behind(audit: Audit, request_id: str) -> ModelAudit:
    """What made the version that answered a request; raises RegistryError when it is not on record."""
    prediction = served.find(audit.workspace.served, request_id)
    found = model(audit, f"{prediction.model}/{prediction.version}")
    return found.model_copy(update={"served": prediction})


def clip_table(audit: Audit, found: ModelAudit) -> list[dict[str, Any]]:
    """Every clip of a version's run as a row, with split, weight, copies, label, groups and source."""
    if found.run is None:
        return []
    run_id = found.run.run_id
    return answers.table(audit.index.clips_of(run_id), found.run, audit.index.weights(run_id))


def write(
    workspace: Workspace,
    found: ModelAudit | HeardAudit,
    rows: Sequence[Mapping[str, Any]],
    output: Path | None,
    *,
    wants_page: bool,
) -> list[str]:
    """The files that were written: the clips as CSV or Parquet, the page in the workspace unless `output` is one."""
    written = []
    if output is not None and output.suffix != ".html":
        tabular.write(rows, output)
        written.append(output)
    if wants_page or (output is not None and output.suffix == ".html"):
        place = output if output is not None and output.suffix == ".html" else workspace.audits / page.file_name(found)
        written.append(page.write(found, place))
    return [str(path) for path in written]


def clip(audit: Audit, asked: str) -> HeardAudit:
    """Everything that holds a clip: its id or the beginning of one, a file on this machine, or the name of its source.

    Raises RegistryError with near misses when no run and no dataset version knows it.
    """
    ids, source = _named_clips(audit, asked)
    numbers = [number for clip_id in ids for number in audit.index.by_id(clip_id)]
    found = answers.heard(audit.index, numbers, audit.aliases, {"clip": asked})
    found = _with_places(audit, found, ids or {c.clip_id for c in found.clips}, None, source)
    refused = refusals.read(audit.workspace.erasures)
    found = _with_certificates(audit, found, {refused.of_clip(clip_id) for clip_id in ids})
    if not _is_held(found):
        raise RegistryError(_unknown_clip(audit, asked))
    return found


def group(audit: Audit, asked: str) -> HeardAudit:
    """Everything that holds clips of a group such as 'speaker=ann'.

    Raises RegistryError with near misses when no run and no dataset version has it.
    """
    name, equals, value = asked.partition("=")
    if not (name and equals and value):
        raise RegistryError(f"--group {asked!r} is no group; wanted NAME=VALUE such as speaker=ann. {_groups(audit)}")
    numbers = audit.index.by_group(name, value)
    found = answers.heard(audit.index, numbers, audit.aliases, {"group": asked})
    found = _with_places(audit, found, {c.clip_id for c in found.clips}, (name, value), None)
    refused = refusals.read(audit.workspace.erasures)
    found = _with_certificates(audit, found, {refused.of_groups({name: value})})
    if not _is_held(found):
        raise RegistryError(_unknown_group(audit, name, value))
    return found


def _decision(entries: Sequence[Entry], version: VersionDocument) -> int | None:
    """The ledger's first entry about a version."""
    about = (e.number for e in entries if (e.model, e.version) == (version.model, version.version))
    return next(about, None)


def _chosen(audit: Audit, asked: str) -> VersionDocument:
    parts = _MODEL.fullmatch(asked.strip())
    if parts is None:
        raise RegistryError(f"{asked!r} names no model; wanted NAME, NAME@alias, NAME/3, @alias or 3.")
    name, alias, number = parts["name"], parts["alias"], parts["version"]
    if name.isdigit() and not (alias or number) and not audit.index.versions(name):
        name, number = "", name
    name = name or audit.params.name
    audit_sources.know(audit, name)
    versions = _versions(audit, name, number)
    if not versions:
        raise RegistryError(_no_model(audit, name))
    pointing = audit.aliases.get(name, {})
    if alias and alias not in pointing:
        there = ", ".join(f"@{a} (version {v})" for a, v in sorted(pointing.items())) or "none"
        raise RegistryError(f"{name} has no alias @{alias}; there is {there}.")
    wanted = number or pointing.get(alias or "champion") or next(reversed(versions))
    if wanted not in versions:
        raise RegistryError(f"{name} has no version {wanted!r}; there is {_span(list(versions))}.")
    return versions[wanted]


def _versions(audit: Audit, name: str, number: str | None) -> dict[str, VersionDocument]:
    """The model's versions; MLflow is asked before it is said that there are none, or not this one."""
    found = {version.version: version for version in audit.index.versions(name)}
    if (not found or (number and number not in found)) and audit_sources.ask_mlflow(audit, name):
        found = {version.version: version for version in audit.index.versions(name)}
    return found


def _no_model(audit: Audit, name: str) -> str:
    names = sorted({version.model for version in audit.index.versions()})
    if name in names or not names:
        return f"No version of {name} is registered yet; `tenuto retrain` makes one."
    return f"No model {name!r} is registered; there is {', '.join(names)}."


def _span(versions: list[str]) -> str:
    return f"version {versions[0]}" if len(versions) == 1 else f"{len(versions)}, from {versions[0]} to {versions[-1]}"


def _named_clips(audit: Audit, asked: str) -> tuple[set[str], str | None]:
    """The ids that a clip's name stands for, and the source file that it names when it is no id."""
    if Path(asked).is_file():
        clip_id = _identity(Path(asked))
        if audit.index.by_id(clip_id):
            return {clip_id}, None
    if _HEX.fullmatch(asked):
        ids = {found.clip_id for found in audit.index.known(audit.index.by_id(asked))}
        if len(ids) > 1:
            raise RegistryError(f"{len(ids)} clips begin with {asked}: {', '.join(sorted(ids)[:_NEAR])} ...; say more.")
        if ids or len(asked) == 32:
            return ids or {asked}, None
    numbers = audit.index.by_source(asked) or audit.index.by_source(Path(asked).name)
    if numbers:
        return {found.clip_id for found in audit.index.known(numbers)}, asked
    return ({_identity(Path(asked))} if Path(asked).is_file() else set()), asked


def _identity(path: Path) -> str:
    from tenuto.sound import audio

    try:
        return audio.clip_id(audio.decode(path))
    except ClipError as error:
        raise RegistryError(f"{path} cannot be looked up by its samples: {error}.") from error


def _with_places(
    audit: Audit, found: HeardAudit, ids: Collection[str], group: tuple[str, str] | None, source: str | None
) -> HeardAudit:
    """The answer with the dataset versions that no run used, and the caches of this workspace."""
    datasets = {holding.md5: holding for holding in found.datasets}
    used = {run.dataset_md5 for run in audit.index.runs()}
    present, wanted = places.present(audit.workspace), set(ids)
    versions = places.history(audit.workspace)
    if present and present not in {version.md5 for version in versions}:
        versions.append(places.Committed(md5=present))
    for version in versions:
        holding = datasets.get(version.md5)
        if holding is None and version.md5 not in used:
            path = places.manifest_of(audit.workspace, version.md5)
            held = places.clip_ids(path, group=group, source=source if not ids else None) if path else None
            if held is not None and (group is None and ids):
                held &= wanted
            wanted |= held or set()
            if held is None or held:
                holding = DatasetHolding(md5=version.md5, clips=len(held) if held else None)
        if holding is not None:
            facts = {"commit": version.commit, "first_seen": version.at or holding.first_seen}
            datasets[version.md5] = holding.model_copy(update=facts | {"is_present": version.md5 == present})
    cached = places.cached(audit.workspace.cache, wanted, _backbones(audit.index)) if wanted else []
    return found.model_copy(update={"datasets": tuple(datasets.values()), "cached": tuple(cached)})


def _with_certificates(audit: Audit, found: HeardAudit, numbers: Collection[str | None]) -> HeardAudit:
    """The answer with the certificates of erasure of these numbers."""
    certificates = (audit.workspace.erasures / f"{number}.json" for number in sorted(filter(None, numbers)))
    return found.model_copy(update={"erased": tuple(_erased(path) for path in certificates)})


def _erased(path: Path) -> Erased:
    """What a certificate says; read as JSON, since its records import a data frame library."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(
            ErasedTrace(
                run=run["run"],
                version=run["version"],
                roles={_OF_CERTIFICATE.get(role, role): clips for role, clips in run["clips"].items()},
            )
            for run in content["runs"]
        )
        return Erased(number=content["number"], at=content["at"], runs=runs)
    except (OSError, ValueError, KeyError) as error:
        raise RegistryError(
            f"It was erased, but the certificate {path} cannot be read ({type(error).__name__}); restore it with "
            "`git checkout -- erasures`."
        ) from error


def _backbones(index: Index) -> dict[str, str]:
    """Names of backbones by the store key of their embeddings, as registered versions tell."""
    found = {}
    for version in index.versions():
        tags = version.tags
        if "tenuto.backbone_revision" in tags and "tenuto.preprocessing" in tags:
            key = places.embedding_key(tags["tenuto.backbone_revision"], tags["tenuto.preprocessing"])
            found[key] = tags.get("tenuto.backbone", "")
    return found


def _is_held(found: HeardAudit) -> bool:
    return bool(found.clips or found.erased or found.cached or any(holding.clips for holding in found.datasets))


def _unknown_clip(audit: Audit, asked: str) -> str:
    near = difflib.get_close_matches(asked, audit.index.sources(), _NEAR) or difflib.get_close_matches(
        Path(asked).name, audit.index.sources(), _NEAR
    )
    hint = f"Near it: {', '.join(near)}. " if near else ""
    return (
        f"No run and no dataset version has a clip {asked!r}. {hint}Wanted a clip's id or its first letters, the name "
        "of its source file, or a recording on this machine."
    )


def _unknown_group(audit: Audit, name: str, value: str) -> str:
    known = _known_groups(audit)
    if name not in known:
        return f"No clip has a group {name!r}. {_groups(audit)}"
    near = difflib.get_close_matches(value, known[name], _NEAR, cutoff=0.4) or sorted(known[name])[:_NEAR]
    return (
        f"No run and no dataset version has a clip of {name}={value}. Of {len(known[name]):,} {name} values, near it: "
        f"{', '.join(near)}."
    )


def _groups(audit: Audit) -> str:
    known = _known_groups(audit)
    if not known:
        return "No clip has any group."
    return "Known groups: " + ", ".join(f"{name} ({len(values):,} values)" for name, values in known.items()) + "."


def _known_groups(audit: Audit) -> dict[str, list[str]]:
    pairs = set(audit.index.group_values())
    if audit.workspace.manifest.is_file():
        pairs |= set(places.group_values(audit.workspace.manifest))
    found: dict[str, list[str]] = {}
    for name, value in sorted(pairs):
        found.setdefault(name, []).append(value)
    return found
