"""Every config of configs/ loads, explains its fields, and has the papers' settings."""

import ast
import io
import re
import runpy
import tokenize

import pytest
from conftest import ROOT

from nasjax import zeroth
from nasjax.core.errors import UserError
from nasjax.engine.workdir import flat
from nasjax.experiment import defaults, validate
from nasjax.search import PARTS, parse
from nasjax.spaces import DARTS_7, DARTS_8, SPACES

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
VARIANTS = (None, "cifar10", "cifar100", "svhn", "imagenet")
every = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def load(path, variant=None):
    return runpy.run_path(str(path))["get_config"](variant)


SENTENCES = {
    "retrain": "darts_first",  # unused: it trains a given architecture
    "sanas_darts2": "darts_second+sanas",
    "zarts_budget": "zarts_gld+budget",
}


def algorithm_of(path):
    return SENTENCES.get(path.stem, path.stem)


def test_every_part_has_its_config():
    assert {name for path in CONFIGS for name in parse(algorithm_of(path))} == {*PARTS}


@every
@pytest.mark.parametrize("variant", VARIANTS)
def test_loads_and_passes_the_checks(path, variant):
    config = load(path, variant)
    assert config.algorithm == algorithm_of(path)
    assert validate.config(config).is_locked
    assert config.data.name == (variant or "digits")


@every
def test_unknown_variant_is_refused(path):
    with pytest.raises(UserError, match="variant 'cifar'; did you mean 'cifar10'"):
        load(path, "cifar")


@every
def test_its_docstring_has_both_commands(path):
    text = path.read_text()
    assert f"python -m nasjax.main --config=configs/{path.name}\n" in text
    assert f"--config=configs/{path.name}:cifar10 --config.data.path=" in text


@pytest.mark.parametrize(
    "path",
    [*CONFIGS, ROOT / "nasjax" / "experiment" / "defaults.py"],
    ids=lambda path: path.stem,
)
def test_every_field_is_explained(path):
    """The statement that first sets a field has a comment."""
    text = path.read_text()
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    seen = set()
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(
            r" {4}((?:config|data|space|search|collapse|saliency|retrain)\.\w+) = ",
            line,
        )
        if not found or "ConfigDict()" in line or found[1] in seen:
            continue
        seen.add(found[1])
        said_in_defaults = path.parent.name == "configs"
        lines = {number, number + 1} if line.endswith("(") else {number}
        assert said_in_defaults or lines & comments, line
    assert seen


def test_every_setting_of_a_part_is_explained():
    """The entry of a setting has a comment, in its lines or in the line above."""
    explained = set()
    for path in (ROOT / "nasjax" / "search").rglob("*.py"):
        text = path.read_text()
        comments = {
            token.start[0]
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        }
        for top in ast.parse(text).body:
            targets = [getattr(top, "target", None), *getattr(top, "targets", ())]
            own = [getattr(each, "id", "") for each in targets]
            own.append(getattr(top, "name", ""))
            if not any(name.lower().endswith("settings") for name in own):
                continue
            for node in ast.walk(top):
                entries = isinstance(node, ast.Dict) and zip(
                    node.keys, node.values, strict=True
                )
                for key, value in entries or ():
                    if key.value in (
                        "embedded",
                        "small",
                        "paper",
                        "imagenet",
                    ):  # by scale
                        continue
                    own = {*range(key.lineno, value.end_lineno + 1)}
                    above = text.splitlines()[key.lineno - 2].lstrip()
                    assert own & comments or above[0] == "#", (path, key.value)
                    explained.add(key.value)
    arch = defaults.settings().arch
    assert {*arch} == {*PARTS}
    assert {field for own in arch.values() for field in own} == explained


def test_defaults_in_the_file_are_all_fields():
    text = (ROOT / "nasjax" / "experiment" / "defaults.py").read_text()
    for group in ("data", "space", "search", "collapse", "saliency", "retrain"):
        for name in defaults.settings()[group]:
            assert f"    {group}.{name} = " in text


# Later algorithms of the family have other settings, which other tests cover.
LIKE_DARTS = (
    "amended", "darts_first", "darts_second", "implicit", "random_search",
    "sanas_darts2", "sdarts_adv", "sdarts_rs", "zarts_budget", "zarts_gld", "zarts_mgs",
    "zarts_rs",
)  # fmt: skip
like_darts = pytest.mark.parametrize(
    "path",
    [path for path in CONFIGS if path.stem in LIKE_DARTS],
    ids=lambda path: path.stem,
)


