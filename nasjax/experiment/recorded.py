"""A run as its folder records it, for pictures and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nasjax.engine.workdir import RunFolder
from nasjax.experiment import architecture, validate
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype


class Recorded(NamedTuple):
    """A run as its folder records it.

    Attributes:
      path: its folder.
      config: content of config.json; of an older version with the defaults of today.
      manifest: content of manifest.json.
      lines: lines of metrics.jsonl.
      space: the space that was searched.
      result: content of result.json; of an unfinished run algorithm and seed.
      finished: the run has a result.
      genotype: the architecture; None before a search has ended.
    """

    path: Path
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    space: CellSpace
    result: Mapping[str, Any]
    finished: bool
    genotype: Genotype | None

    @classmethod
    def of(
        cls, folder: RunFolder, space: CellSpace, result: Mapping[str, Any] | None
    ) -> Recorded:
        """The record of a folder with this result; None: an unfinished run."""
        config = architecture.of_run(folder.path).to_dict()
        known = {"algorithm": config["algorithm"], "seed": config["seed"]}
        found = folder.read_outcome("genotype")
        return cls(
            folder.path.absolute(),
            config,
            folder.manifest,
            folder.metrics(),
            space,
            result or known,
            result is not None,
            Genotype.from_json(found, space) if found else None,
        )

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name


def read(workdir: str | Path) -> Recorded:
    """The record of a finished, stopped or running run; nothing is written.

    Raises:
      UserError: there is no run in that folder, or its space cannot be rebuilt.
    """
    folder = RunFolder.read(workdir)
    config = architecture.of_run(folder.path)
    return Recorded.of(folder, validate.of_run(config), folder.read_outcome("result"))
