"""Sweeps, with a small program instead of nasjax.main."""

import doctest
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))
try:
    from launch import plan, sweep, workers
finally:
    sys.path.remove(str(ROOT))

# The program records its start, sleeps for `config.seconds`, and writes its result. At a
# signal it exits like nasjax.main, and finishes in the next run.
FAKE = """
import json, os, pathlib, signal, sys, time
flags = dict(flag.removeprefix("--").split("=", 1) for flag in sys.argv[1:])
folder = pathlib.Path(flags["workdir"])
folder.mkdir(exist_ok=True)
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
told = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda signum, _: told.append(signum))
with open(folder.parent / "starts.jsonl", "a") as file:
    file.write(json.dumps([folder.name, time.monotonic(), cores]) + "\\n")
if "config.broken" in flags and folder.name.endswith("seed1"):
    print("This seed is broken.", file=sys.stderr)
    sys.exit(2)
first = not (folder / "checkpoint").exists()
(folder / "checkpoint").touch()
until = time.monotonic() + float(flags.get("config.seconds", 0))
while not told and time.monotonic() < until and first:
    time.sleep(0.01)
if told:
    time.sleep(0.1)
    (folder / "told").write_text(str(told))
    sys.exit(128 + told[0])
with open(folder.parent / "ends.jsonl", "a") as file:
    file.write(json.dumps([folder.name, time.monotonic()]) + "\\n")
(folder / "result.json").write_text("{}")
"""

CONFIG = "from nasjax.experiment.defaults import settings as get_config"


@pytest.fixture
def program(tmp_path):
    (tmp_path / "fake.py").write_text(FAKE)
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(CONFIG)
    return [sys.executable, str(tmp_path / "fake.py")]


@pytest.fixture
def arguments(tmp_path):
    """Two configs and two seeds, one run at a time."""
    configs = [str(tmp_path / "a.py"), str(tmp_path / "b.py")]
    into = ["--into", str(tmp_path / "study")]
    return ["--configs", *configs, *into, "--seeds", "0", "1", "--jobs", "1"]


