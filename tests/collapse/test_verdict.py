"""Verdicts on logs made by hand."""

import numpy as np
import pytest

from nasjax.collapse import verdict


def log(free, eigenvalues=None, skip=None):
    """Lines of a search with these shares of parameter-free operators, by epoch."""
    lines = []
    for index, share in enumerate(free):
        line = {"phase": "search", "step": 10 * (index + 1), "epoch": index + 1}
        line |= {"parameter_free_normal": share, "entropy_normal": 0.5}
        if skip is not None:
            line["skip_normal"] = skip[index]
        if eigenvalues is not None and index % 2 == 0:
            line |= {"eigenvalue": eigenvalues[index], "eigenvalue_strongest": -1.0}
            line |= {"mixed_accuracy": 0.9, "discretised_accuracy": 0.25}
        lines.append(line)
    return lines


GROWN = [1.0 if epoch < 30 else 2.0 for epoch in range(50)]


def test_half_without_parameters_is_a_collapse():
    found = verdict.verdict(
        log(np.linspace(0.25, 0.75, 50), skip=np.linspace(0.1, 0.6, 50)), 50
    )
    assert found.word == "collapsed" and found.stop is None
    assert "75% of the operators" in found.reasons[0]
    assert "from 0.100 to 0.600" in found.reasons[0]
    assert "was not measured" in found.reasons[1]


def test_growing_eigenvalues_are_a_warning():
    found = verdict.verdict(log([0.25] * 50, GROWN), 50)
    assert found.word == "collapsing"
    assert found.stop.epoch_detected == 32 and found.stop.epoch_returned == 20
    text = " ".join(found.reasons)
    assert "stops it at epoch 33 and returns to epoch 21" in text
    assert "goes from 90.0% to 25.0%" in text


@pytest.mark.parametrize("free", [[0.25] * 50, [0.6] * 50, np.linspace(0.75, 0.25, 50)])
def test_no_sign_is_healthy(free):
    """A share that was high from the start, or has fallen, is no collapse."""
    found = verdict.verdict(log(free, [1.0] * 50), 50)
    assert found.word == "healthy" and found.stop is None
    assert "does not stop it" in " ".join(found.reasons)


def test_the_picture_has_a_panel_for_all_that_was_measured(tmp_path):
    verdict.draw(log([0.25] * 4, GROWN), tmp_path / "few.png")
    verdict.draw(log([0.25] * 50, GROWN, [0.5] * 50), tmp_path / "many.svg")
    text = (tmp_path / "many.svg").read_text()
    assert (tmp_path / "few.png").stat().st_size > 1000 and "<svg" in text


def test_an_eigenvalue_that_is_no_number_stops_nothing_and_breaks_nothing():
    lines = log([0.25] * 50, GROWN)
    lines[10]["eigenvalue"] = None  # as the log has it
    assert verdict.detected(verdict.eigenvalues(lines), 50).epoch_detected == 32
