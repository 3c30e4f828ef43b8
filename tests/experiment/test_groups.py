"""Which seeds go together, by the checkpoints that their folders have."""

from types import SimpleNamespace

import pytest

from nasjax.experiment import groups


class Folders:
    """Checkpoints by seed, and what was deleted of them."""

    def __init__(self, steps):
        self.steps, self.dropped = steps, {}

    def of(self, path):
        seed = int(path.parts[-3].removeprefix("seed_"))
        drop = lambda step: self.dropped.update(
            {seed: [own for own in self.steps[seed] if own > step]}
        )
        return SimpleNamespace(steps=lambda: self.steps[seed], drop_after=drop)


@pytest.mark.parametrize(
    ("steps", "group", "dropped"),
    [
        ({0: [], 1: [], 2: []}, [0, 1, 2], {}),
        ({0: [100, 200], 1: [100], 2: [100]}, [0, 1, 2], {0: [200]}),
        # Added seeds start; the others do not go back.
        ({0: [900], 1: [900], 2: []}, [0, 1], {}),
        ({0: [900], 1: [], 2: []}, [1, 2], {}),
        # Resumed alone, or finished: left to its ordinary run.
        ({0: [500, 600], 1: [100, 200], 2: [100, 200]}, [1, 2], {}),
        ({0: [1000], 1: [100], 2: [100]}, [1, 2], {}),
        ({0: [500], 1: [100], 2: []}, [], {}),
    ],
)
def test_the_next_group(monkeypatch, tmp_path, steps, group, dropped):
    folders = Folders(steps)
    monkeypatch.setattr(groups, "Checkpoints", folders.of)
    training = SimpleNamespace(epochs=10, steps_per_epoch=100)
    search = SimpleNamespace(problem=SimpleNamespace(training=training))
    stage = SimpleNamespace(name="search")
    runs = SimpleNamespace(
        made=SimpleNamespace(
            algorithm=SimpleNamespace(stages=(stage,)),
            begin=lambda stage, previous: search,
        ),
        path=lambda seed: tmp_path / f"seed_{seed}",
        folder=lambda seed: SimpleNamespace(path=tmp_path / f"seed_{seed}"),
    )
    assert groups._next(runs, list(steps), 8) == group
    assert {k: v for k, v in folders.dropped.items() if v} == dropped