def starts(tmp_path):
    lines = (tmp_path / "study" / "starts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_shipped_configs_are_named(tmp_path, program, capsys):
    given = ["--configs", "amended:cifar10", "--into", str(tmp_path), "--list"]
    assert sweep.main(given, program) == 0
    assert "--config=amended:cifar10" in capsys.readouterr().out


def test_seeds_are_outermost_and_the_grid_innermost(tmp_path, program, arguments):
    grid = ["--grid", "config.rate=0.1,0.2", "--grid", "config.x.n=3"]
    assert sweep.main([*arguments, *grid], program) == 0
    assert [name for name, *_ in starts(tmp_path)] == [
        f"{config}-rate={rate}-x.n=3-seed{seed}"
        for seed in (0, 1)
        for config in "ab"
        for rate in (0.1, 0.2)
    ]


def test_the_list_is_what_would_run(tmp_path, program, arguments, capsys):
    flags = ["--", "--config.path=a b", "--config.n=1"]
    assert sweep.main([*arguments, "--list", *flags], program) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [shlex.split(line) for line in lines] == [
        [
            *("python", "-m", "nasjax.main", f"--config={tmp_path}/{config}.py"),
            f"--workdir={tmp_path}/study/{config}-seed{seed}",
            *(f"--config.seed={seed}", "--config.path=a b", "--config.n=1"),
        ]
        for seed in (0, 1)
        for config in "ab"
    ]
    assert not (tmp_path / "study").exists()


def test_only_some(tmp_path, program, arguments, capsys):
    assert sweep.main([*arguments, "--only", "2"], program) == 0
    assert [name for name, *_ in starts(tmp_path)] == ["a-seed1"]
    assert sweep.main([*arguments, "--only", "3", "1", "2"], program) == 0
    assert [name for name, *_ in starts(tmp_path)][1:] == ["b-seed1", "b-seed0"]
    assert "1 of 3 runs are finished already" in capsys.readouterr().out


def test_finished_runs_are_skipped_and_failed_ones_tried_again(
    tmp_path, program, arguments, capsys
):
    broken = [*arguments, "--", "--config.broken=1"]
    assert sweep.main(broken, program) == 1
    said = capsys.readouterr().out
    log = tmp_path / "study" / "a-seed1.log"
    assert "finished a-seed0 after 0:00:0" in said and "; 3 left" in said
    assert "a-seed1 failed with exit code 2: This seed is broken." in said
    assert "b-seed1 failed with exit code 2" in said and f"see {log}" in said
    assert "2 of 4 runs are finished" in said and "same command resumes" in said
    assert log.read_text() == "This seed is broken.\n"
    assert len(starts(tmp_path)) == 4

    assert sweep.main(arguments, program) == 0
    assert [name for name, *_ in starts(tmp_path)][4:] == ["a-seed1", "b-seed1"]
    said = capsys.readouterr().out
    assert "2 of 4 runs are finished already" in said and "failed" not in said


@pytest.mark.parametrize("start", ["launch.sweep", "nasjax.cli sweep"])
def test_the_command_that_resumes_is_the_one_that_was_given(
    start, tmp_path, program, arguments
):
    """Under both names, with modules of the user and with flags of the runs."""
    (tmp_path / "mine.py").touch()
    words = ["--import", str(tmp_path / "mine.py"), *arguments, "--only", "0"]
    flags = ["--", "--config.data.path=no such file.npz"]
    done = subprocess.run(
        [sys.executable, "-m", *start.split(), *words, *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    printed = shlex.split(done.stdout.splitlines()[-1])
    assert printed[:2] == ["nasjax", "sweep"] and printed[-2:] == flags
    assert sorted(printed[2:-2]) == sorted([f"--import={words[1]}", *words[2:]])


def test_so_many_at_once_on_cores_of_their_own(tmp_path, program, arguments):
    arguments[-1] = "2"
    before = workers.cores()
    assert sweep.main([*arguments, "--", "--config.seconds=0.4"], program) == 0
    lines = (tmp_path / "study" / "ends.jsonl").read_text().splitlines()
    ends = dict(json.loads(line) for line in lines)
    begun = {name: at for name, at, _ in starts(tmp_path)}
    together = [sum(begun[n] <= at < ends[n] for n in ends) for at in begun.values()]
    assert max(together) == 2 and len(ends) == 4
    if hasattr(os, "sched_setaffinity") and len(before) > 1:
        given = {tuple(cores) for *_, cores in starts(tmp_path)}
        assert sorted(core for own in given for core in own) == before
        assert len(given) == 2
    assert workers.cores() == before


def test_one_run_that_is_left_gets_all_cores(tmp_path, program, arguments):
    assert sweep.main([*arguments[:-1], "8", "--only", "0"], program) == 0
    if hasattr(os, "sched_setaffinity"):
        assert starts(tmp_path)[0][2] == workers.cores()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on_once_and_the_runs_waited_for(
    tmp_path, program, arguments, sent
):
    arguments[-1] = "2"
    driver = (
        "import signal, sys; from launch import sweep; "
        # The parent of the tests may ignore the signal, and children inherit that.
        f"signal.signal({int(sent)}, signal.SIG_DFL); "
        f"sys.exit(sweep.main(sys.argv[1:], {program!r}))"
    )
    command = [sys.executable, "-c", driver, *arguments, "--", "--config.seconds=60"]
    # In a new session, so the signal goes to a process group as from a terminal.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    ) as process:  # fmt: skip
        study, names = tmp_path / "study", ("a-seed0", "b-seed0")
        deadline = time.monotonic() + 30
        while not all((study / name / "checkpoint").exists() for name in names):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, sent)
        said = process.communicate(timeout=30)[0]
    passed = signal.SIGINT if sent == signal.SIGINT else signal.SIGTERM
    assert process.returncode == 128 + sent
    assert [(study / n / "told").read_text() for n in names] == [f"[{passed:d}]"] * 2
    assert len(starts(tmp_path)) == 2
    assert "stopped a-seed0" in said and "stopped b-seed0" in said
    assert "failed" not in said and "0 of 4 runs are finished" in said
    assert "nasjax sweep --configs" in said

    assert sweep.main([*arguments, "--", "--config.seconds=0"], program) == 0
    assert len(list(study.glob("*/result.json"))) == 4


BAD = {
    "missing config": (["--configs", "no.py"], [], "no config file 'no.py'"),
    "grid without values": (["--grid", "config.x"], [], "was given 'config.x'"),
    "grid with a hole": (["--grid", "config.x=1,,2"], [], "given .config.x=1,,2"),
    "a bracket": (["--grid", "config.x=(1,2"], [], "bracket or a quote has no part"),
    "a quote": (["--grid", "config.x='1,2"], [], "bracket or a quote has no partner"),
    "grid of something": (["--grid", "x=1"], [], "expected a field of the config"),
    "a value twice": (["--grid", "config.x=1,1"], [], "2 runs would be called a-x=1-s"),
    "a seed twice": (["--seeds", "0", "0"], [], "2 runs would be called a-seed0"),
    "seeds in the grid": (["--grid", "config.seed=1,2"], [], "given with --seeds"),
    "seeds as a flag": ([], ["--config.seed=1"], "given with --seeds"),
    "workdir": ([], ["--workdir=x"], "'--workdir=x' cannot be given to all"),
    "two words": ([], ["--config.x", "1"], "'--config.x' cannot be given"),
    "grid and flag": (["--grid", "config.x=1"], ["--config.x=2"], "given 2 times"),
    "no such number": (["--only", "4"], [], "numbers from 0 to 3"),
    "a negative number": (["--only", "-1"], [], "numbers from 0 to 3"),
    "no jobs": (["--jobs", "0"], [], "--jobs was given 0"),
    "a file": (["--into", "{tmp}/a.py"], [], "Cannot write to .*a.py"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_one_sentence(case, tmp_path, program, arguments, capsys):
    options, flags, says = BAD[case]
    options = [option.format(tmp=tmp_path) for option in options]
    assert sweep.main([*arguments, *options, "--", *flags], program) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert re.search(says, said.err)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("module", [plan, workers])
def test_examples(module):
    assert doctest.testmod(module).failed == 0


@pytest.fixture
def shell(tmp_path):
    """Runs one of the scripts; stubs of sbatch and gcloud print their arguments."""
    for name in ("sbatch", "gcloud"):
        (tmp_path / name).write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join(
        [str(tmp_path), os.path.dirname(sys.executable), os.environ["PATH"]]
    )

    def run(script, *given, **variables):
        environment = {"PYTHONPATH": str(ROOT), **os.environ, "PATH": path, **variables}
        return subprocess.run(
            [f"{ROOT}/launch/{script}", *given], env=environment, cwd=tmp_path,
            capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_a_slurm_array_has_a_job_for_every_run(program, arguments, shell):
    done = shell("slurm.sh", *arguments, "--", "--config.data.path=a b")
    assert done.stdout.splitlines() == [
        "--array=0-3",
        f"{ROOT}/launch/slurm.sh",
        *arguments,
        *("--", "--config.data.path=a b"),
    ]
    done = shell("slurm.sh", *arguments, "--list", SLURM_ARRAY_TASK_ID="2")
    assert "a-seed1" in done.stdout and done.stdout.count("\n") == 1
    assert shell("slurm.sh", "--configs", "x", "--into", "y").returncode == 2


def test_tpu_vms_share_the_runs(program, arguments, shell):
    spec = [*arguments, "--", "--config.data.path=a b"]
    done = shell("tpu_vm.sh", "us-z1", "v0,v1,v2", *spec)
    given = [
        line.removeprefix("--command=cd nasjax && { nohup ").partition(" >")[0]
        for line in done.stdout.splitlines()
        if line.startswith("--command")
    ]
    start = ["python", "-m", "nasjax.cli", "sweep", "--jobs", "1", "--only"]
    assert [shlex.split(line) for line in given] == [
        [*start, *numbers, *spec] for numbers in (["0", "3"], ["1"], ["2"])
    ]
    words = ["compute", "tpus", "tpu-vm", "ssh", "v0", "--zone=us-z1"]
    assert done.stdout.splitlines()[:6] == words
