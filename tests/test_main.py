"""Bad input gives one clear sentence, exit code 2, no traceback and no files."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict
from PIL import Image
from support.tiny import shrink

from nasjax import main
from nasjax.core.errors import UserError
from nasjax.engine import progress
from nasjax.experiment import build, defaults, run
from nasjax.search import PARTS
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.published import PUBLISHED


def config(variant=None, **fields):
    """The tiny ZARTS-MGS config; a double underscore in a name is a dot."""
    sys.path.insert(0, str(ROOT))
    try:
        from configs.zarts_mgs import get_config
    finally:
        sys.path.remove(str(ROOT))
    made = shrink(get_config(variant))
    for name, value in fields.items():
        *groups, field = name.split("__")
        group = made
        for part in groups:
            group = group[part]
        with group.ignore_type():
            group[field] = value
    return made


def images(count=60, side=8, channels=1):
    shape = (count, side, side, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def npz(name, **arrays):
    np.savez(name, **arrays)
    return {"data__path": name}


def pictures(*sizes, empty=False):
    for index, size in enumerate(sizes):
        os.makedirs(f"folder/class{index}")
        for copy in range(20):
            Image.new("L", size).save(f"folder/class{index}/{copy}.png")
    if empty:
        os.makedirs("folder/empty")
    return {"data__path": "folder"}


def text(name, content):
    with open(name, "w") as file:
        file.write(content)
    return {"data__path": name}


LABELS = np.arange(60) % 3
BAD = {
    "algorithm": (lambda: {"algorithm": "zarts_mg"}, "mean 'zarts_mgs'"),
    "no algorithm": (lambda: {"algorithm": ""}, "Unknown algorithm"),
    "data set": (lambda: {"data__name": "digit"}, "did you mean 'digits'"),
    "data set without file": (lambda: {"data__name": "cifar10"}, "--config.data.path"),
    "test data alone": (lambda: {"data__test_path": "t.npz"}, "--config.data.path"),
    "primitive": (
        lambda: {"space__primitives": ("sep_conv_3x4",)},
        "did you mean 'sep_conv_3x3'",
    ),
    "no primitives": (lambda: {"space__primitives": ("none",)}, "at least one"),
    "adapted from nothing": (
        lambda: {
            "collapse__remedy": "adapt",
            "collapse__interval": 2,
            "search__weight_decay": 0.0,
        },
        "search.weight_decay is 0",
    ),
    "adapted from the most": (
        lambda: {
            "collapse__remedy": "adapt",
            "collapse__interval": 2,
            "search__weight_decay": 0.05,
        },
        "search.weight_decay is 0.05",
    ),
    "an unwatched remedy": (
        lambda: {"collapse__remedy": "stop"},
        "set --config.collapse.interval=2",
    ),
    "unknown space": (lambda: {"space__name": "s5"}, "Unknown space 's5'"),
    "none alone": (lambda: {"space__primitives": ("none",)}, "at least one"),
    "primitive twice": (
        lambda: {"space__primitives": ("skip_connect",) * 2},
        "distinct",
    ),
    "a string of primitives": (
        lambda: {"space__primitives": "skip_connect"},
        "expected a tuple",
    ),
    "field": (lambda: {"search__epoch": 3}, "did you mean 'config.search.epochs'"),
    "group": (lambda: {"serch": ConfigDict()}, "did you mean 'config.search'"),
    "arch as number": (lambda: {"arch": 3}, "config.arch is 3; expected a group of"),
    "algorithm as number": (lambda: {"algorithm": 3}, "expected a string"),
    "group as number": (lambda: {"search": 3}, "expected a group of fields"),
    "float for integer": (lambda: {"search__epochs": 2.5}, "expected an integer"),
    "bool for integer": (lambda: {"search__epochs": True}, "expected an integer"),
    "text for integer": (lambda: {"search__batch": "64"}, "expected an integer"),
    "integer for bool": (lambda: {"data__flip": 1}, "expected True or False"),
    "number for text": (lambda: {"data__path": 3}, "expected a string"),
    "text for number": (lambda: {"search__rate": "fast"}, "expected a number"),
    "NaN": (lambda: {"search__rate": float("nan")}, "expected a number"),
    "infinity": (lambda: {"retrain__clip": float("inf")}, "expected a number"),
    "negative": (lambda: {"search__rate": -0.1}, "expected a number from 0"),
    "no epochs": (lambda: {"search__epochs": 0}, "expected an integer from 1"),
    "drop path": (lambda: {"retrain__drop_path": 1.0}, "from 0 to below 1"),
    "own integers": (lambda: {"arch__zarts_mgs__samples": 2.0}, "expected an integer"),
    "temperature": (lambda: {"arch__zarts_mgs__temperature": 0.0}, "above 0"),
    "mixture": (lambda: {"arch__zarts_mgs__mixture": 1.5}, "from 0 to 1"),
    "weights": (lambda: {"arch__zarts_mgs__weights": "likely"}, "mean 'likelihood'"),
    "parallel": (lambda: {"parallel": "pmapp"}, "did you mean 'pmap'"),
    "lowering": (lambda: {"lowering": "shifted"}, "did you mean 'shift'"),
    "precision": (lambda: {"precision": "float16"}, "did you mean 'bfloat16'"),
    "remat": (lambda: {"remat": "egde"}, "did you mean 'edge'"),
    "chunk": (
        lambda: {"arch__zarts_mgs__chunk": -1},
        "arch.zarts_mgs.chunk is -1; expected an integer from",
    ),
    "compile cache": (lambda: {"compile_cache": "none"}, "expected 'auto', 'off', or"),
    "no cache folder": (
        lambda: text("file", "") and {"compile_cache": "file/below"},
        "cannot be made",
    ),
    "devices": (lambda: {"devices": 64}, "devices"),
    "indivisible": (lambda: {"devices": 4, "search__batch": 30}, "multiple of 4"),
    "only warm-up": (lambda: {"search__warmup_epochs": 2}, "Alpha would never move"),
    "never due": (lambda: {"arch__zarts_mgs__every": 500}, "Alpha would never move"),
    "two parts that move alpha": (
        lambda: {"algorithm": "zarts_mgs+amended"},
        "zarts_mgs and amended both move alpha; give only one",
    ),
    "a part twice": (lambda: {"algorithm": "sdarts_rs+sdarts_rs"}, "a part twice"),
    "two perturbations": (
        lambda: {"algorithm": "sdarts_rs+sdarts_adv"},
        "both choose the perturbation of the weight step",
    ),
    "a price to descend": (
        lambda: {"algorithm": "darts_first+budget"},
        "budget has no derivative, and darts_first descends .*zarts_gld.budget",
    ),
    "levels on ZARTS": (
        lambda: {"algorithm": "zarts_mgs+sanas"},
        "sanas extends DARTS of first or second order.*darts_second.sanas",
    ),
    "settings of nothing": (
        lambda: {"arch__zarts_mg": ConfigDict()},
        "Unknown part of config.arch 'zarts_mg'; did you mean 'zarts_mgs'",
    ),
    "a setting of another part": (
        lambda: {"arch__zarts_mgs__eta": 0.1},
        "Unknown config field 'config.arch.zarts_mgs.eta'",
    ),
    "a part as number": (lambda: {"arch__zarts_mgs": 3}, "expected a group of fields"),
    "older config": (lambda: {"format": 1}, "from another version of nasjax"),
    "seed of 33 bits": (lambda: {"seed": 2**32}, "below 4294967296"),
    "one channel": (
        lambda: {"search__channels": 1},
        "config.search.channels is 1; expected an integer from 2",
    ),
    "seed": (lambda: {"seed": -1}, "config.seed"),
    "split seed": (lambda: {"data__split_seed": -1}, "split_seed"),
    "size in words": (lambda: {"data__resize": "big"}, "(32, 48)"),
    "size of three": (lambda: {"data__resize": (8, 8, 3)}, "expected 0, a side"),
    "size of half a pixel": (lambda: {"data__resize": 0.5}, "expected 0, a side"),
    "size that is no number": (lambda: {"data__resize": False}, "expected 0, a side"),
    "middle of no pixels": (lambda: {"data__crop": 0}, "expected True, False, a side"),
    "two fractions": (lambda: {"data__fractions": (0.5, 0.5)}, "three positive"),
    "fractions": (lambda: {"data__fractions": (0.5, 0.5, 0.5)}, "sum to 1"),
    "search batch": (lambda: {"search__batch": 720}, "has 359 images"),
    "retrain batch": (lambda: {"retrain__batch": 1440}, "has 719 images"),
    "missing file": (lambda: {"data__path": "no.npz"}, "does not exist"),
    "missing test file": (
        lambda: (
            npz("d.npz", image=images(), label=LABELS) | {"data__test_path": "t.npz"}
        ),
        "'t.npz' does not exist",
    ),
    "not an npz": (lambda: text("d.npz", "text"), "not an .npz"),
    "no label": (lambda: npz("d.npz", image=images()), "no array 'label'"),
    "lengths": (lambda: npz("d.npz", image=images(), label=LABELS[1:]), "59"),
    "float range": (
        lambda: npz("d.npz", image=images() * 1.0, label=LABELS),
        r"\[0, 1\]",
    ),
    "NaN pixels": (
        lambda: npz("d.npz", image=images() * np.nan, label=LABELS),
        "NaN",
    ),
    "integer pixels": (
        lambda: npz("d.npz", image=images().astype(int), label=LABELS),
        "expected uint8",
    ),
    "negative label": (lambda: npz("d.npz", image=images(), label=LABELS - 1), "label"),
    "one class": (lambda: npz("d.npz", image=images(), label=LABELS * 0), "class"),
    "test label outside": (
        lambda: (
            npz("t.npz", image=images(), label=LABELS + 1)
            | npz("d.npz", image=images(), label=LABELS)
            | {"data__test_path": "t.npz"}
        ),
        "label",
    ),
    "test size": (
        lambda: (
            npz("t.npz", image=images(side=9), label=LABELS)
            | npz("d.npz", image=images(), label=LABELS)
            | {"data__test_path": "t.npz"}
        ),
        "9x9",
    ),
    "too small": (
        lambda: (
            npz("d.npz", image=images(side=3), label=LABELS)
            | {"search__batch": 8, "retrain__batch": 8, "retrain__cutout": 0}
        ),
        "too small",
    ),
    "folder of one class": (lambda: pictures((8, 8)), "at least two classes"),
    "folder with an empty class": (
        lambda: pictures((8, 8), (8, 8), empty=True),
        "is empty",
    ),
    "folder of two sizes": (lambda: pictures((8, 8), (9, 8)), "one size"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_one_sentence_before_anything_is_written(
    case, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    fields, says = BAD[case]
    given = config(**fields())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=says) as error:
        run.run(given, "runs/bad", progress.Progress(quiet=True))
    assert_sentence(str(error.value))
    assert sorted(tmp_path.rglob("*")) == before


def test_no_config_dict(tmp_path):
    with pytest.raises(UserError, match="expected the ConfigDict"):
        run.run({"algorithm": "zarts_mgs"}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_field_that_is_lacking(tmp_path):
    given = config()
    del given.search["rate"]
    with pytest.raises(UserError, match=r"lacks config\.search\.rate"):
        run.run(given, tmp_path / "run")


@pytest.mark.parametrize("name", ["algorithm", "arch", "format"])
def test_what_a_config_begins_with_is_lacking(name, tmp_path):
    """A missing field is also refused where the program reads it before the run."""
    file = tmp_path / "own.py"
    file.write_text(
        "from nasjax.experiment import defaults\n\n\ndef get_config():\n"
        f"    config = defaults.settings()\n    del config.{name}\n    return config\n"
    )
    done = program(f"--config={file}", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert_sentence(done.stderr.removesuffix("\n"))
    assert "start from a " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]


def test_a_part_that_is_lacking(tmp_path):
    """A named part must have settings; they are not made up. Other parts may lack them."""
    given = config()
    del given.arch["amended"]
    assert build.build(given)
    del given.arch["zarts_mgs"]
    with pytest.raises(UserError, match=r"lacks config\.arch\.zarts_mgs\."):
        run.run(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_was_checked_is_a_locked_copy():
    given = config()
    checked = build.build(given).config
    given.seed = 7
    assert checked.seed == 0 and checked.is_locked and not given.is_locked


def test_another_config_in_the_folder_is_refused_and_kept(tmp_path):
    stored = json.dumps({"seed": 5, "format": defaults.FORMAT})
    (tmp_path / "config.json").write_text(stored)
    with pytest.raises(UserError, match="another config") as error:
        run.run(config(), tmp_path, progress.Progress(quiet=True))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == stored


def test_a_run_of_an_older_version_is_refused_and_kept(tmp_path):
    """The older config has `base`, and one algorithm's settings as `arch`."""
    stored = json.dumps({"seed": 0, "base": "", "arch": {"samples": 4}})
    manifest = json.dumps({"versions": {"nasjax": "0.1.0"}})
    (tmp_path / "config.json").write_text(stored)
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(
        UserError, match=r"nasjax 0\.1\.0, is without a format"
    ) as error:
        run.run(config(), tmp_path, progress.Progress(quiet=True))
    assert_sentence(str(error.value))
    assert "--workdir=" in str(error.value)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"config.json": stored, "manifest.json": manifest}


