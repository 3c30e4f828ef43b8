from itertools import pairwise

import numpy as np
import pytest
from matplotlib.image import imread

from nasjax.core.errors import UserError
from nasjax.plots import curves
from nasjax.spaces import SPACES

DARTS = SPACES["darts"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, instead of their files."""
    kept = []
    monkeypatch.setattr(curves, "save", lambda figure, path: kept.append(figure))
    return kept


def test_alpha_has_a_panel_for_every_edge(figures):
    steps = np.array([0, 50, 100])
    history = {name: np.random.rand(3, 14, 8) for name in DARTS.types}
    curves.plot_alpha(
        history,
        steps,
        {kind: DARTS.choices(kind) for kind in DARTS.types},
        dict.fromkeys(DARTS.types, DARTS.edges),
        "unused.png",
    )
    panels = [axes for axes in figures[0].axes if axes.get_visible()]
    assert len(panels) == 28
    names = ("$c_{k-2}$", "$c_{k-1}$", "2", "3", "4")
    for edge, (axes, (source, node)) in enumerate(
        zip(panels[:14], DARTS.edges, strict=True)
    ):
        assert axes.get_title() == f"{names[source]} → {node}"
        for op, line in enumerate(axes.lines):
            np.testing.assert_array_equal(line.get_xdata(), steps)
            np.testing.assert_array_equal(
                line.get_ydata(), history["normal"][:, edge, op]
            )
    colours = [line.get_color() for line in panels[0].lines]
    assert len(set(colours)) == 8


def test_curves(tmp_path, figures):
    lines = [
        {"phase": "search", "step": 10, "loss": 2.0, "accuracy": 0.2, "alpha": 1.0},
        {"phase": "search", "step": 20, "loss": None, "valid_accuracy": 0.5},
        {"phase": "retrain", "step": 10, "loss": 1.0},
    ]
    curves.plot_curves(lines, "unused.png")
    panels = [axes for axes in figures[0].axes if axes.get_visible()]
    found = [
        (a.get_title(), a.get_ylabel(), [line.get_label() for line in a.lines])
        for a in panels
    ]
    assert found == [
        ("search", "loss", ["loss"]),
        ("search", "accuracy", ["accuracy", "valid accuracy"]),
        ("retrain", "loss", ["loss"]),
    ]
    assert all(b > a for a, b in pairwise(panels[1].lines[1].get_xdata()))
    with pytest.raises(UserError, match="no loss or accuracy"):
        curves.plot_curves([], "unused.png")


def test_real_files(tmp_path):
    history = {name: np.full((2, 14, 7), 1 / 7) for name in DARTS.types}
    primitives = {kind: SPACES["darts7"].choices(kind) for kind in DARTS.types}
    edges = dict.fromkeys(history, DARTS.edges)
    curves.plot_alpha(history, np.arange(2), primitives, edges, tmp_path / "a.png")
    lines = [{"phase": "search", "step": 1, "loss": 2.0}]
    curves.plot_curves(lines, tmp_path / "c.png")
    for name in ("a.png", "c.png"):
        assert imread(tmp_path / name)[..., :3].std() > 0.01


def test_operations_by_edge(figures):
    """S1: two lines in every panel, of the edge's own operations."""
    space = SPACES["s1"]
    history = {kind: np.random.rand(3, 14, 2) for kind in space.types}
    choices = {kind: space.choices(kind) for kind in space.types}
    edges = dict.fromkeys(space.types, space.edges)
    curves.plot_alpha(history, np.arange(3), choices, edges, "unused.png")
    panels = [axes for axes in figures[0].axes if axes.get_visible()]
    assert [len(axes.lines) for axes in panels] == [2] * 28
    own = space.separate(8)
    history = {kind: np.random.rand(3, 14, 2) for kind in own.types}
    choices = {kind: own.choices(kind) for kind in own.types}
    curves.plot_alpha(history, np.arange(3), choices, {}, "unused.png")
    normal, reduce = (figures[1].axes[index] for index in (0, 2))
    assert len(normal.lines) == 5 and len(reduce.lines) == 6  # operations in the cell
    skips = [
        row for row, ops in enumerate(own.choices("cell_0")) if "skip_connect" in ops
    ]
    columns = [own.choices("cell_0")[row].index("skip_connect") for row in skips]
    mean = history["cell_0"][:, skips, columns].mean(1)
    np.testing.assert_allclose(normal.lines[0].get_ydata(), mean)


def test_three_cells_of_their_own_are_drawn_by_their_means(figures):
    own = SPACES["s2"].separate(3)
    history = {kind: np.random.rand(3, 14, 2) for kind in own.types}
    choices = {kind: own.choices(kind) for kind in own.types}
    curves.plot_alpha(history, np.arange(3), choices, {}, "unused.png")
    panels = [axes for axes in figures[0].axes if axes.lines]
    assert len(panels) == 3


def test_panels_without_a_point_are_left_out(figures):
    empty, some = (np.array([]),) * 2, (np.arange(3), np.ones(3))
    curves.plot_panels(
        {"a": {"x": empty}, "b": {"x": some, "y": empty}}, "epoch", "u.png"
    )
    (axes,) = [axes for axes in figures[0].axes if axes.get_visible()]
    assert axes.get_title() == "b" and len(axes.lines) == 1
