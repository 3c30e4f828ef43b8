"""The report of a run, also as a browser shows it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nasjax.commands.report import main
from nasjax.core.errors import UserError
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.defaults import settings
from nasjax.monitors.alpha import mixing
from nasjax.spaces import SPACES
from nasjax.spaces.mix import Weights
from nasjax.spaces.rules import discretise, random_genotype

FOREIGN = "<script>alert('x')</script>&\"<img src=http://example.org/x.png>"


def searched(space, epochs=3):
    """Lines of a search, and its architecture."""
    rng, lines = np.random.default_rng(0), []
    for epoch in range(1, epochs + 1):
        mix = {
            kind: Weights(rng.dirichlet(np.full(shape[1], 5.0), shape[0]))
            for kind, shape in ((kind, space.alpha_shape(kind)) for kind in space.types)
        }
        found = discretise(mix, space)
        step = {"phase": "search", "step": 10 * epoch}
        edges = {kind: [list(edge) for edge in space.edges] for kind in space.types}
        weights = {kind: own.ops.tolist() for kind, own in mix.items()}
        scores = {"loss": 2.0 / epoch, "valid_loss": 2.1 / epoch, "valid_accuracy": 0.5}
        lines += [step | {"mix": weights, "edges": edges}]
        lines += [step | {"epoch": epoch} | scores | mixing(mix, found, space)]
    return lines, found


def written(path, state="finished"):
    """A folder of a run; state: finished, unfinished or empty."""
    space = SPACES["darts7"]
    config = settings().to_dict()
    config["space"]["name"] = "darts7"
    manifest = {"command": f"nasjax run '{FOREIGN}'", "seed": 0, "device": FOREIGN}
    lines, found = searched(space)
    for phase in ("retrain", "random_0", "random_1"):
        lines += [{"phase": phase, "step": s, "loss": 1.0 / s} for s in (5, 10)]
    with RunFolder.open(path, config, manifest) as folder:
        if state == "empty":
            return path
        for line in lines:
            folder.log(line)
        if state == "finished":
            folder.write_outcome("genotype", found.to_json())
            folder.write_outcome(
                "random_genotypes", [random_genotype(1, space).to_json()]
            )
            result = {
                "algorithm": "darts_first", "seed": 0, "dataset": FOREIGN,
                "classes": ["cat", FOREIGN], "genotype": found.to_json(),
                "metric": {"name": "accuracy", "higher_is_better": True, "form": "{:.2%}"},
                "test_accuracy": 0.75, "test_accuracy_each": [0.75],
                "random_test_accuracy": 0.5, "random_test_accuracy_each": [0.4, 0.6],
                "test_examples": 1000, "params": 12345, "macs": 678901,
                "seconds": {"compile": 1.0, "search": 2.0, "retrain": 3.0},
            }  # fmt: skip
            folder.write_outcome("result", result)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run with a foreign name, and its report."""
    run = written(tmp_path_factory.mktemp("runs") / "a <b> & 'c' $x")
    assert main([str(run)]) == 0
    return run / "report.html"


def test_the_report_holds_what_a_run_found(finished):
    page = finished.read_text("utf-8")
    assert page.count('src="data:image/png;base64,') == 4
    for words in (
        "75.00%", "random cell 2", "1,000 examples", "72.22% to 77.58%", "12,345",
        "678,901", "Collapse: ", "random architectures", "nasjax stability", "Normal cell",
        "0 of 2 random cells reached at least the accuracy", "All normal cells share one",
    ):  # fmt: skip
        assert words in page
    assert {file.name for file in finished.parent.glob("*.png")} == set()


def test_foreign_text_is_escaped(finished):
    page = finished.read_text("utf-8")
    assert "<script" not in page and "a &lt;b&gt; &amp;" in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r"<[^>]*(?:src|href)\s*=\s*\"?http", page)


@pytest.mark.parametrize("state, pictures", [("unfinished", 3), ("empty", 0)])
def test_a_run_in_progress_has_a_report(tmp_path, state, pictures):
    output = tmp_path / "own.html"
    assert main([str(written(tmp_path / "run", state)), "-o", str(output)]) == 0
    page = output.read_text("utf-8")
    assert "This run is not finished" in page
    assert page.count("<img") == pictures and "Test</h2>" not in page
    assert not (tmp_path / "run" / "report.html").exists()


def test_refusals(tmp_path, finished):
    run = str(finished.parent)
    with pytest.raises(UserError, match="not a run"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match=r"must end in \.html"):
        main([run, "-o", str(tmp_path / "a.png")])
    with pytest.raises(UserError, match="no folder"):
        main([run, "-o", str(tmp_path / "none" / "a.html")])


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with api.sync_playwright() as run:
        own = run.chromium.executable_path
        if program is None and not Path(own).exists():
            pytest.skip("there is no chromium")
        opened = run.chromium.launch(
            executable_path=program or own, args=["--no-sandbox"]
        )
        yield opened
        opened.close()


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STATE = """() => ({
    width: document.documentElement.scrollWidth,
    images: [...document.images].map(i => i.complete && i.naturalWidth),
    shown: [...document.images].map(i => i.clientWidth),
    colours: [getComputedStyle(document.body).color,
              getComputedStyle(document.body).backgroundColor],
    title: document.title,
})"""


def luminance(colour):
    """The relative luminance of "rgb(R, G, B)" (WCAG 2)."""
    parts = np.array([int(n) / 255 for n in re.findall(r"\d+", colour)[:3]])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_in_a_browser(finished, browser, width, scheme):
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    requests, said = [], []
    page.on("request", lambda one: requests.append(one.url))
    page.on("console", lambda one: said.append(one.text))
    page.on("pageerror", lambda one: said.append(str(one)))
    page.goto(finished.as_uri())
    state = page.evaluate(STATE)
    outside = [url for url in requests if not url.startswith("data:")]
    assert outside == [finished.as_uri()] and said == []
    assert state["width"] <= width
    assert len(state["images"]) == 4 and min(state["images"]) > 500
    # Labels of 8 points need 80 pixels per inch; a phone scrolls the picture.
    dots = [w / (n / 200) for w, n in zip(state["shown"], state["images"], strict=True)]
    assert min(dots) > 80
    text, ground = map(luminance, state["colours"])
    assert (text > ground) == (scheme == "dark")
    assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) > 7
    assert state["title"].startswith("a <b> & 'c' $x")
    page.close()
