"""Verdicts on logs made by hand, and on searches of random cells."""

import dataclasses

import numpy as np
import pytest

from nasjax.collapse import verdict
from nasjax.experiment.pictures import collapse_panels
from nasjax.monitors.alpha import base_rate, mixing
from nasjax.spaces import SPACES, darts
from nasjax.spaces.rules import discretise, one_hot, random_genotype

DARTS = SPACES["darts7"]


def log(genotype, space, sharpness=1.0, epochs=8, eigenvalues=None):
    """The log of a search whose mixing weights go towards a genotype.

    sharpness: 1: the last weights are one-hot; 0: they stay uniform.
    """
    lines, target = [], one_hot(genotype, space)
    for epoch in range(1, epochs + 1):
        pull = sharpness * min(2 * epoch / epochs, 1)
        mix = {}
        for kind, own in target.items():
            kept = own.ops.sum(1, keepdims=True) > 0
            even = np.full_like(own.ops, 1 / own.ops.shape[1])
            ops = np.where(
                kept, own.ops, np.eye(own.ops.shape[1])[-1] * 0.9 + 0.1 * even
            )
            mix[kind] = own._replace(ops=pull * ops + (1 - pull) * even)
        step = {"phase": "search", "step": 10 * epoch}
        weights = {kind: own.ops.tolist() for kind, own in mix.items()}
        chosen = discretise(mix, space) if pull else genotype
        lines += [step | {"mix": weights}]
        line = step | {"epoch": epoch} | mixing(mix, chosen, space)
        if eigenvalues is not None and epoch % 2:
            line |= {"eigenvalue": eigenvalues[epoch - 1], "eigenvalue_strongest": -1.0}
            line |= {"mixed_accuracy": 0.9, "discretised_accuracy": 0.25}
        lines.append(line)
    return lines


def all_of(name, space):
    """A genotype whose operators are all `name`."""
    genotype = random_genotype(0, space)
    cells = {
        kind: tuple((name, source) for _, source in pairs)
        for kind, pairs in genotype.cells.items()
    }
    return dataclasses.replace(genotype, cells=cells)


def ordinary(space):
    """A genotype like most random ones."""
    base = base_rate(space)
    signs = [name for name in base if name.startswith(tuple(verdict.SIGNS))]
    for seed in range(9):
        if verdict.rarity({n: base[n][seed] for n in signs}, base) > 0.3:
            return random_genotype(seed, space)
    raise AssertionError("nine rare architectures")


def judged(lines, space, epochs=8):
    return verdict.verdict(lines, epochs, base_rate(space), space)


SPACES_OF_KINDS = {
    "darts": DARTS,
    "two operations": SPACES["s2"],
    "operations by edge": SPACES["s1"],
    "fixed edges": DARTS.fixed(),
    "nasbench201": SPACES["nasbench201"],
    "separate cells": SPACES["s2"].separate(3),
}


@pytest.mark.parametrize("name", SPACES_OF_KINDS)
def test_random_cells_are_seldom_collapsed(name):
    """The share of false alarms on architectures that are not in the base rate."""
    space = SPACES_OF_KINDS[name]
    base, other = base_rate(space), base_rate(space, 501)
    signs = [n for n in base if n.startswith(tuple(verdict.SIGNS))]
    half = {n: base[n][:250] for n in signs}
    alarms = [
        verdict.rarity({n: other[n][i] for n in signs}, half) <= verdict.LEVEL
        for i in range(250, 501)
    ]
    assert np.mean(alarms) <= verdict.LEVEL + 0.03  # three standard errors, 251 draws
    assert judged(log(ordinary(space), space), space).word == "healthy"


@pytest.mark.parametrize(
    "name", [name for name in SPACES_OF_KINDS if name != "operations by edge"]
)
def test_a_planted_collapse_is_found(name):
    space = SPACES_OF_KINDS[name]
    found = judged(log(all_of("skip_connect", space), space), space)
    assert found.word == "collapsed"
    text = " ".join(found.reasons)
    count = len(space.targets) * (3 if name == "separate cells" else 1)
    all_skips = (
        f" {count} of {count} operators are skip connections at epoch 8, more than"
    )
    assert all_skips in text
    assert "0% of random architectures look at least as collapsed" in text


