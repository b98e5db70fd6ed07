"""`tenuto audit`: from a model to its clips, and from a clip or a speaker to every model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows import terminal
from flows.commands import Json, prepare
from tenuto.errors import SettingsError

if TYPE_CHECKING:
    from flows.audit_sources import AsOf

app = typer.Typer()

Model = Annotated[
    str, typer.Argument(metavar="[MODEL]", help="`@champion`, `3`, `NAME@alias` or `NAME/3`; none: the champion.")
]
Clip = Annotated[
    str | None, typer.Option("--clip", metavar="ID|PATH", help="Who holds this clip: its id, source name or a file.")
]
Group = Annotated[str | None, typer.Option("--group", metavar="NAME=VALUE", help="Who holds clips of this speaker ...")]
Request = Annotated[
    str | None,
    typer.Option(
        "--served",
        metavar="REQUEST_ID",
        help="What made the model that answered this request: the id that came back with the answer.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", help="Write to this file: .csv or .parquet for the clips, .html the page.")
]


@app.command()
def audit(
    model: Model = "",
    clip: Clip = None,
    group: Group = None,
    served: Request = None,
    clips: Annotated[bool, typer.Option("--clips", help="List every clip with its split and weight.")] = False,
    page: Annotated[bool, typer.Option("--page", help="Write a page with a graph.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    output: Output = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the index again from MLflow first.")] = False,
    json: Json = False,
) -> None:
    """From a model to its recordings, and from a recording, a speaker or a prediction to the models.

    Examples: `tenuto audit @champion`, `tenuto audit digits/3 --clips --output clips.csv`,
    `tenuto audit --group speaker=ann --page --open`, `tenuto audit --clip up_ann_0.wav`, `tenuto audit --served 5f3a`
    """
    _check(model, {"--clip": clip, "--group": group, "--served": served}, clips, output)
    workspace, params = prepare(None)
    from flows import audit as asking

    with terminal.waiting("looking it up", quiet=json), asking.opened(workspace, params, rebuild=rebuild) as opened:
        if clip is not None or group is not None:
            heard = asking.clip(opened, clip) if clip is not None else asking.group(opened, group or "")
            found: Any = heard
            rows = [fact.model_dump() for fact in heard.clips]
        else:
            made = asking.behind(opened, served) if served is not None else asking.model(opened, model)
            found = made
            rows = asking.clip_table(opened, made) if clips or _is_table(output) else []
    written = asking.write(workspace, found, rows, output, wants_page=page or open_)
    if json:
        listed = {"clip_table": rows} if clips else {}
        said = {"aliases_from": opened.aliases_from, "as_of": opened.as_of.model_dump(mode="json")}
        shape = found.model_dump(mode="json") | listed | said | {"written": written}
        terminal.print_json(shape)
    else:
        _print(found, opened.aliases_from, opened.as_of, rows if clips else [], written)
    if open_:
        typer.launch(next(Path(place).resolve().as_uri() for place in written if place.endswith(".html")))


def _check(model: str, others: dict[str, str | None], clips: bool, output: Path | None) -> None:
    """Raises SettingsError for a question that is two, or a file of no known kind."""
    asked = ([model] if model else []) + [name for name, value in others.items() if value is not None]
    if len(asked) > 1:
        raise SettingsError(
            f"{' and '.join(asked)}: one question at a time; wanted MODEL, --clip, --group or --served."
        )
    if clips and (others["--clip"] is not None or others["--group"] is not None):
        raise SettingsError("--clips lists the clips of a model; with --clip and --group, --json names them all.")
    if output is not None and output.suffix not in (".csv", ".parquet", ".html"):
        raise SettingsError(f"--output {output} ends in {output.suffix!r}; wanted .csv or .parquet (clips) or .html.")
    if output is not None and not output.resolve().parent.is_dir():
        raise SettingsError(f"--output {output}: there is no folder {output.resolve().parent}; make it first.")


def _is_table(output: Path | None) -> bool:
    return output is not None and output.suffix != ".html"


def _print(found: Any, aliases_from: str, as_of: AsOf, rows: list[dict[str, Any]], written: list[str]) -> None:
    from flows import audit_tree
    from tenuto.tracing.audit.answers import ModelAudit

    if isinstance(found, ModelAudit):
        audit_tree.print_model(found, aliases_from, as_of)
    else:
        audit_tree.print_heard(found, aliases_from, as_of)
    if rows and not written:
        audit_tree.print_clips(rows)
    for place in written:
        terminal.out.print(f"written {escape(terminal.shown(Path(place)))}", highlight=False)
