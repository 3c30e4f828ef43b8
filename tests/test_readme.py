import json
import re
import runpy
import subprocess

import jax
import numpy as np
import pytest
import yaml
from conftest import ROOT
from support.tiny import shrink

import nasjax
from nasjax.experiment import build, estimate, report, run
from nasjax.nets.operations import OPERATIONS
from nasjax.search import PARTS
from nasjax.spaces.genotype import Genotype
from nasjax.tasks.images import METRIC

HYPERGRADIENTS = (ROOT / "docs" / "hypergradients.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPACES, ZARTS = (
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("spaces.md", "zarts.md")
)
FIRST = "pip install -e . && python -m nasjax.main --config=configs/zarts_mgs.py"
SECOND = "pip install -e '.[test]' && pytest"
SETUP = "python -m venv .venv && . .venv/bin/activate && "
DOCUMENTS = (
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)  # fmt: skip


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_a_page_is_enough():
    assert len(README.splitlines()) <= 150


def test_the_two_commands_stand_once_and_are_the_only_ones():
    assert blocks("bash") == [SETUP + FIRST + "\n", SETUP + SECOND + "\n"]
    assert blocks("bash", section("Quick start")) == blocks("bash")


@pytest.mark.parametrize(("number", "command"), [(1, FIRST), (2, SECOND), (3, "")])
def test_continuous_integration_takes_the_commands_out_of_the_readme(number, command):
    script = (ROOT / ".ci" / "run").read_text()
    function = re.search(r"^command_of_readme\(\) \{.*?^\}", script, re.M | re.S)
    found = subprocess.run(
        ["bash", "-c", f"{function[0]}\ncommand_of_readme {number}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == (SETUP + command + "\n" if command else "")


def test_algorithms_that_work_are_those_that_are_registered():
    rows = [
        row for row in section("Compare methods").splitlines() if row.startswith("|")
    ]
    working = {row.split("|")[3].strip(" `") for row in rows if "| works |" in row}
    names = {*PARTS, "zarts_budget", "sanas_darts2"} - {"budget", "sanas"}
    assert working == {f"configs/{name}.py" for name in names}
    later = "\n".join(row for row in rows if "| not yet |" in row)
    for name in ("P-DARTS", "PR-DARTS", "GDAS", "MergeNAS", "NASP", "DARTS-,"):
        assert name in later


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_exists_and_nothing_else_is(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    paths = re.findall(
        r"(?<![\w./-])((?:nasjax|configs|notebooks|tests|results)/[\w./-]*\w)", text
    )
    for path in {*paths} - {"configs/NAME.py", "nasjax/search/algorithms/NAME.py"}:
        assert (ROOT / path).exists(), path
    for link in links:
        assert ((ROOT / document).parent / link).exists(), link
    hosts = set(re.findall(r"https?://([^/)\s\"]+)", text))
    assert hosts <= {
        "arxiv.org", "colab.research.google.com", "github.com", "keepachangelog.com",
        "semver.org",
    }  # fmt: skip


def test_the_snippet_of_saliency_runs():
    (block,) = blocks("python", (ROOT / "docs" / "saliency.md").read_text())
    made: dict = {}
    exec(compile(block, "docs/saliency.md", "exec"), made)
    assert made["maps"].shape == (2, 8, 8) and float(made["maps"].max()) > 0


def test_citation_has_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == nasjax.__version__
    assert citation["license"] == "Apache-2.0"


@pytest.fixture
def snippets(tmp_path, monkeypatch):
    """Runs the README's Python block that contains a text, with `nasjax.run` replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    operations = dict(OPERATIONS)

    def run(text, instead):
        (block,) = (
            block for block in blocks("python", README + SPACES) if text in block
        )
        monkeypatch.setattr(nasjax, "run", instead, raising=False)
        (tmp_path / "snippet.py").write_text(block)
        return runpy.run_path("snippet.py")["result"]

    yield run
    OPERATIONS.clear()
    OPERATIONS.update(operations)


def first_step(config, workdir):
    """Builds a run and traces its first step; returns (built, shapes of alpha)."""
    del workdir
    keep = config.space.primitives
    built = build.build(shrink(config, keep))
    search = built.begin(built.algorithm.stages[-1], None)
    state = jax.eval_shape(search.init, jax.random.key(0))
    images = np.zeros((4, *built.domain.image_shape), np.float32)
    batch = {"image": images, "label": np.zeros(4, np.int32)}
    after, _ = jax.eval_shape(search.program("weights").step, state, batch)
    assert jax.tree.map(np.shape, after.w) == jax.tree.map(np.shape, state.w)
    return built, {kind: alpha.shape for kind, alpha in state.arch.items()}


def test_own_data(snippets):
    built, _ = snippets("mine.npz", first_step)
    assert (
        built.domain.image_shape == (24, 24, 1) and len(built.domain.data.classes) == 3
    )


def test_own_space(snippets):
    built, shapes = snippets("small-space", first_step)
    assert built.space.primitives == ("skip_connect", "avg_pool_3x3", "sep_conv_3x3")
    assert shapes == {"normal": (14, 3), "reduce": (14, 3)}


def test_own_operation(snippets):
    built, shapes = snippets("own-operation", first_step)
    assert built.space.primitives[-1] == "conv_3x3"
    assert shapes == {"normal": (14, 3), "reduce": (14, 3)}
    maps = built.domain.maps(built.space)
    assert min(estimate.seconds(built, estimate.of(built, maps[0]), maps)) > 0


def test_the_last_words_of_a_run_with_an_own_operation(tmp_path):
    pairs = (("conv_3x3", 0), ("skip_connect", 1)) * 4
    cell = Genotype("darts", {"normal": pairs, "reduce": pairs}, (2, 3, 4, 5))
    result = {
        "algorithm": "zarts_mgs",
        "genotype": cell.to_json(), "seconds": {"compile": 1, "search": 2, "retrain": 3},
        "test_accuracy": 0.5, "random_test_accuracy": None, "params": 1, "macs": 2,
        "supernet_valid_accuracy": None, "metric": METRIC._asdict(),
    }  # fmt: skip
    assert "conv_3x3" in report.closing(result, tmp_path)


def test_exact_counts(capsys, snippets):
    block = blocks("python", SPACES)[-1]
    exec(block, {})
    # The table of the DARTS paper has 3.3 million; the authors' code gives 3,349,342.
    assert '"params": 3349342' in capsys.readouterr().out


def test_optimisation_without_derivatives(capsys):
    (block,) = blocks("python", ZARTS)
    exec(block, {})
    # The minimum of Rosenbrock's function is 0.
    assert float(capsys.readouterr().out.split()[-1]) < 1e-6


def test_hypergradients_of_ones_own(capsys):
    (block,) = (block for block in blocks("python") if "hypergrad.check" in block)
    exec(block, {})
    assert "implicit_cg agrees with central differences" in capsys.readouterr().out


PRINTS = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", HYPERGRADIENTS, re.M | re.S
)


@pytest.mark.parametrize("number", range(len(PRINTS)))
def test_what_the_hypergradients_page_prints(capsys, number):
    block, text = PRINTS[number]
    try:
        exec(block, {})
    finally:
        jax.config.update("jax_enable_x64", False)
    assert capsys.readouterr().out == text


def test_its_table_is_what_was_measured():
    measured = ROOT / "results" / "hypergradients" / "measured.json"
    _, *costs = json.loads(measured.read_text())["costs"].values()
    rows = re.findall(r"^\| (?:`|the same).*", HYPERGRADIENTS, re.M)
    shown = [[float(cell) for cell in row.split(" | ")[2:5]] for row in rows]
    exact = [[row[k] for k in ("stated", "measured", "planned_mb")] for row in costs]
    np.testing.assert_allclose(shown, exact, rtol=0.04, atol=0.05)


def test_every_snippet_of_that_page_is_followed_by_what_it_prints():
    assert [block for block, _ in PRINTS] == blocks("python", HYPERGRADIENTS)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["mine.npz", "own-operation"])
def test_snippets_run_to_their_end(snippets, text):
    def smallest(config, workdir):
        names = config.space.primitives
        config.retrain.random = 0
        config.search.cells = config.retrain.cells = 1  # `first_step` tests more
        keep = (names[0], names[-1]) if text == "own-operation" else ("skip_connect",)
        return run.run(shrink(config, keep), workdir)

    assert 0 <= snippets(text, smallest)["test_accuracy"] <= 1