@pytest.mark.parametrize(
    "genotype", [{}, {**PUBLISHED["darts_v2"].to_json(), "space": "x"}]
)
def test_genotype_that_is_malformed_or_of_another_space(genotype):
    with pytest.raises(UserError) as error:
        Genotype.from_json(genotype)
    assert "\n" not in str(error.value)


CONFIG = f"--config={ROOT}/configs/zarts_mgs.py"
COMMANDS = {
    "unknown field": ([CONFIG, "--config.search.epoch=3"], "'config.search.epochs'"),
    "wrong type": (
        [CONFIG, "--config.search.epochs=2.5"],
        "as in --config.search.epochs=",
    ),
    "missing file": ([CONFIG, "--config.data.path=no.npz"], "'no.npz' does not exist"),
    "missing config": (["--config=configs/zarts.py"], "did you mean 'zarts_rs'"),
    "no such file": (
        ["--config=/no/zarts_mgs.py"],
        "no config file '/no/zarts_mgs.py'",
    ),
    "a folder": (["--config=."], "is a folder"),
    "no value": (["--config"], "--config has no value"),
    "unknown variant": ([CONFIG + ":cifar"], "did you mean 'cifar10'"),
    "unknown flag": ([CONFIG, "--wordir=x"], "wordir"),
    "settings of a part that is not named": (
        [CONFIG, "--config.arch.sdarts_adv.attack_steps=2"],
        "sdarts_adv is no part of the algorithm 'zarts_mgs', which is zarts_mgs; ",
    ),
    "settings of a part that another config had": (
        [CONFIG, "--config.algorithm=sdarts_adv", "--config.arch.zarts_mgs.samples=2"],
        "of the algorithm 'sdarts_adv', which is darts_first+sdarts_adv; leave it out, "
        "or name zarts_mgs in --config.algorithm",
    ),
    "settings of an unknown part": (
        [CONFIG, "--config.arch.zarts_mg.samples=2"],
        "did you mean 'config.arch.zarts_mgs.samples'",
    ),
    "unknown part": (
        [CONFIG, "--config.algorithm=zarts_mgs+sdarts"],
        "Unknown algorithm 'sdarts'; did you mean 'sdarts_",
    ),
    "two moves of alpha": (
        [CONFIG, "--config.algorithm=zarts_mgs+darts_first"],
        "zarts_mgs and darts_first both move alpha; give only one of them.",
    ),
    "a price to descend": (
        [CONFIG, "--config.algorithm=darts_first+budget"],
        "budget has no derivative, and darts_first descends a gradient of alpha's loss",
    ),
    "levels on ZARTS": (
        [CONFIG, "--config.algorithm=zarts_mgs+sanas"],
        "but this search moves alpha in another way; give darts_first+sanas or",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_program_exits_with_two_and_one_line(case, tmp_path):
    arguments, says = COMMANDS[case]
    done = program(*arguments, "--workdir=run", cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert_sentence(done.stderr.removesuffix("\n"))
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


MINE = ["--config.algorithm=sdarts_adv", "--config.arch.sdarts_adv.attack_steps=2"]


@pytest.fixture
def parsed():
    """A function: flags -> (config, run folder), as parsed by `nasjax.main`."""

    def parse(*arguments):
        warnings.simplefilter("ignore", DeprecationWarning)  # from ml_collections
        found = main.parse_flags(arguments)
        return found.config, str(found.workdir)

    with warnings.catch_warnings():
        yield parse


@pytest.mark.parametrize("arguments", [MINE, MINE[::-1]])
def test_settings_of_a_part_that_flags_name_are_taken(parsed, arguments):
    """The flags may have any order, and the config file may name another algorithm."""
    found, _ = parsed(CONFIG, *arguments)
    checked = build.build(shrink(found)).config
    assert checked.algorithm == "sdarts_adv"
    assert {*checked.arch} == {"darts_first", "sdarts_adv"}
    assert checked.arch.sdarts_adv.attack_steps == 2


@pytest.mark.parametrize(
    "spelling", ["zarts_mgs", "zarts_mgs.py", "configs/zarts_mgs.py"]
)
def test_a_shipped_config_is_found_by_its_name(parsed, spelling, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found, folder = parsed(f"--config={spelling}:cifar10")
    assert found.algorithm == "zarts_mgs" and found.data.name == "cifar10"
    assert folder.startswith("runs/zarts_mgs-cifar10-")
    (tmp_path / "zarts_mgs.py").write_text(
        "from nasjax.experiment import defaults\nget_config = defaults.settings\n"
    )
    own = spelling == "zarts_mgs.py"  # a file that exists is taken
    config, _ = parsed(f"--config={spelling}")
    assert config.algorithm == ("darts_first" if own else "zarts_mgs")


TWICE = {
    "integer": ("search.epochs", "4", "6", 6),
    "number": ("search.rate", "0.5", "0.25", 0.25),
    "text": ("data.path", "a.npz", "b.npz", "b.npz"),
    "truth value": ("data.flip", "true", "false", False),
    "tuple": (
        "space.primitives",
        "('skip_connect', 'sep_conv_3x3')",
        "('max_pool_3x3',)",
        ("max_pool_3x3",),
    ),
    "negative": ("seed", "1", "-1", -1),
}


@pytest.mark.parametrize("case", TWICE)
@pytest.mark.parametrize("spelling", ["--{}={}", "-{}={}", "--{} {}", "-{} {}"])
def test_the_last_of_a_repeated_field_counts(parsed, case, spelling):
    name, first, second, value = TWICE[case]
    join = " " if " " in spelling else "="
    pair = lambda text: (
        spelling.split(join)[0].format(f"config.{name}") + f"{join}{text}"
    )
    given = [flag for text in (first, second) for flag in pair(text).split(join, 1)]
    if join == "=":
        given = [pair(first), pair(second)]
    found, _ = parsed(*given, CONFIG)
    *groups, field = name.split(".")
    for group in groups:
        found = found[group]
    assert found[field] == value


def test_the_last_config_and_folder_count(parsed):
    found, folder = parsed(
        "--config=zarts_mgs", "--workdir=a", "--config", "amended", "--workdir", "b"
    )
    assert found.algorithm == "amended" and folder == "b"
    found, _ = parsed(CONFIG, "--config.data.flip", "--noconfig.data.flip")
    assert not found.data.flip
    found, _ = parsed(CONFIG, "--noconfig.data.flip", "--config.data.flip")
    assert found.data.flip


def test_a_base_that_is_not_spelt_out_may_be_set(parsed):
    found, _ = parsed(CONFIG, *MINE, "--config.arch.darts_first.rate=0.5")
    assert found.arch.darts_first.rate == 0.5


def test_the_folder_is_named_by_what_the_named_parts_compute(parsed, monkeypatch):
    _, plain = parsed(CONFIG)
    _, chunked = parsed(CONFIG, "--config.arch.zarts_mgs.chunk=1")
    assert plain == chunked, "chunk changes the computation, not the result"
    _, other = parsed(CONFIG, "--config.arch.zarts_mgs.samples=2")
    _, third = parsed(CONFIG, *MINE)
    assert len({plain, other, third}) == 3
    assert plain.startswith("runs/zarts_mgs-default-")
    settings = PARTS["amended"].settings
    more = PARTS["amended"]._replace(settings=lambda s: settings(s) | {"new": 1})
    monkeypatch.setitem(PARTS, "amended", more)
    assert parsed(CONFIG)[1] == plain, "amended is not in the algorithm"
    assert "new" in parsed(CONFIG)[0].arch.amended


def test_without_a_config_it_says_what_to_type(tmp_path):
    done = program(cwd=tmp_path)
    assert done.returncode == 2
    assert "nasjax run --config=zarts_mgs" in done.stderr
    assert_sentence(done.stderr.removesuffix("\n"))


def test_unwritable_workdir(tmp_path):
    (tmp_path / "file").write_text("kept")
    flags = [CONFIG, f"--workdir={tmp_path}/file/run"]
    done = program(*flags, cwd=tmp_path)
    assert done.returncode == 2
    assert_sentence(done.stderr.removesuffix("\n"))
    assert (tmp_path / "file").read_text() == "kept"


def program(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "nasjax.main", *arguments],
        cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120,
    )  # fmt: skip


def assert_sentence(message):
    """Asserts one line that starts like a sentence or a name and contains no Python."""
    assert message and "\n" not in message
    assert "Traceback" not in message and "Error(" not in message


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_an_empty_genotype_starts_no_search(capsys):
    """As of a shell variable that is not set."""
    assert main.main(["--config=retrain", "--config.genotype="]) == 2
    assert "--config.genotype has no value" in capsys.readouterr().err
