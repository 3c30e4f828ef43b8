"""Names that the file system refuses end in one sentence in every command."""

import pytest

from nasjax.cli import main
from nasjax.core.errors import UserError
from nasjax.engine.workdir import RunFolder

LONG = "x" * 9999


@pytest.mark.parametrize(
    "command",
    [["count", LONG], ["draw", LONG, "-o", "x.png"], ["show", LONG], ["compare", LONG],
     ["draw", "darts_v2", "-o", f"{LONG}/x.png"], ["draw", "darts_v2", "-o", f"{LONG}.png"],
     ["saliency", LONG], ["testbed", LONG], ["compare", f"{LONG}.log"]],
)  # fmt: skip
def test_commands(command, capsys):
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_folder_of_a_run(tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        RunFolder.open(tmp_path / LONG, {}, {})
