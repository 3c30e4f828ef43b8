"""A device that is not there is one sentence; what needs none works without it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasjax.engine import platforms

ROOT = Path(__file__).parents[2]
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def start(*arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    environment.pop("XLA_FLAGS", None)
    return subprocess.run(
        [sys.executable, *arguments], env=environment, text=True, capture_output=True
    )


RUN = ("-m", "nasjax.main", "--config=darts_first")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("cuda", "(CUDA_VISIBLE_DEVICES is '-1')"),
        ("gpu", "pip install 'nasjax[cuda12]'"),
        ("tpu", "pip install 'jax[tpu]'"),
        ("cdua", "did you mean 'cuda'?"),
        ("Quantum", "'Quantum' is none of cpu, cuda, gpu, rocm, tpu;"),
    ],
)
def test_a_missing_device_is_one_sentence(value, says, tmp_path):
    done = start(*RUN, f"--workdir={tmp_path}/a", JAX_PLATFORMS=value, **NO_GPU)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"nasjax run: JAX_PLATFORMS is {value!r}, and JAX ")
    assert says in done.stderr
    assert done.stderr.endswith("; to use the CPU, set JAX_PLATFORMS=cpu.\n")
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_in_python_it_is_an_exception(tmp_path):
    program = (
        "import nasjax; from nasjax.experiment import defaults\n"
        "try: nasjax.run(defaults.settings(), 'folder')\n"
        "except nasjax.UserError as error: print(error)"
    )
    done = start("-c", program, JAX_PLATFORMS="cuda", **NO_GPU)
    assert done.stdout.startswith("JAX_PLATFORMS is 'cuda', and"), done.stderr


@pytest.mark.parametrize("command", ["count darts_v2", "list", "draw darts_v2 -o {}"])
def test_commands_that_need_no_device_work(command, tmp_path):
    words = command.format(tmp_path / "a.svg").split()
    done = start("-m", "nasjax.cli", *words, JAX_PLATFORMS="cuda", **NO_GPU)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_called_in_python_leaves_the_devices_to_the_program():
    program = (
        "import os; from nasjax.cli import main; code = main(['list']); "
        "print(code, os.environ.get('JAX_PLATFORMS'))"
    )
    assert start("-c", program, JAX_PLATFORMS="").stdout.endswith("\n0 \n")
    done = start("-c", program, JAX_PLATFORMS="cpu,cuda")
    assert done.stdout.endswith("\n0 cpu,cuda\n"), done.stderr


def test_the_help_needs_no_device():
    done = start("-m", "nasjax.main", "--help", JAX_PLATFORMS="cuda", **NO_GPU)
    assert done.returncode == 0 and "--config" in done.stdout


def test_a_gpu_that_is_not_used_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(platforms, "Path", lambda folder: tmp_path)
    config = SimpleNamespace(jax_platforms=None)
    stands_in = SimpleNamespace(config=config, default_backend=lambda: "cpu")
    monkeypatch.setattr(platforms, "jax", stands_in)
    assert platforms.unused() is None
    (tmp_path / "nvidia0").touch()
    assert "pip install 'nasjax[cuda12]'" in platforms.unused()
