"""The label-efficiency curve as a picture."""

from __future__ import annotations

from pathlib import Path

from tenuto.learning.curve import Band, Curve

_COLOURS = {"transfer": "#1f6f8b", "from scratch": "#b5532a"}


def draw(curve: Curve, path: Path, *, title: str) -> Path:
    """The picture at `path` (its suffix says the format): both curves with their bands, and every training as a dot."""
    from matplotlib.figure import Figure

    # a Figure of its own: pyplot would keep every figure and wants a display
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, way, bands in (("transfer", "transfer", curve.transfer), ("from scratch", "scratch", curve.scratch)):
        colour, sizes = _COLOURS[name], [band.clips_per_class for band in bands]
        axes.plot(sizes, [band.mean for band in bands], color=colour, marker="o", markersize=4, label=name)
        axes.fill_between(
            sizes, [band.low for band in bands], [band.high for band in bands], color=colour, alpha=0.18, linewidth=0
        )
        dots = [point for point in curve.points if point.way == way]
        axes.plot(
            [dot.clips_per_class for dot in dots],
            [dot.macro_f1 for dot in dots],
            linestyle="",
            marker=".",
            markersize=4,
            color=colour,
            alpha=0.5,
        )
        _name(axes, bands, name, colour)
    sizes = sorted({point.clips_per_class for point in curve.points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("training clips per class")
    axes.set_ylabel("macro-F1 on the test clips")
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    figure.savefig(path, dpi=150)
    return path


def _name(axes: object, bands: tuple[Band, ...], name: str, colour: str) -> None:
    """The curve's name at its first point, above or below it."""
    first = bands[0]
    above = name == "transfer"
    axes.annotate(  # type: ignore[attr-defined]
        name,
        (first.clips_per_class, first.high if above else first.low),
        textcoords="offset points",
        xytext=(4, 8 if above else -14),
        color=colour,
        fontweight="bold",
    )
