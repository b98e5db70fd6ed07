"""The answer as one self-contained HTML page with a graph.

Like the report it loads nothing from outside; it has no script at all. The graph is drawn twice, for a wide screen and
for a phone, and the style sheet shows one of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tenuto.reporting import formats, pages
from tenuto.tracing.audit import graph
from tenuto.tracing.audit.answers import ROLES, HeardAudit, ModelAudit, VersionHolding
from tenuto.tracing.audit.documents import RunDocument
from tenuto.tracing.audit.graph import Box, Graph, Link

_PHRASES = {
    "trained": "trained on",
    "tuned": "tuned on",
    "tested": "tested on",
    "golden": "golden",
    "aside": "set aside",
}
_MOST_BOXES = 6


def file_name(found: ModelAudit | HeardAudit) -> str:
    """The name of the page's file, after what was asked."""
    if isinstance(found, ModelAudit):
        asked = f"{found.model}-{found.version}"
    else:
        ((kind, what),) = found.asked.items()
        asked = f"{kind}-{what}"
    return re.sub(r"[^\w.-]+", "-", asked)[:100] + ".html"


def write(found: ModelAudit | HeardAudit, path: Path) -> Path:
    """The page at `path`, written whole or not at all."""
    return pages.write(render(found), path)


def render(found: ModelAudit | HeardAudit) -> str:
    """The page as text."""
    drawn = of_model(found) if isinstance(found, ModelAudit) else of_heard(found)
    template = "audit-model.html.j2" if isinstance(found, ModelAudit) else "audit-heard.html.j2"
    drawings = {"across": graph.across(drawn), "down": graph.down(drawn)}
    context = {"found": found, "drawings": drawings, "phrases": _PHRASES, "roles": ROLES, "alike": alike}
    return pages.environment().get_template(template).render(context)


def of_model(found: ModelAudit) -> Graph:
    """The graph of a version: source files, dataset, clips by use, what ran, the version, its aliases."""
    version = Box("version", f"version {found.version}", (found.model, _day(found.registered.registered_at)), "version")
    aliases = tuple(Box(f"@{alias}", f"@{alias}", (), "alias") for alias in found.aliases)
    ends = [*aliases, *_served(found)]
    links = [Link("version", box.name) for box in ends]
    run = found.run
    if run is None:
        return Graph(((version,), tuple(ends)), tuple(links))
    splits = [split for split in ROLES if found.count(split)]
    clips = tuple(_split_box(found, split) for split in splits)
    listed = sum(found.count(split) for split in splits)
    links += [
        Link("sources", "dataset", listed, "clips"),
        *(Link("dataset", split, found.count(split), f"clips {ROLES[split]}") for split in splits),
        *(Link(split, "run", found.count(split), f"clips {ROLES[split]}") for split in splits if split != "aside"),
        *(Link(name, "run") for name in ("code", "environment", "flow run", "report")),
        Link("dataset", "report"),
        Link("run", "version"),
    ]
    layers = (
        (_sources(found),),
        (Box("dataset", "dataset version", (_short(run.dataset_md5), formats.counted(listed, "clip")), "dataset"),),
        (*clips, _validation(run), _code(run), _packages(run), _flow_run(run)),
        (Box("run", "run", (_short(run.run_id), _day(run.started_at), run.verdict or run.status.lower()), "run"),),
        (version,),
        tuple(ends),
    )
    return Graph(layers, tuple(links))


def of_heard(found: HeardAudit) -> Graph:
    """The graph of a clip or group: dataset versions that hold it, versions that used it, and their aliases."""
    ((kind, what),) = found.asked.items()
    asked = Box("asked", what, (kind, formats.counted(len(found.clips), "clip")), "dataset")
    held = [holding for holding in found.datasets if holding.clips]
    kinds = alike(found.versions)
    kinds = [*kinds[: _MOST_BOXES - 1], [v for rest in kinds[_MOST_BOXES - 1 :] for v in rest]][:_MOST_BOXES]
    kinds = [sorted(group, key=lambda v: int(v.version)) for group in kinds if group]
    datasets = {run.run_id: run.dataset_md5 or "" for run in found.runs}
    boxes = {holding.md5: holding.md5 for holding in held}
    if len(held) > _MOST_BOXES:
        boxes = {h.md5: h.md5 if place < _MOST_BOXES - 1 else "older" for place, h in enumerate(reversed(held))}
    dataset_boxes, links = [], []
    for name in dict.fromkeys(boxes.values()):
        members = [h for h in held if boxes[h.md5] == name]
        heading = "dataset version" if len(members) == 1 else f"{len(members)} dataset versions"
        clips = max(h.clips or 0 for h in members)
        lines = (
            _short(members[-1].md5),
            formats.counted(clips, "clip"),
            *(["present"] if members[-1].is_present else []),
        )
        dataset_boxes.append(Box(name, heading, tuple(lines), "dataset"))
        links.append(Link("asked", name, clips, "clips"))
    version_boxes, alias_boxes = [], []
    for group in kinds:
        name = f"version {group[-1].version}"
        version_boxes.append(_version_box(name, group))
        role = next(iter(group[-1].roles), "")
        for dataset in dict.fromkeys(boxes.get(datasets.get(v.run_id, ""), "") for v in group):
            links.append(Link(dataset, name, sum(group[-1].roles.values()), f"clips {role}"))
        for alias in dict.fromkeys(alias for v in group for alias in v.aliases):
            alias_boxes.append(Box(f"@{alias}", f"@{alias}", (), "alias"))
            links.append(Link(name, f"@{alias}"))
    return Graph(((asked,), tuple(dataset_boxes), tuple(version_boxes), tuple(alias_boxes)), tuple(links))


