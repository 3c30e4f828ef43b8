import jupytext
import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/nasjax/nasjax/blob/main/"
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def test_there_are_notebooks():
    assert ROOT / "notebooks" / "search.ipynb" in NOTEBOOKS


@every
def test_the_pair_is_in_sync(path):
    """If it fails: jupytext --sync notebooks/NAME.py"""
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


@pytest.mark.slow
@every
def test_it_runs_to_its_end(path, tmp_path, monkeypatch):
    monkeypatch.setenv("NASJAX_QUICK", "1")
    monkeypatch.setenv("NASJAX_RUNS", str(tmp_path))
    notebook = nbformat.read(path, 4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=900, resources=folder).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    text = "".join(out.get("text", "") for out in outputs)
    pictures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert "found:  " in text and "test accuracy on own data: " in text
    assert len(pictures) == 4
    assert (tmp_path / "notebook-own" / "result.json").exists()
