"""Data and settings that a search without retraining allows."""

import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.experiment import defaults
from nasjax.experiment.build import build

RANDOM = np.random.default_rng(0)
IMAGES, LABELS = RANDOM.integers(0, 256, (40, 8, 8, 1), np.uint8), np.arange(40) % 10


def config(**retrain):
    made = defaults.settings()
    made.search.batch = 8
    made.search.cells = made.retrain.cells = 1
    made.data.fractions = (0.45, 0.5, 0.05)
    made.retrain.update(retrain)
    return made


def test_without_retraining_nothing_is_asked_of_its_settings_and_of_the_test_part():
    given = config(epochs=0, batch=64, cutout=16)
    domain = build(given, (IMAGES, LABELS)).domain
    assert [len(part.label) for part in domain.data[:3]] == [18, 20, 2]
    assert any("test part lacks 8 of 10 classes" in note for note in domain.notes)


@pytest.mark.parametrize(
    ("retrain", "words"),
    [
        ({"batch": 8}, "test part of 40 images has 2"),
        ({"batch": 64, "epochs": 1}, "test part of 40 images has 2"),
    ],
)
def test_with_retraining_the_test_part_needs_its_classes(retrain, words):
    with pytest.raises(UserError, match=words):
        build(config(**retrain), (IMAGES, LABELS))


def test_with_retraining_its_batch_and_cutout_must_fit():
    several = np.tile(IMAGES, (5, 1, 1, 1)), np.tile(LABELS, 5)
    with pytest.raises(UserError, match="A batch of 999 is larger than the training"):
        build(config(batch=999), several)
    with pytest.raises(UserError, match="cutout"):
        build(config(cutout=16), several)


@pytest.mark.parametrize(
    "algorithm", ["darts_first", "zarts_mgs", "amended", "pc_darts"]
)
def test_a_training_without_a_search_asks_nothing_of_the_batch_of_a_search(algorithm):
    given = config(epochs=1, batch=20)
    given.update(algorithm=algorithm, genotype="darts_v2")
    given.data.fractions, given.search.batch = (0.3, 0.3, 0.4), 64
    several = np.tile(IMAGES, (3, 1, 1, 1)), np.tile(LABELS, 3)
    domain = build(given, several).domain
    assert len(domain.data.weights.label) == 36
    given.retrain.batch = 99
    with pytest.raises(UserError, match="A batch of 99 is larger than the training"):
        build(given, several)
    given.retrain.batch, given.genotype = 20, ""
    with pytest.raises(UserError, match="A batch of 64 is larger than the weight part"):
        build(given, several)


def test_names_of_classes_and_sizes_reach_the_domain():
    names = np.array(["cat", "dog"])[LABELS % 2]
    images = [RANDOM.integers(0, 256, (8 + i % 3, 9, 3), np.uint8) for i in range(40)]
    given = config(epochs=0)
    given.data.resize = (8, 10)
    domain = build(given, (images, names)).domain
    assert domain.classes == ("cat", "dog") and domain.image_shape == (8, 10, 3)
    given.data.resize, given.data.crop = 0, 7
    assert build(given, (images, names)).domain.image_shape == (7, 7, 3)
