"""The plan of a sweep: its values, its folders, and the fields that runs would refuse."""

import shlex
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))
try:
    from launch import plan, sweep
finally:
    sys.path.remove(str(ROOT))


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    ("grid", "flags", "says"),
    [
        ([], ["--config.serch.epochs=3"], "did you mean 'config.search.epochs'"),
        (["--grid", "config.serch.epochs=3,4"], [], "Unknown config field"),
        ([], ["--config.search.epochs=many"], "was given 'many'"),
    ],
)
def test_a_field_that_runs_would_refuse(grid, flags, says, tmp_path, capsys):
    given = ["--configs", "zarts_mgs", "--into", str(tmp_path / "study"), *grid]
    assert sweep.main([*given, "--list", "--", *flags]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and says in said.err
    assert sweep.main([*given, "--", *flags]) == 2
    assert not (tmp_path / "study").exists()


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_grid_of_tuples_is_split_between_them(tmp_path, capsys):
    given = ["--configs", "zarts_mgs", "--into", str(tmp_path / "study"), "--list"]
    sizes = ["(24,24)", "(32, 32)", "28"]
    grid = f"config.data.resize={','.join(sizes)}"
    assert sweep.main([*given, "--grid", grid]) == 0
    lines = capsys.readouterr().out.splitlines()
    resized = [shlex.split(line)[-1] for line in lines]
    assert resized == [f"--config.data.resize={size}" for size in sizes]
    names = ["('noise', 'sep_conv_3x3')", '["skip_connect","sep_conv_3x3"]']
    grid = f"config.space.primitives={','.join(names)}"
    runs = plan.plan(["zarts_mgs"], [0], [grid], tmp_path, [])
    assert [run.flags[-1].partition("=")[2] for run in runs] == names


def test_variants_have_folders_of_their_own(tmp_path):
    (tmp_path / "a.py").touch()
    file = str(tmp_path / "a.py")
    runs = plan.plan([file, f"{file}:cifar10"], [0], [], tmp_path, [])
    assert [run.folder.name for run in runs] == ["a-seed0", "a-cifar10-seed0"]
    runs = plan.plan([file], [0], ["config.data.path=x/y z.npz"], tmp_path, [])
    assert runs[0].folder.name == "a-data.path=x_y_z.npz-seed0"
    assert runs[0].flags[-1] == "--config.data.path=x/y z.npz"
