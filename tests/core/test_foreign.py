"""Messages of dependencies: under -W error only warnings of nasjax end a command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A user's module, which stands for a dependency: it warns when it is imported.
OLD = """
import warnings
for kind in (DeprecationWarning, FutureWarning, UserWarning, RuntimeWarning):
    warnings.warn("of a dependency", kind)
"""
FILTERS = """
import sys, warnings
from nasjax.core.foreign import mild
mild()
name, kind = sys.argv[1:]
warnings.warn_explicit("words", getattr(__builtins__, kind), "file.py", 1, module=name)
"""


def start(*arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # JAX has set it in this process
    environment |= variables
    return subprocess.run(
        [sys.executable, *arguments], env=environment, text=True, capture_output=True
    )


@pytest.mark.parametrize(
    "how", ["-W error", "-W error::DeprecationWarning", "variable"]
)
@pytest.mark.parametrize("command", ["-m nasjax.cli", "console"])
def test_a_dependency_that_warns_ends_no_command(how, command, tmp_path):
    (tmp_path / "old.py").write_text(OLD)
    variables = {"PYTHONWARNINGS": "error"} if how == "variable" else {}
    program = "from nasjax.cli import console; console()"
    words = ["-c", program] if command == "console" else command.split()
    flags = how.split() if how != "variable" else []
    own = f"--import={tmp_path / 'old.py'}"
    done = start(*flags, *words, "count", "darts_v2", own, **variables)
    assert done.returncode == 0 and '"params"' in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_is_read(tmp_path):
    """ml_collections does that with a deprecated function."""
    given = (
        "--config=darts_first",
        "--config.search.rate=-1",
        f"--workdir={tmp_path}/a",
    )
    done = start("-W", "error", "-m", "nasjax.main", *given)
    assert done.returncode == 2 and "config.search.rate" in done.stderr


@pytest.mark.parametrize(
    ("flags", "module", "kind", "ends"),
    [
        ("-Werror", "jax.core", "UserWarning", False),
        ("-Werror", "nasjax.core", "UserWarning", True),
        ("-Werror", "nasjax.core", "DeprecationWarning", False),
        ("-Werror", "nasjaxen", "UserWarning", False),
        ("-Werror::UserWarning", "nasjax.core", "RuntimeWarning", False),
        ("-Werror::UserWarning", "nasjax.core", "UserWarning", True),
        ("-Wdefault", "nasjax.core", "UserWarning", False),
    ],
)
def test_own_warnings_stay_errors(flags, module, kind, ends):
    done = start(flags, "-c", FILTERS, module, kind)
    assert (done.returncode == 1) == ends and "words" in done.stderr


def test_rules_keep_their_order():
    """An exception from -W error is still an exception."""
    done = start(
        "-Werror", "-Wignore::UserWarning", "-c", FILTERS, "jax", "UserWarning"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_xla_keeps_quiet_unless_it_is_asked():
    program = "import os; from nasjax.core.foreign import tame; tame(); import jax; "
    program += "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert start("-c", program).stdout == "3\n"
    assert start("-c", program, TF_CPP_MIN_LOG_LEVEL="0").stdout == "0\n"


def test_ctrl_c_during_the_imports_shows_no_traceback(tmp_path):
    """A module of the user stands for a dependency that takes long to import."""
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl" / "__init__.py").write_text(
        "import time; print('begun', flush=True); time.sleep(60)"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    # The parent of the tests may ignore the signal, and children inherit that.
    program = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, '-m', 'nasjax.main'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == -signal.SIGINT
