import subprocess
import sys

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from nasjax.core.errors import UserError
from nasjax.plots import genotypes
from nasjax.spaces import SPACES, CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import load
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.rules import random_genotype

DARTS = SPACES["darts"]
TWINS = Genotype(  # both inputs of every node from one source
    "darts",
    {
        "normal": [
            (op, node)
            for node in (1, 2, 3, 4)
            for op in ("sep_conv_3x3", "skip_connect")
        ],
        "reduce": [
            (op, 0)
            for op in ("max_pool_3x3", "avg_pool_3x3", "dil_conv_5x5", "none") * 2
        ],
    },
    (2, 3, 4, 5),
)


def test_text():
    assert genotypes.text(load("pdarts")).splitlines()[:5] == [
        "Normal cell                          Reduction cell",
        "  c(k-2) ── skip_connect ─┬─ 2         c(k-2) ── avg_pool_3x3 ─┬─ 2",
        "  c(k-1) ── dil_conv_3x3 ─╯            c(k-1) ── sep_conv_5x5 ─╯",
        "  c(k-2) ── skip_connect ─┬─ 3         c(k-2) ── sep_conv_3x3 ─┬─ 3",
        "  c(k-1) ── sep_conv_3x3 ─╯            2 ─────── dil_conv_5x5 ─╯",
    ]
    assert max(map(len, genotypes.text(TWINS).splitlines())) <= 80


def test_text_of_other_spaces(monkeypatch):
    types = ("cell_0", "cell_1", "cell_2")
    three = CellSpace("three", ("skip_connect",), 1, types, inputs=3, picks=3)
    monkeypatch.setitem(SPACES, "three", three)
    assert genotypes.text(random_genotype(0, three)).splitlines()[-5:] == [
        "cell_2",
        "  c(k-3) ── skip_connect ─┬─ 3",
        "  c(k-2) ── skip_connect ─┤",
        "  c(k-1) ── skip_connect ─╯",
        "  output: 3",
    ]
    one = CellSpace("one", ("skip_connect",), 1, ("cell",), inputs=1, picks=1)
    monkeypatch.setitem(SPACES, "one", one)
    assert genotypes.text(random_genotype(0, one)).splitlines()[1] == (
        "  c(k-1) ── skip_connect ─── 1"
    )


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, instead of their files."""
    kept = []
    monkeypatch.setattr(
        genotypes, "save", lambda figure, path, footer="": kept.append(figure)
    )
    return kept


@pytest.mark.parametrize(
    "genotype",
    [*PUBLISHED.values(), TWINS, *(random_genotype(seed, DARTS) for seed in range(8))],
)
def test_labels_do_not_overlap(genotype, figures):
    genotypes.draw(genotype, "unused.png")
    (figure,) = figures
    FigureCanvasAgg(figure).draw()
    page = figure.bbox
    for axes, pairs in zip(figure.axes, genotype.cells.values(), strict=True):
        texts = [t for t in axes.texts if t.get_text()]
        boxes = [(t.get_bbox_patch() or t).get_window_extent() for t in texts]
        for index, box in enumerate(boxes):
            assert page.x0 <= box.x0 and box.x1 <= page.x1
            assert page.y0 <= box.y0 and box.y1 <= page.y1
            assert not any(box.overlaps(other) for other in boxes[index + 1 :])
        words = [t.get_text().replace("×", "x").replace(" ", "_") for t in texts]
        assert sorted(set(words) & set(DARTS.primitives)) == sorted(
            {o for o, _ in pairs}
        )
        assert sum(word in DARTS.primitives for word in words) == len(pairs)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_draw_writes_each_format(ending, tmp_path):
    path = tmp_path / f"cells.{ending}"
    genotypes.draw(load("darts_v2"), path)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_drawings_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.png, \.svg or \.pdf"):
        genotypes.draw(load("darts_v2"), tmp_path / "cells.gif")
    with pytest.raises(UserError, match="Cannot write the drawing"):
        genotypes.draw(load("darts_v2"), tmp_path / "missing" / "cells.png")


def test_text_needs_no_matplotlib():
    program = (
        "import sys; from nasjax.plots import genotypes; "
        "from nasjax.spaces.load import load; genotypes.text(load('pdarts'));"
        "sys.exit('matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
