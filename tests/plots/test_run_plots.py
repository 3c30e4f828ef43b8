"""Pictures of a run: mixing weights, signs of collapse, curves."""

import numpy as np
import pytest
from matplotlib.image import imread

from nasjax.core.errors import UserError
from nasjax.plots import alpha, signs, training
from nasjax.spaces import SPACES

DARTS = SPACES["darts"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, with their footers, instead of their files."""
    kept = []
    for module in (alpha, signs, training):
        keep = lambda figure, path, footer="": kept.append((figure, footer))
        monkeypatch.setattr(module, "save", keep)
    return kept


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def inputs(space, epochs=3):
    own = {kind: np.array(space.choices(kind)).shape for kind in space.types}
    history = {kind: np.random.rand(epochs, *shape) for kind, shape in own.items()}
    choices = {kind: space.choices(kind) for kind in space.types}
    edges = dict.fromkeys(space.types, space.edges)
    return history, np.arange(epochs), choices, edges


@pytest.mark.parametrize("name", ["darts", "s1", "nasbench201"])
def test_alpha_of_every_edge_and_operation(figures, name):
    space = SPACES[name]
    history, steps, choices, edges = inputs(space)
    kind = space.types[0]
    source, node = space.edges[1]
    kept = {kind: [(choices[kind][1][0], source, node)]}
    alpha.plot_alpha(history, steps, choices, edges, "a.png", kept, "run a")
    figure, footer = figures[0]
    assert footer == "run a"
    time, last, entropy = visible(figure)[:3]
    ticks = [tick.get_text() for tick in time.get_yticklabels()]
    assert len(ticks) == len(space.edges) and ticks[1].endswith(" *")
    image = last.images[0].get_array()
    every = [tick.get_text() for tick in last.get_xticklabels()]
    assert image.shape == (len(space.edges), len(every))
    drawn = np.ma.masked_invalid(image)
    own = 100 * history[kind][-1]
    expected = np.sort(own - own.mean(1)[:, None], axis=None)
    np.testing.assert_allclose(np.sort(drawn.compressed()), expected)
    bar = next(a for a in visible(figure) if "equal weights" in a.get_title())
    assert bar.get_title() == "points above\nequal weights"
    written = sorted(float(text.get_text()) for text in last.texts)
    np.testing.assert_allclose(written, np.sort(own, axis=None), atol=0.51)
    assert bar.get_ylim()[1] == pytest.approx(abs(drawn).max())  # as the cells: percent
    assert len(entropy.lines) == len(space.edges) + 1
    low, high = entropy.get_ylim()
    assert high - low >= 0.1  # noise is not drawn as a trend


def test_many_cells_are_drawn_by_means(figures):
    space = SPACES["s2"].separate(3)
    history, steps, choices, _ = inputs(space)
    alpha.plot_alpha(history, steps, choices, {}, "a.png")
    panels = [
        axes for axes in visible(figures[0][0]) if axes.images and axes.get_title()
    ]
    assert len(panels) == 3


LINES = [
    {"phase": "search", "step": 10, "loss": 2.0, "accuracy": 0.2, "alpha": 1.0},
    {"phase": "search", "step": 20, "loss": None, "valid_accuracy": 0.5},
    {"phase": "retrain", "step": 10, "loss": 1.0, "accuracy": 0.3},
    {"phase": "random_0", "step": 10, "loss": 1.5, "accuracy": 0.2},
    {"phase": "random_1", "step": 10, "loss": 1.4, "accuracy": 0.1},
]


def test_found_and_random_share_their_axes_and_legends_are_outside(figures):
    tests = {"retrain_0": 0.9, "random_0": 0.8, "random_1": 0.7}
    training.plot_curves(LINES, "c.png", tests=tests)
    panels = {axes.get_title(loc="left"): axes for axes in visible(figures[0][0])}
    assert list(panels) == [
        "search: loss", "search: accuracy", "retraining: loss", "retraining: accuracy",
    ]  # fmt: skip
    axes = panels["retraining: accuracy"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == [
        "found, test", "found, training batches",
        "random cells, test", "random cells, training batches",
    ]  # fmt: skip
    low, high = axes.get_ylim()
    assert low < 0.1 and high > 0.9
    for one in panels.values():
        box = one.get_legend().get_bbox_to_anchor()
        assert box.y1 < one.bbox.y0  # below the axes
    search = panels["search: accuracy"].get_legend().get_texts()
    assert "(validation)" in search[1].get_text()
    with pytest.raises(UserError, match="no loss or accuracy"):
        training.plot_curves([], "c.png")


def test_signs_have_a_scale_that_noise_does_not_fill(figures):
    x = np.arange(3)
    noise = {"normal": (x, np.array([0.5, 0.501, 0.499]))}
    empty = {"normal": (np.array([]), np.array([]))}
    panels = [
        signs.Panel("share", "high: bad", noise, (0, 1), {"normal": (0.1, 0.4)}),
        signs.Panel("nothing", "", empty),
        signs.Panel("large", "", {"a": (x, 9.0 * x)}, (0, 1)),
    ]
    signs.plot_signs(panels, "s.png", "run a")
    share, large = visible(figures[0][0])
    assert share.get_ylim()[0] <= 0 and share.get_ylim()[1] >= 1
    assert large.get_ylim()[1] >= 18
    assert "high: bad" in [text.get_text() for text in share.texts]
    labels = [text.get_text() for text in share.get_legend().get_texts()]
    assert labels == ["normal", "random cells"]


def test_real_files_name_their_run(tmp_path):
    history, steps, choices, edges = inputs(SPACES["darts7"])
    alpha.plot_alpha(
        history, steps, choices, edges, tmp_path / "a.svg", None, "run $a$^ $"
    )
    training.plot_curves(LINES, tmp_path / "c.png", footer="run a")
    assert imread(tmp_path / "c.png")[..., :3].std() > 0.01
    assert "<svg" in (tmp_path / "a.svg").read_text()