def alike(versions: Sequence[VersionHolding]) -> list[list[VersionHolding]]:
    """Versions in a row that used the clips alike and have the same aliases, the newest first."""
    grouped = groupby(versions, lambda v: (v.model, tuple(v.roles.items()), v.aliases))
    return [list(group) for _, group in grouped][::-1]


def _version_box(name: str, group: list[VersionHolding]) -> Box:
    heading = name if len(group) == 1 else f"versions {group[0].version} to {group[-1].version}"
    lines = tuple(f"{phrase} {_range(group, role)}" for role, phrase in _PHRASES.items() if _range(group, role))
    return Box(name, heading, lines, "version" if group[-1].has_heard else "version only-tested")


def _range(group: list[VersionHolding], role: str) -> str:
    """How many clips the versions used in a role: '6', or '1 to 6'; nothing when none did."""
    counts = [version.roles.get(role, 0) for version in group]
    low, high = min(counts), max(counts)
    return "" if high == 0 else f"{high:,}" if low == high else f"{low:,} to {high:,}"


def _split_box(found: ModelAudit, split: str) -> Box:
    shares = [share for share in found.clips if share.split == split]
    copies = [share.copies for share in shares]
    lines = [formats.counted(found.count(split), "clip")]
    if split == "train":
        known = sum(c or 0 for c in copies)
        lines.append("copies not recorded" if None in copies else formats.counted(known, "copy", "copies"))
    groups = [formats.counted(splits[split], name) for name, splits in found.groups.items() if splits.get(split)]
    if groups:
        lines.append(", ".join(groups))
    role = ROLES[split]
    return Box(split, _PHRASES[role], tuple(lines), f"split {role}")


def _sources(found: ModelAudit) -> Box:
    names = [source for share in found.clips for source in share.first_sources][:3]
    rest = sum(share.clips for share in found.clips) - len(names)
    return Box("sources", "source files", (*names, *([f"and {rest:,} more"] if rest > 0 else [])), "sources")


def _served(found: ModelAudit) -> list[Box]:
    if found.served is None:
        return []
    answer = f"{found.served.label} ({found.served.probability:.2f})"
    return [Box("served", "request", (found.served.request_id, answer, _day(found.served.at)), "alias")]


def _validation(run: RunDocument) -> Box:
    met = sum(finding.success for finding in run.validation)
    return Box("report", "validation report", (f"{met} of {len(run.validation)} met",))


def _code(run: RunDocument) -> Box:
    if run.code is None or run.code.commit is None:
        return Box("code", "code", ("not under version control",))
    dirty = len(run.code.dirty_files)
    changes = f"{formats.counted(dirty, 'file')} uncommitted" if dirty else "nothing uncommitted"
    return Box("code", "code", (_short(run.code.commit), changes), "warned" if dirty else "")


def _packages(run: RunDocument) -> Box:
    python = f"python {run.environment['python']}" if "python" in run.environment else "unknown"
    lock = f"lock {_short(run.lock.sha256)}" if run.lock else "no list of packages"
    return Box("environment", "environment", (python, lock))


def _flow_run(run: RunDocument) -> Box:
    return Box("flow run", "flow run", (_short(run.flow_run) if run.flow_run else "none",))


def _short(name: str | None) -> str:
    return f"{name[:12]}…" if name and len(name) > 20 else name or "unknown"


def _day(when: object) -> str:
    return f"{when:%Y-%m-%d %H:%M}"