@like_darts
@pytest.mark.parametrize("variant", VARIANTS[1:-1])
def test_the_papers_setting(path, variant):
    """The setting of DARTS (arXiv 1806.09055, A.1), which ZARTS (2110.04743) follows;
    Amended-DARTS (1910.11831) searches for 100 epochs with batches of 96."""
    config = load(path, variant)
    search, retrain = config.search, config.retrain
    assert (search.channels, search.cells) == (16, 8)
    length = (100, 96) if path.stem == "amended" else (50, 64)
    assert (search.epochs, search.batch) == length
    assert (search.rate, search.rate_min, search.momentum) == (0.025, 0.001, 0.9)
    assert (search.weight_decay, search.clip) == (3e-4, 5.0)
    assert (retrain.channels, retrain.cells, retrain.epochs) == (36, 20, 600)
    assert (retrain.batch, retrain.rate, retrain.momentum) == (96, 0.025, 0.9)
    assert (retrain.weight_decay, retrain.clip, retrain.cutout) == (3e-4, 5.0, 16)
    assert (retrain.drop_path, retrain.auxiliary) == (0.2, 0.4)
    assert (config.data.pad, config.data.flip) == (4, True)
    first, second, _ = config.data.fractions
    assert first == second  # half of the training set for each level


@like_darts
def test_imagenet(path):
    """The setting of ZARTS (arXiv 2110.04743) and its code; a linear rate as in P-DARTS."""
    config = load(path, "imagenet")
    search, retrain = config.search, config.retrain
    assert search.batch == (96 if path.stem == "amended" else 256)
    assert (retrain.channels, retrain.cells, retrain.epochs) == (48, 14, 250)
    assert (retrain.batch, retrain.rate, retrain.weight_decay) == (1024, 0.5, 3e-5)
    assert (retrain.schedule, retrain.warmup_epochs) == ("linear", 5)
    assert (retrain.label_smoothing, retrain.auxiliary) == (0.1, 0.4)
    assert (retrain.drop_path, retrain.cutout) == (0, 0)


@pytest.mark.parametrize("method", ["mgs", "rs", "gld", "budget"])
@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_zarts(method, variant):
    """The settings in the scripts and the landscape program of the released code."""
    config = load(ROOT / "configs" / f"zarts_{method}.py", variant)
    moves, *rest = parse(config.algorithm)
    assert rest == (["budget"] if method == "budget" else [])
    assert moves == f"zarts_{'gld' if rest else method}"
    arch = config.arch[moves]
    assert (arch.inner_steps, arch.every) == (10, 10)
    assert config.search.warmup_epochs == (20 if variant == "imagenet" else 10)
    assert tuple(config.space.primitives) == DARTS_7
    if method == "mgs":
        assert (arch.samples, arch.spread) == (4, 0.025)
        assert (arch.temperature, arch.mixture) == (0.01, 1e-3)
    if method == "rs":
        assert (arch.samples, arch.radius, arch.rate) == (8, 0.1, 1e-4)
        assert (arch.distribution, arch.antithetic) == ("sphere", True)
    if method in ("gld", "budget"):
        made = zeroth.gld(arch.max_radius, arch.min_radius, arch.distribution)
        assert (arch.max_radius, made.samples) == (0.13, 16)  # 15 radii and alpha
    assert config.arch.budget.most == (6e8 if variant == "imagenet" else 5e8)


def test_darts_first_order():
    config = load(ROOT / "configs" / "darts_first.py", "cifar10")
    arch = config.arch.darts_first
    assert (arch.rate, arch.b1, arch.b2, arch.weight_decay) == (3e-4, 0.5, 0.999, 1e-3)
    assert (arch.every, config.search.warmup_epochs) == (1, 0)
    assert tuple(config.space.primitives) == DARTS_8


def test_darts_second_order_differs_in_its_estimator_alone():
    first, second = (
        defaults.pruned(
            load(ROOT / "configs" / f"darts_{order}.py", "cifar10").to_dict()
        )
        for order in ("first", "second")
    )
    own, other = first.pop("arch"), second.pop("arch")
    assert other["darts_second"].pop("finite_difference") is False
    assert own == {"darts_first": other["darts_second"]} and len(other) == 1
    assert first.pop("algorithm") != second.pop("algorithm")
    assert first == second


@every
@pytest.mark.parametrize("space", ["s1", "s2", "s3", "s4"])
def test_the_spaces_of_r_darts(path, space):
    """Retrained networks of CIFAR-100 and SVHN are smaller (SmoothDARTS, section 5.5)."""
    if path.stem == "amended":  # has other spaces by these names
        pytest.skip()
    for data, macro in {
        "cifar10": (36, 20),
        "cifar100": (16, 8),
        "svhn": (16, 8),
    }.items():
        config = load(path, f"{data}-{space}")
        assert (config.space.name, config.data.name) == (space, data)
        assert (config.search.channels, config.search.cells) == (16, 8)
        assert (config.retrain.channels, config.retrain.cells) == macro
        assert validate.space(config.space) == SPACES[space]
        assert config.collapse.interval == 2 and validate.config(config)
    with pytest.raises(UserError, match="variant"):
        load(path, f"imagenet-{space}")