def test_a_share_is_counted_in_operators():
    space, genotype = SPACES["s4"], all_of("noise", SPACES["s4"])
    kind = space.types[0]
    pairs = [("sep_conv_3x3", source) for _, source in genotype.cells[kind]]
    pairs[0] = ("noise", pairs[0][1])
    one = dataclasses.replace(genotype, cells=genotype.cells | {kind: tuple(pairs)})
    text = " ".join(judged(log(one, space), space).reasons)
    assert f"{kind}: 1 of 8 operators has no parameters at epoch 8" in text
    unknown = verdict.verdict(log(one, space), 8, base_rate(space))
    assert f"{kind}: 12% of the operators have" in " ".join(unknown.reasons)


def test_signs_that_a_space_cannot_show_are_left_out():
    """S4 has no skip connections; a space of convolutions has no free operator either."""
    for space, shown in (
        (DARTS, {"skip connections", "no parameters"}),
        (SPACES["s4"], {"no parameters"}),
        (darts(("sep_conv_3x3", "sep_conv_5x5")), set()),
    ):
        lines = log(ordinary(space), space)
        found = judged(lines, space)
        said = [reason for reason in found.reasons if " operators " in reason]
        words = {
            "skip connections": "skip connection",
            "no parameters": "no parameters",
        }
        assert {k for k, w in words.items() if any(w in one for one in said)} == shown
        assert found.word == "healthy"
        drawn = [p for p in collapse_panels(lines, space) if p.curves]
        titles = " ".join(panel.title for panel in drawn)
        assert ("skip connections kept" in titles) == ("skip connections" in shown)
        assert ("without parameters" in titles) == ("no parameters" in shown)


@pytest.mark.parametrize("epochs", [1, 8])
@pytest.mark.parametrize("sharpness", [0.0, 0.01])
def test_an_alpha_that_has_not_decided_is_undecided(sharpness, epochs):
    lines = log(all_of("skip_connect", DARTS), DARTS, sharpness, epochs)
    found = judged(lines, DARTS, epochs)
    assert found.word == "undecided"
    assert "above 95% alpha has not decided" in " ".join(found.reasons)


def test_one_epoch_and_a_changing_choice_are_undecided():
    lines = log(all_of("skip_connect", DARTS), DARTS, epochs=1)
    assert judged(lines, DARTS).word == "undecided"
    a = log(all_of("skip_connect", DARTS), DARTS, epochs=6)
    b = log(all_of("sep_conv_3x3", DARTS), DARTS, epochs=8)
    assert judged(a + b[12:], DARTS).word == "undecided"
    assert "the choice is not stable" in " ".join(judged(a + b[12:], DARTS).reasons)


def test_without_a_base_rate_nothing_is_said():
    found = verdict.verdict(log(all_of("skip_connect", DARTS), DARTS), 8)
    assert found.word == "undecided" and "are unknown" in " ".join(found.reasons)
    assert verdict.verdict([], 8, base_rate(DARTS)).word == "undecided"


GROWN = [1.0 if epoch < 30 else 2.0 for epoch in range(50)]


def test_growing_eigenvalues_are_a_warning():
    lines = log(ordinary(DARTS), DARTS, 1.0, 50, GROWN)
    found = judged(lines, DARTS, 50)
    assert found.word == "collapsing"
    assert found.stop.epoch_detected == 32 and found.stop.epoch_returned == 20
    text = " ".join(found.reasons)
    assert "stops it at epoch 33 and returns to epoch 21" in text
    assert "goes from 90.0% to 25.0%" in text


def test_an_eigenvalue_that_is_no_number_stops_nothing_and_breaks_nothing():
    lines = log(ordinary(DARTS), DARTS, 1.0, 50, GROWN)
    lines[21]["eigenvalue"] = None  # as the log has it
    assert verdict.detected(verdict.eigenvalues(lines), 50).epoch_detected == 32
