import functools
import logging

import jax
import jax.numpy as jnp
import pytest

from nasjax.core.errors import UserError
from nasjax.engine.compiling import compiled_programs, side_by_side

FOLDER = "jax_compilation_cache_dir"
FUNCTIONS = {
    "double": lambda x: 2 * x,
    "square": lambda x: x**2,
    "negate": lambda x: -x,
}


def settings():
    return {name: jax.config.values[name] for name in jax.config.values}


@pytest.fixture(autouse=True)
def no_folder_of_jax():
    before = getattr(jax.config, FOLDER)
    jax.config.update(FOLDER, None)
    yield
    jax.config.update(FOLDER, before)


def compile_something(number):
    jax.jit(lambda x: jnp.sort(x * number))(jnp.arange(5.0)).block_until_ready()


def test_programs_are_kept_and_every_setting_is_put_back(tmp_path):
    before = settings()
    with compiled_programs(str(tmp_path / "programs")) as folder:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        compile_something(1.5)
        assert any(folder.iterdir())
        kept = len(list(folder.iterdir()))
    assert settings() == before
    compile_something(2.5)
    assert len(list(folder.iterdir())) == kept


def test_the_default_folder_is_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    with compiled_programs("auto") as folder:
        assert folder.parent == tmp_path / "nasjax" and folder.is_dir()
        assert getattr(jax.config, FOLDER) == str(folder)


def test_jaxs_own_folder_and_off_are_respected(tmp_path):
    jax.config.update(FOLDER, str(tmp_path))
    with compiled_programs("off") as folder:
        assert folder is None and not getattr(jax.config, FOLDER)
    with compiled_programs("auto") as folder:
        assert folder is None and getattr(jax.config, FOLDER) == str(tmp_path)


def test_a_home_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("sys.platform", "linux")
    with compiled_programs("auto") as folder:
        assert folder is None and not getattr(jax.config, FOLDER)


@pytest.mark.parametrize("folder", ["file/below", "\0/below"])
def test_a_given_folder_that_cannot_be_made_is_said(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot be made .*--config\.compile_cache"),
        compiled_programs(f"{tmp_path}/{folder}"),
    ):
        raise AssertionError


def test_a_second_start_loads_what_the_first_compiled(tmp_path, caplog):
    def start():
        jax.clear_caches()
        with compiled_programs(str(tmp_path)):
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            with caplog.at_level(logging.DEBUG, "jax._src.compiler"):
                caplog.clear()
                compile_something(3.5)
        return "cache hit" in caplog.text

    assert [start(), start()] == [False, True]


def test_programs_are_compiled_side_by_side():
    compiled = side_by_side(
        {
            name: functools.partial(jax.jit(f).lower, 2.0)
            for name, f in FUNCTIONS.items()
        }
    )
    assert {name: float(program(2.0)) for name, program in compiled.items()} == {
        "double": 4.0,
        "square": 4.0,
        "negate": -2.0,
    }
