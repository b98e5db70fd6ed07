"""Where boxes and lines go."""

from __future__ import annotations

from itertools import combinations

from tenuto.tracing.audit.graph import Box, Drawing, Graph, Link, Placed, across, down

GRAPH = Graph(
    layers=(
        (Box("source", "source files", ("a long name of a file that does not fit.wav",)),),
        (
            Box("train", "trained on", ("30 clips",)),
            Box("test", "tested on", ("10 clips", "2 speakers")),
            Box("x", "x"),
        ),
        (),
        (Box("run", "run"),),
    ),
    links=(Link("source", "train", 30, "clips"), Link("source", "test", 10), Link("train", "run"), Link("run", "gone")),
)


def overlaps(one: Placed, other: Placed) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def assert_fits(drawing: Drawing) -> None:
    assert not any(overlaps(one, other) for one, other in combinations(drawing.boxes, 2))
    for placed in drawing.boxes:
        assert placed.x >= 0 and placed.y >= 0
        assert placed.x + placed.width <= drawing.width and placed.y + placed.height <= drawing.height + 0.01
        for _, _, y in placed.texts:
            assert placed.y < y < placed.y + placed.height


def test_boxes_fit_and_do_not_overlap() -> None:
    for drawing in (across(GRAPH), down(GRAPH)):
        assert_fits(drawing)
        assert [placed.box.name for placed in drawing.boxes] == ["source", "train", "test", "x", "run"]


def test_layers_follow_one_another() -> None:
    wide, tall = ({p.box.name: p for p in drawing.boxes} for drawing in (across(GRAPH), down(GRAPH)))
    assert wide["source"].x < wide["train"].x == wide["test"].x < wide["run"].x
    assert tall["source"].y < tall["train"].y == tall["test"].y < tall["x"].y < tall["run"].y


def test_lines_are_as_thick_as_their_share_of_clips() -> None:
    widths = {line.width for line in across(GRAPH).lines}
    assert widths == {14.0, 14.0 * 10 / 30, 1.5} and len(across(GRAPH).lines) == 3
    spine = down(GRAPH).lines
    assert [line.width for line in spine] == [14.0, 1.5]


def test_only_a_layer_of_several_boxes_has_a_frame() -> None:
    drawing = down(GRAPH)
    assert len(drawing.frames) == 1
    _, top, _, height = drawing.frames[0]
    members = [p for p in drawing.boxes if p.box.name in ("train", "test", "x")]
    assert all(top <= p.y and p.y + p.height <= top + height for p in members)


def test_long_text_is_cut_and_kept_whole_beside() -> None:
    cut, whole, _ = across(GRAPH).boxes[0].texts[1]
    assert cut.endswith("…") and len(cut) == 21 and whole.startswith(cut[:-1])


def test_a_single_box_is_a_graph() -> None:
    alone = Graph(((Box("only", "only"),),), ())
    for drawing in (across(alone), down(alone)):
        assert_fits(drawing)
        assert drawing.lines == []
