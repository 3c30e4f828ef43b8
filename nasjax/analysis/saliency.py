"""Saliency maps of one run, or of two side by side: pictures and numbers.

For the same test images: |delta| of an attack, as SANAS shows it, and |delta x|, next to
the gradient and integrated gradients of the same network. `nasjax.analysis.maps` has
the measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasjax.analysis import commands, maps, runs
from nasjax.core.errors import UserError
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import pictures
from nasjax.plots.heatmaps import draw

SHOWN = 10  # images in a picture, by default


def study(
    run: str,
    beside: str | None = None,
    indices: Sequence[int] | None = None,
    count: int = 512,
    output: str | None = None,
) -> str:
    """Draws and measures one run or two; returns a table.

    Writes saliency.json, saliency_search.png of the supernet and saliency_final.png of
    the retrained network, as far as the run has them.

    Args:
      run: folder of the run.
      beside: folder of another run on the same test images.
      indices: indices of the test images to show; None: one of every class.
      count: number of test images to measure, at most all.
      output: folder to write into; None: the folder of the run.

    Raises:
      UserError: a run cannot be read; the runs have different test images; there is no
        such image; the files cannot be written.
    """
    RunFolder.read(run)
    folder = Path(output or run)
    file = folder / "saliency.json"
    commands.writable(file, (".json",))
    every = [runs.load(path, given=True) for path in (run, beside) if path is not None]
    with compiled_programs(every[0].experiment.config.compile_cache):
        report, columns = _measured(every, indices, count)
    domain = runs.images_of(every[0])
    test, names = domain.data.test, []
    for index in report["shown"]:
        names.append(f"{index}: {domain.data.classes[int(test.label[index])]}")
    footer = " | ".join(
        pictures.footer(run.folder.path.name, run.folder.read_outcome("result") or {})
        for run in every
    )
    written = []
    for name, of_runs in columns.items():
        written.append(folder / f"saliency_{name}.png")
        draw(test.image[report["shown"]], of_runs, written[-1], names, footer)
    commands.write(file, report)
    rows = [
        [one["name"], net, kind, *own.values()]
        for one in report["runs"]
        for net in columns
        if net in one
        for kind, own in one[net]["maps"].items()
    ]
    header = ("run", "network", "map", "deletion", "insertion", "gain", "error")
    files = ", ".join(map(str, [*written, file]))
    return f"{commands.table(header, rows)}\nwritten: {files}"


def _measured(every: Sequence[runs.Run], indices: Sequence[int] | None, count: int):
    """The content of saliency.json; network -> run -> method -> heat of images."""
    first = every[0]
    tests = [runs.images_of(run).data.test.image for run in every]
    if not all(np.array_equal(tests[0], other) for other in tests):
        raise UserError(
            f"{every[1].folder.path} has other test images than {first.folder.path}; "
            "give two runs on the same data and --config.data.split_seed."
        )
    shown = _chosen(first, indices)
    count = min(count, len(tests[0]))
    report: dict[str, Any] = {"images": count, "shown": shown.tolist(), "runs": []}
    columns: dict[str, dict[str, Mapping[str, np.ndarray]]] = {}
    for run in every:
        title = _title(run, every)
        own: dict[str, Any] = {"run": str(run.folder.path), "name": title}
        for name, net in maps.networks(run).items():
            heats, own[name] = maps.measured(net, run, shown, count)
            drawn = {method: heats[method] for method in maps.DRAWN}
            columns.setdefault(name, {})[title] = drawn
        report["runs"].append(own | {"inference": maps.inference(run)})
    return report, columns


def _title(run: runs.Run, every: Sequence[runs.Run]) -> str:
    """The name of a run in a picture: the shortest that only this run has."""
    for name in (
        lambda one: one.experiment.config.algorithm if one.search else "retrain",
        lambda one: one.folder.path.name,
        lambda one: str(one.folder.path),
    ):
        if [name(one) for one in every].count(name(run)) == 1:
            return name(run)
    raise UserError(f"{run.folder.path} was given twice; give another run --beside it.")


def _chosen(run: runs.Run, indices: Sequence[int] | None) -> np.ndarray:
    """The test images that are shown: those asked for, or one of every class in turn.

    Raises:
      UserError: there is no such image.
    """
    domain = runs.images_of(run)
    label = domain.data.test.label
    if indices is None:
        firsts = [np.flatnonzero(label == kind)[:1] for kind in np.unique(label)]
        return np.concatenate(firsts)[:SHOWN]
    if max(indices) >= len(label):
        raise UserError(
            f"There is no test image {max(indices)} of {domain.name}; give "
            f"--images from 0 to {len(label) - 1}."
        )
    return np.array(indices)
