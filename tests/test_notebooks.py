import re

import jupytext
import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/nasjax/nasjax/blob/main/"
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def test_there_are_notebooks():
    """There are notebooks, and each has a function that checks its results."""
    assert {path.stem for path in NOTEBOOKS} == {*EXPECTED}


@every
def test_the_pair_is_in_sync(path):
    """If this test fails, run: jupytext --sync notebooks/NAME.py"""
    notebook, script = (
        jupytext.read(path.with_suffix(suffix)) for suffix in (".ipynb", ".py")
    )
    assert notebook.metadata["jupytext"]["formats"] == "ipynb,py:percent"
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]


@every
def test_it_is_stored_without_outputs(path):
    for cell in nbformat.read(path, 4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@every
def test_the_badge_opens_this_notebook(path):
    text = "".join(cell.source for cell in nbformat.read(path, 4).cells)
    assert f"]({COLAB}notebooks/{path.name})" in text
    assert text.count(COLAB) == 1


@every
def test_it_installs_only_inside_colab(path):
    code = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    installing = [source for source in code if '"install"' in source]
    assert len(installing) == 1
    (source,) = installing
    assert source.index('find_spec("google.colab")') < source.index('"install"')
    assert not any(line.startswith(("!", "%")) for s in code for line in s.split("\n"))


def of_search(text, pictures, runs):
    assert "found:  " in text and "test accuracy on own data: " in text
    assert pictures == 4
    assert (runs / "notebook-own" / "result.json").exists()


def of_hypergradients(text, pictures, runs):
    """Toys agree with results by hand, losses fall, wrong labels lose weight, and `check`
    is right."""
    assert "{'first order': 2.0, 'unrolled, one step': 1.667, 'implicit': 1.0}" in text
    losses = re.findall(r"^Amended toy, .*: loss (\S+)$", text, re.M)
    assert losses == ["1.8e+18", "3.8e+05", "9.4e-15"]
    tuned = re.findall(r"^(.*): validation loss (\S+) -> (\S+),", text, re.M)
    assert [name.split("(")[0] for name, _, _ in tuned] == [
        "implicit, cg", "implicit, neumann", "unrolled, 50 steps",
    ]  # fmt: skip
    assert all(float(last) < 0.7 * float(first) for _, first, last in tuned)
    series, steps = (float(last) for _, _, last in tuned[1:])
    assert abs(series - steps) < 0.01 * steps  # equal at the optimum
    wrong, right = re.search(r"mean weight: wrong (\S+), right (\S+)", text).groups()
    assert float(wrong) < float(right) - 0.2
    assert "implicit_cg agrees with" in text
    assert "implicit_neumann DOES NOT AGREE with" in text
    assert "The hypergradient is zero" in text
    assert pictures == 4


EXPECTED = {"search": of_search, "hypergradients": of_hypergradients}


@pytest.mark.slow
@every
def test_it_runs_to_its_end(path, tmp_path, monkeypatch):
    monkeypatch.setenv("NASJAX_QUICK", "1")
    monkeypatch.setenv("NASJAX_RUNS", str(tmp_path))
    # The tests' compile settings; the kernel inherits XLA_FLAGS of conftest.py.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    notebook = nbformat.read(path, 4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=900, resources=folder).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    text = "".join(out.get("text", "") for out in outputs)
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    EXPECTED[path.stem](text, len(pictures), tmp_path)
