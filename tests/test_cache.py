import jax
import jax.numpy as jnp
import pytest

from nasjax.cache import compiled_programs

FOLDER = "jax_compilation_cache_dir"


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
    with compiled_programs("off") as folder:
        assert folder is None and not getattr(jax.config, FOLDER)
    jax.config.update(FOLDER, str(tmp_path))
    with compiled_programs("auto") as folder:
        assert folder is None and getattr(jax.config, FOLDER) == str(tmp_path)


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    with compiled_programs(str(tmp_path / "file" / "below")) as folder:
        assert folder is None and not getattr(jax.config, FOLDER)
