"""Folders of images, and refusals in one sentence."""

import pytest
from PIL import Image

from nasjax.core.errors import UserError


def pictures(root, counts, size=(5, 4), mode="RGB"):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new(mode, size, i).save(root / name / f"{i}.png")
    return str(root)


def refused(expected, call, *args):
    """`call` must end in one sentence that contains `expected`; returns the sentence."""
    with pytest.raises(UserError) as caught:
        call(*args)
    text = str(caught.value)
    assert expected in text
    assert "\n" not in text and text.endswith(".")
    return text
