"""Every config of configs/: it loads, is explained, and says what the papers say."""

import io
import re
import runpy
import tokenize

import pytest
from conftest import ROOT

from nasjax import zeroth
from nasjax.core.errors import UserError
from nasjax.experiment import defaults, validate
from nasjax.search import ALGORITHMS
from nasjax.spaces import DARTS_7, DARTS_8, SPACES

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
VARIANTS = (None, "cifar10", "cifar100", "svhn", "imagenet")
every = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def load(path, variant=None):
    return runpy.run_path(str(path))["get_config"](variant)


ALGORITHM_OF = {"zarts_budget": "zarts_gld", "sanas_darts2": "sanas"}


def algorithm_of(path):
    return ALGORITHM_OF.get(path.stem, path.stem)


def test_every_algorithm_has_its_config():
    assert {algorithm_of(path) for path in CONFIGS} == {*ALGORITHMS}


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
    """A comment stands in the lines of the statement that first sets the field."""
    text = path.read_text()
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    seen = set()
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(
            r" {4}((?:config|data|space|search|collapse|saliency|retrain|arch)\.\w+) = ",
            line,
        )
        if not found or "ConfigDict()" in line or found[1] in seen:
            continue
        seen.add(found[1])
        said_in_defaults = path.parent.name == "configs" and "arch." not in found[1]
        lines = {number, number + 1} if line.endswith("(") else {number}
        assert said_in_defaults or lines & comments, line
    assert seen or "    return defaults." in text


def test_defaults_in_the_file_are_all_fields():
    text = (ROOT / "nasjax" / "experiment" / "defaults.py").read_text()
    for group in ("data", "space", "search", "collapse", "saliency", "retrain"):
        for name in defaults.settings()[group]:
            assert f"    {group}.{name} = " in text


@every
@pytest.mark.parametrize("variant", VARIANTS[1:-1])
def test_the_papers_setting(path, variant):
    """DARTS (arXiv 1806.09055) A.1, which ZARTS (2110.04743) follows; Amended-DARTS
    (1910.11831) searches for 100 epochs in batches of 96."""
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


@every
def test_imagenet(path):
    """ZARTS (arXiv 2110.04743) and its code; a linear rate as in P-DARTS."""
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
    """The scripts and the landscape program of the released code."""
    config = load(ROOT / "configs" / f"zarts_{method}.py", variant)
    arch = config.arch
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
    assert (arch.budget > 0) == (method == "budget")


def test_darts_first_order():
    config = load(ROOT / "configs" / "darts_first.py", "cifar10")
    arch = config.arch
    assert (arch.rate, arch.b1, arch.b2, arch.weight_decay) == (3e-4, 0.5, 0.999, 1e-3)
    assert (arch.every, config.search.warmup_epochs) == (1, 0)
    assert tuple(config.space.primitives) == DARTS_8


def test_darts_second_order_differs_in_its_estimator_alone():
    first, second = (
        load(ROOT / "configs" / f"darts_{order}.py", "cifar10").to_dict()
        for order in ("first", "second")
    )
    assert second["arch"].pop("finite_difference") is False
    assert first.pop("algorithm") != second.pop("algorithm")
    assert first == second


@every
@pytest.mark.parametrize("space", ["s1", "s2", "s3", "s4"])
def test_the_spaces_of_r_darts(path, space):
    """Retrained nets of CIFAR-100 and SVHN are smaller (SmoothDARTS, section 5.5)."""
    if path.stem == "amended":  # has spaces of its own by these names
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
    """Section 3.1: the same regularisation in search and retraining; S1, S2, S3."""
    path = ROOT / "configs" / "amended.py"
    s1, s2, s3 = (load(path, f"cifar10{suffix}") for suffix in ("", "-s2", "-s3"))
    for config in (s1, s2, s3):
        assert (config.arch.eta, config.search.alpha_spread) == (0.1, 0.0)
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
    """Appendices A.4, I.1 and M; frequencies and the attack are the same everywhere."""
    path = ROOT / "configs" / "sanas_darts2.py"
    for variant in (*VARIANTS, "cifar10-text", "cifar100-table"):
        config = load(path, variant)
        second, attack = config.arch.darts_second, config.saliency
        assert (second.every, config.arch.second_every) == (5, 3)
        assert config.base == "darts_second" and not second.finite_difference
        assert (attack.steps, attack.eps, attack.step) == (7, 8 / 255, 2 / 255)
        assert (attack.mode, attack.labels, attack.ascent) == ("signed", False, "pgd")
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
        arch = load(ROOT / "configs" / "implicit.py", variant).arch
        assert arch.curvature == "ggn" and arch.damping > 0


@every
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_number_is_of_one_kind_in_all_variants(path, variant):
    """An override is parsed by the kind of its field: 3 must not freeze a float."""
    plain, other = (load(path, v).to_dict() for v in (None, variant))
    for group, fields in plain.items():
        if isinstance(fields, dict):
            for name, value in fields.items():
                assert type(other[group][name]) is type(value), (group, name)
