"""A run records the code and the processor it was computed with."""

import os
import platform
import subprocess
from pathlib import Path

import pytest

from nasjax.core import origin


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit of a package, and its commit."""
    monkeypatch.setattr(origin, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_DIR", "/elsewhere")  # as in a hook
    (tmp_path / "nasjax").mkdir()
    (tmp_path / "nasjax" / "code.py").write_text("1")
    return tmp_path


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    environment = {k: v for k, v in os.environ.items() if k != "GIT_DIR"}
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, check=True, text=True,
        capture_output=True,
    ).stdout.strip()  # fmt: skip


def test_the_commit_of_a_checkout_and_its_changes(checkout):
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    commit = git(checkout, "rev-parse", "HEAD")
    found = origin.origin()
    assert (found["commit"], found["dirty"]) == (commit, False)
    (checkout / "data.npz").write_text("no code")
    assert origin.origin()["dirty"] is False
    for name in ("mine.py", "code.py"):  # a new file, then a changed one
        (checkout / "nasjax" / name).write_text("2")
        assert origin.origin()["dirty"] is True
        git(checkout, "stash", "-u")
    assert origin.origin()["dirty"] is False


def test_an_installed_package_has_no_commit(checkout, tmp_path, monkeypatch):
    """Not even in a virtual environment within the repository of a user."""
    installed = tmp_path / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(origin, "ROOT", installed)
    found = origin.origin()
    assert found["commit"] is None and found["dirty"] is None


@pytest.mark.parametrize("path", ["/nowhere", None])
def test_a_broken_repository_or_no_git_is_no_error(checkout, monkeypatch, path):
    (checkout / ".git").write_text("gitdir: /nowhere")
    if path:
        monkeypatch.setenv("PATH", path)
    assert origin.origin()["commit"] is None


def test_the_processor_has_a_name(monkeypatch):
    found = origin.origin()
    lines = Path("/proc/cpuinfo")
    if lines.exists() and "model name" in lines.read_text():
        assert found["cpu"].split(",")[0] in lines.read_text()
    assert 1 <= found["cores"] <= os.cpu_count()

    def absent(*given, **named):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert origin.cpu() == (platform.processor() or platform.machine())