def test_amended_and_its_spaces():
    """Search and retraining have the same regularisation (section 3.1), in S1, S2, S3."""
    path = ROOT / "configs" / "amended.py"
    s1, s2, s3 = (load(path, f"cifar10{suffix}") for suffix in ("", "-s2", "-s3"))
    for config in (s1, s2, s3):
        assert (config.arch.amended.eta, config.search.alpha_spread) == (0.1, 0.0)
        for field in ("auxiliary", "drop_path", "cutout"):
            assert config.search[field] == config.retrain[field] > 0
        assert validate.config(config).is_locked
    assert tuple(s1.space.primitives) == DARTS_8
    assert (s1.space.edges, s1.space.share) == ("pruned", True)
    assert tuple(s2.space.primitives) == ("skip_connect", "sep_conv_3x3")
    assert (s2.space.edges, s2.space.share) == ("fixed", False)
    assert (s2.search.channels, s2.search.cells) == (36, 20)
    assert tuple(s3.space.primitives) == ("none", "skip_connect", "sep_conv_3x3")
    assert (s3.search.channels, s3.search.cells) == (16, 8)
    with pytest.raises(UserError, match="'s9'"):
        load(path, "cifar10-s9")


def test_sanas_and_where_its_supplement_contradicts_itself():
    """Appendices A.4, I.1 and M differ, but not in the frequencies and the attack."""
    path = ROOT / "configs" / "sanas_darts2.py"
    for variant in (*VARIANTS, "cifar10-text", "cifar100-table"):
        config = load(path, variant)
        second, own, attack = (
            config.arch.darts_second, config.arch.sanas, config.saliency
        )  # fmt: skip
        assert (own.every, own.w2_every) == (5, 3)
        assert parse(config.algorithm) == ("darts_second", "sanas")
        assert not second.finite_difference
        assert (attack.steps, attack.eps, attack.step) == (7, 8 / 255, 2 / 255)
        assert (attack.mode, attack.target) == ("scaled", "predicted")
        assert attack.ascent == "gradient"
        assert validate.config(config).is_locked
    for data in ("cifar10", "cifar100"):
        text, table = (load(path, f"{data}-{name}") for name in ("text", "table"))
        assert text.data.name == table.data.name == data
        assert text.arch.darts_second.rate == 1e-3  # I.1
        assert table.arch.darts_second.rate == 3e-4  # Table 9
        assert text.search.alpha_spread == 0.0  # I.1: zero initialisation
        assert text.search.rate_min == table.search.rate_min == 0.0
        assert (text.retrain.drop_path, table.retrain.drop_path) == (0.2, 0.3)
        for config in (text, table):
            assert (config.search.epochs, config.search.batch) == (50, 64)
            assert (config.search.channels, config.search.cells) == (16, 8)
    with pytest.raises(UserError, match="'imagenet'"):
        load(path, "imagenet-table")


def test_implicit_search_keeps_the_curvature_positive():
    for variant in VARIANTS:
        arch = load(ROOT / "configs" / "implicit.py", variant).arch.implicit
        assert arch.curvature == "ggn" and arch.damping > 0


@every
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_number_is_of_one_kind_in_all_variants(path, variant):
    """A field's type decides how an override is parsed, so a float must not be set to 3."""
    plain, other = (flat(load(path, v).to_dict()) for v in (None, variant))
    assert {*plain} == {*other}
    for name, value in plain.items():
        assert type(other[name]) is type(value), name


def test_what_was_checked_has_the_settings_of_the_named_parts_alone():
    """The settings of other parts are not in a run's config, and cannot change the run."""
    given = load(ROOT / "configs" / "sdarts_rs.py")
    given.algorithm = "amended+sdarts_rs"
    checked = validate.config(given)
    assert {*checked.arch} == {"amended", "sdarts_rs"}
    given.arch.zarts_mgs.samples = 7
    assert validate.config(given) == checked
    given.arch.amended.eta = 0.2
    assert validate.config(given) != checked
    assert validate.config(checked) == checked, "checked again it is the same"


@pytest.mark.parametrize("found", [None, 1, 2, "3", 4])
def test_a_config_of_another_format_is_refused(found):
    given = load(ROOT / "configs" / "zarts_mgs.py")
    if found is None:
        del given["format"]
    else:
        with given.ignore_type():
            given.format = found
    with pytest.raises(UserError, match="start from a config in configs/"):
        validate.config(given)


@pytest.mark.parametrize(
    ("given", "primitives", "fractions"),
    [
        ({}, SPACES["s4"].primitives, (0.2, 0.2, 0.6)),
        ({"data.path": "mine.npz"}, DARTS_7, (0.4, 0.4, 0.2)),
        ({"data.name": "cifar10", "data.path": "c.npz"}, DARTS_7, (0.4, 0.4, 0.2)),
        ({"task": "tokens"}, DARTS_7, (0.4, 0.4, 0.2)),
        ({"space.name": "s1"}, (), (0.2, 0.2, 0.6)),
        (
            {"space.primitives": ("sep_conv_3x3",), "data.fractions": (0.3, 0.3, 0.4)},
            ("sep_conv_3x3",),
            (0.3, 0.3, 0.4),
        ),
    ],
    ids=["embedded", "own", "labelled", "other-kind", "named-space", "explicit"],
)
def test_what_is_left_open_is_chosen_by_the_data(given, primitives, fractions):
    config = defaults.settings()
    config.update_from_flattened_dict(given)
    defaults.by_data(config)
    assert config.space.primitives == primitives
    assert config.data.fractions == fractions
