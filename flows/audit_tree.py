"""The answers of `tenuto audit` as trees and tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from flows.audit_sources import AsOf
from flows.terminal import STYLES, out
from tenuto.reporting.formats import counted
from tenuto.tracing.audit.answers import HeardAudit, LabelShare, ModelAudit, RunHolding, VersionHolding
from tenuto.tracing.audit.documents import RunDocument

_PHRASES = {
    "train": "trained on",
    "validation": "tuned on",
    "test": "tested on",
    "golden": "watched on golden clips:",
    "aside": "set aside",
}
_MOST_ROWS = 20
_MOST_CLIPS = 5
_MAIN_PACKAGES = ("python", "tenuto", "torch", "transformers")


def print_model(found: ModelAudit, aliases_from: str, as_of: AsOf) -> None:
    """A version and everything behind it, down to the source files."""
    if found.served:
        print_served(found)
    pointing = "".join(f" [bold cyan]@{escape(alias)}[/]" for alias in found.aliases)
    tree = Tree(f"[bold]{escape(found.model)} version {found.version}[/]{pointing}", guide_style="dim")
    tree.add(f"registered  {found.registered.registered_at:%Y-%m-%d %H:%M} UTC{_ledger_entry(found)}")
    if found.registered.checkpoint_sha256:
        tree.add(f"checkpoint  {found.registered.checkpoint_sha256[:16]}  {_backbone(found)}")
    if found.run is None:
        tree.add(
            "[yellow]run  unknown: this version was not registered by a run of Tenuto, so its clips are unknown[/]"
        )
    else:
        _add_run(tree, found, found.run)
        _add_data(tree, found, found.run)
    out.print(tree, highlight=False, soft_wrap=False)  # else long lines would be cut off
    _print_reach(aliases_from, as_of)


def print_served(found: ModelAudit) -> None:
    """The prediction that the question started from."""
    served = found.served
    assert served is not None
    out.print(
        f"request {escape(served.request_id)}: [bold]{escape(served.label)}[/] ({served.probability:.3f}) at "
        f"{served.at:%Y-%m-%d %H:%M:%S} UTC, answered by",
        highlight=False,
    )


def print_heard(found: HeardAudit, aliases_from: str, as_of: AsOf) -> None:
    """Every version, run, dataset version and cache that holds a clip or a group."""
    ((kind, asked),) = found.asked.items()
    clips = f": {counted(len(found.clips), 'clip')}" if found.clips else ""
    out.print(f"[bold]{kind} {escape(asked)}[/]{clips}", highlight=False)
    for clip in found.clips[:_MOST_CLIPS]:
        groups = ", ".join(f"{name}={value}" for name, value in clip.groups.items())
        out.print(f"  {clip.clip_id}  {escape(clip.label)}  {escape(clip.source)}  {escape(groups)}", highlight=False)
    if len(found.clips) > _MOST_CLIPS:
        out.print(f"  ... and {len(found.clips) - _MOST_CLIPS:,} more (--json has all)")
    _print_erased(found)
    _print_versions(found)
    _print_runs(found)
    _print_datasets(found)
    _print_cached(found)
    _print_reach(aliases_from, as_of)


def _add_run(tree: Tree, found: ModelAudit, run: RunDocument) -> None:
    verdict = f"  [{STYLES.get(run.verdict or '', 'bold')}]{run.verdict}[/]" if run.verdict else ""
    branch = tree.add(f"run  {run.run_id}  {run.started_at:%Y-%m-%d %H:%M} UTC{verdict}")
    for reason in run.reasons:
        branch.add(escape(reason))
    against = found.registered.evaluated_against
    champion = f"version {against}, the champion then" if against else "no champion: there was none"
    branch.add(f"compared with  {champion}")
    branch.add(f"flow run  {run.flow_run or 'none'}")
    code = branch.add(f"code  {_commit(run)}")
    for file in run.code.dirty_files if run.code else ():
        code.add(f"[yellow]not committed[/]  {escape(file)}")
    environment = branch.add(f"environment  {_environment(run)}")
    if run.lock:
        environment.add(f"{counted(run.lock.packages, 'package')} installed, sha256 {run.lock.sha256}")
        environment.add(escape(run.lock.place))
    else:
        environment.add("[yellow]list of all packages  not recorded[/]")


def _add_data(tree: Tree, found: ModelAudit, run: RunDocument) -> None:
    branch = tree.add(f"dataset  {run.dataset_md5 or 'unknown'}")
    met = sum(m.success for m in run.validation)
    report = branch.add(f"validation  {met} of {counted(len(run.validation), 'expectation')} met")
    for finding in run.validation:
        if not finding.success:
            report.add(f"[yellow]{finding.severity}[/]  {escape(finding.expectation)}: {escape(finding.summary)}")
    if found.listed is None:
        branch.add("[yellow]clips  unknown: the run left no clips table[/]")
    for split, shares in groupby(found.clips, lambda share: share.split):
        _add_split(branch, found, split, list(shares))
    if found.erased:
        branch.add(f"[yellow]erased since[/]  {counted(found.erased, 'clip')}; see {_certificates(found)}")


def _certificates(found: ModelAudit) -> str:
    return ", ".join(f"erasures/{number}.json" for number in found.certificates) or "erasures/"


def _add_split(tree: Tree, found: ModelAudit, split: str, shares: Sequence[LabelShare]) -> None:
    clips, groups = sum(share.clips for share in shares), []
    for name, splits in found.groups.items():
        if splits.get(split):
            groups.append(counted(splits[split], name))
    of = f" of {', '.join(groups)}" if groups else ""
    heard = f", {_weights(found.run, shares)}{_copies(shares)}" if split == "train" and found.run else ""
    branch = tree.add(f"{_PHRASES.get(split, split)} [bold]{counted(clips, 'clip')}[/]{escape(of)}{heard}")
    rows = Table.grid(padding=(0, 2))
    for share in shares:
        more = " ..." if share.clips > len(share.first_sources) else ""
        names = ", ".join(share.first_sources) + more
        copies = f"+ {share.copies:,} copies" if share.copies else ""
        weight = f"weight {_span(share.weights)}" if share.weights and share.weights != (1, 1) else ""
        rows.add_row(escape(share.label), f"{share.clips:,}", weight, copies, f"[dim]{escape(names)}[/]")
    branch.add(rows)


def _copies(shares: Sequence[LabelShare]) -> str:
    if any(share.copies is None for share in shares):
        return "; augmented copies not recorded"
    return f", and {counted(sum(s.copies or 0 for s in shares), 'augmented copy', 'augmented copies')}"


def _weights(run: RunDocument, shares: Sequence[LabelShare]) -> str:
    """What one clip counted: 'weight 1 each' only when all did."""
    loss = "" if run.loss == "cross-entropy" else f" in the {run.loss} loss"
    spans = [share.weights for share in shares if share.weights]
    if run.weighting == "even":
        return f"weight 1 each{loss}"
    if run.weighting == "group DRO":
        return f"weight varies (group DRO){loss}"
    if not spans:
        return "weight not recorded"
    return f"weight {_span((min(low for low, _ in spans), max(high for _, high in spans)))}{loss}"


def _span(weights: tuple[float, float]) -> str:
    low, high = (f"{weight:.3g}" for weight in weights)
    return low if low == high else f"{low} to {high}"


def _print_erased(found: HeardAudit) -> None:
    for erased in found.erased:
        heard = [f"version {t.version}" if t.version else f"run {t.run[:8]}" for t in erased.runs if _shaped(t.roles)]
        who = f"; {', '.join(heard)} had heard it" if heard else "; no model had heard it"
        out.print(
            f"[bold yellow]erased[/] on {erased.at:%Y-%m-%d}, certificate {erased.number}{who}. Nothing else is kept.",
            highlight=False,
        )


def _shaped(roles: dict[str, int]) -> bool:
    return bool(roles.get("trained") or roles.get("tuned"))


def _print_versions(found: HeardAudit) -> None:
    if not found.versions:
        if not found.erased:
            out.print("versions  none heard it and none was tested on it")
        return
    runs = [list(some) for _, some in groupby(found.versions, lambda v: (v.model, tuple(v.roles.items()), v.aliases))]
    table = Table("version", "aliases", *found.used, title=_versions_title(found), title_justify="left")
    for some in reversed(runs[-_MOST_ROWS:]):
        first, last = some[0], some[-1]
        number = first.version if first is last else f"{first.version} to {last.version}"
        aliases = " ".join(f"@{alias}" for alias in first.aliases)
        table.add_row(f"{escape(first.model)} {number}", escape(aliases), *_cells(first, found.used))
    out.print(table)
    if len(runs) > _MOST_ROWS:
        out.print(f"... and {sum(map(len, runs[:-_MOST_ROWS])):,} older versions (--json has all)")


def _versions_title(found: HeardAudit) -> str:
    heard = sum(version.has_heard for version in found.versions)
    return f"{counted(heard, 'version')} heard it (trained or tuned), {len(found.versions) - heard:,} only tested on it"


def _cells(holding: VersionHolding, used: Iterable[str]) -> Iterable[str]:
    return (f"{holding.roles[role]:,}" if role in holding.roles else "" for role in used)


def _print_runs(found: HeardAudit) -> None:
    silent = [run for run in found.runs if not run.versions]
    if not silent:
        return
    trained = [run for run in silent if run.is_trained]
    out.print(
        f"runs      {len(found.runs):,} used it; {len(silent):,} of them registered nothing, of which "
        f"{len(trained):,} trained a model",
        highlight=False,
    )
    for run in list(reversed(trained))[:_MOST_CLIPS]:
        out.print(f"  {run.started_at:%Y-%m-%d}  {run.run_id}  {run.verdict or ''}: {_roles(run)}", highlight=False)


def _roles(run: RunHolding) -> str:
    return ", ".join(f"{role} {clips:,}" for role, clips in run.roles.items())


def _print_datasets(found: HeardAudit) -> None:
    known = [holding for holding in found.datasets if holding.clips is not None]
    newest = list(reversed(known))[:_MOST_CLIPS]
    out.print(f"datasets  {counted(len(known), 'dataset version')} {'holds' if len(known) == 1 else 'hold'} it")
    for holding in newest:
        since = f"  since {holding.first_seen:%Y-%m-%d}" if holding.first_seen else ""
        commit = f"  commit {holding.commit[:8]}" if holding.commit else ""
        now = "  [bold]present[/]" if holding.is_present else ""
        clips, runs = counted(holding.clips or 0, "clip"), counted(holding.runs, "run")
        out.print(f"  {holding.md5}  {clips}, {runs}{since}{commit}{now}", highlight=False)
    if len(known) > len(newest):
        out.print(f"  ... and {len(known) - len(newest):,} older (--json has all)")
    if unknown := len(found.datasets) - len(known):
        out.print(f"  {counted(unknown, 'version')} of data.dvc cannot be looked into: not in DVC's cache here, no run")


def _print_cached(found: HeardAudit) -> None:
    if not found.cached:
        out.print("cache     nothing of it in .tenuto/cache")
    for cached in found.cached:
        whose = f" of {cached.backbone}" if cached.backbone else ""
        out.print(
            f"cache     {counted(cached.rows, 'row')} in {cached.kind}/{cached.key}{escape(whose)}", highlight=False
        )


def _ledger_entry(found: ModelAudit) -> str:
    return f", entry {found.decision} of the ledger" if found.decision else ""


def _backbone(found: ModelAudit) -> str:
    name = found.registered.tags.get("tenuto.backbone")
    return f"fine-tuned from {escape(name)}" if name else ""


def _commit(run: RunDocument) -> str:
    if run.code is None or run.code.commit is None:
        return "not under version control"
    branch = f" on {run.code.branch}" if run.code.branch else ""
    dirty = len(run.code.dirty_files)
    changes = f", and [yellow]{counted(dirty, 'file')} not committed[/]" if dirty else ", nothing uncommitted"
    return f"{run.code.commit}{escape(branch)}{changes}"


def _environment(run: RunDocument) -> str:
    if not run.environment:
        return "unknown"
    main = ", ".join(f"{name} {run.environment[name]}" for name in _MAIN_PACKAGES if name in run.environment)
    return f"{main}, and {len(run.environment) - len(_MAIN_PACKAGES)} more (--json has all)"


def _print_reach(aliases_from: str, as_of: AsOf) -> None:
    """How far the answer reaches, and who says where aliases point."""
    when = f" of {as_of.at:%Y-%m-%d %H:%M} UTC" if as_of.at else ""
    entry = f"as of entry {as_of.entry}{when} of the ledger" if as_of.entry else "the ledger has no entry yet"
    if as_of.store == "not reached":
        alone = f"{entry}, on this host alone: what other hosts did since is not in it. {as_of.why}"
        out.print(f"[yellow]{escape(alone)}[/]", highlight=False)
    else:
        heard = ", compared with MLflow's copy" if as_of.store == "shared" else ""
        out.print(f"[dim]{entry}{heard}[/]", highlight=False)
    if aliases_from == "ledger":
        note = "aliases as the ledger knows them; `tenuto ledger verify` checks them against the registry"
    else:
        note = "aliases as MLflow has them"
    out.print(f"[dim]{note}[/]", highlight=False)


def print_clips(rows: Sequence[dict[str, object]]) -> None:
    """Every clip of a model, one line each."""
    for row in rows:
        groups = " ".join(f"{name.removeprefix('group_')}={row[name]}" for name in row if name.startswith("group_"))
        copies = "?" if row["copies"] is None else row["copies"]
        weight = "?" if row["weight"] is None else f"{row['weight']:.3g}"
        out.print(
            f"{row['clip_id']}  {row['split']:10}  weight {weight}  copies {copies:>2}  "
            f"{escape(str(row['label']))}  {escape(str(row['source']))}  {escape(groups)}",
            highlight=False,
        )
