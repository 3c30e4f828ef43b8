"""A planted truth: on each edge one operation carries the label, the others noise.

Every search must find the planted operations from three seeds; an alpha that does not
move must not find them. Every valid combination of parts runs.
"""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.harness import composed, config

from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.data.augment import Augment
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.nets import Model
from nasjax.nets.network import Output
from nasjax.search import PARTS, Training, parse, search
from nasjax.spaces import SPACES, Macro, darts
from nasjax.tasks.classification import Final
from nasjax.tasks.images import images

SPACE = darts(("skip_connect", "max_pool_3x3", "dil_conv_3x3"))._replace(
    name="planted", nodes=1, types=("cell",)
)
TRUTH = (("max_pool_3x3", 0), ("skip_connect", 1))
SEEDS, EPOCHS, STEPS, BATCH, SHAPE = 3, 30, 4, 16, (8, 8, 1)
ALONE = [name for name in PARTS if PARTS[name].moves]
OTHERS = [name for name in PARTS if not PARTS[name].moves]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(SPACES, "planted", SPACE)


def planted():
    """A model whose logits are w times the edges' outputs; the top of an image encodes
    its label, the rest is noise."""

    def init(key, images):
        del images
        w = 1 + 0.1 * jax.random.normal(derive(key, "w"), (2,))
        return {"params": {"w": w, "b": jnp.zeros(2)}, "batch_stats": {}}

    def apply(variables, mix, images, *, train, key=None, drop_path=0.0):
        w, own = variables["params"], mix["cell"]
        signal, *noise = (
            images[:, a:b].mean((1, 2, 3)) for a, b in ((0, 4), (4, 6), (6, 8))
        )
        brought = jnp.stack(
            [jnp.stack([noise[0], signal, noise[1]]), jnp.stack([signal, *noise])]
        )
        ops = own.ops if own.edges is None else own.ops * own.edges[:, None]
        h = 3 * jnp.einsum("eo,eob->b", ops, brought)
        sign = jnp.array([-1.0, 1.0])
        logits = h[:, None] * (sign * w["w"])[None] + w["b"][None]
        return Output(logits, None), variables["batch_stats"]

    return Model(init, apply, False)


def halves():
    """128 images for the weights and 128 for alpha."""
    rng = np.random.default_rng(0)

    def part():
        label = (np.arange(128) % 2).astype(np.int32)
        image = np.empty((128, *SHAPE))
        image[:, :4] = (128 + 45 * (2 * label - 1) + rng.normal(0, 20, 128))[
            :, None, None, None
        ]
        for rows in (slice(4, 6), slice(6, 8)):
            image[:, rows] = rng.integers(0, 256, 128)[:, None, None, None]
        return {"image": jnp.asarray(image.clip(0, 255), jnp.uint8), "label": label}

    return {"weights": part(), "arch": part()}


def made(sentence, warmup=0):
    """The search that a sentence names, with learning rates of alpha for a short run."""
    own = config()
    for name in ("darts_first", "darts_second", "amended", "implicit"):
        own.arch[name].update(rate=0.1, weight_decay=0.0)
    own.arch.implicit.update(damping=1.0, max_steps=10)  # the defaults
    own.arch.zarts_rs.update(rate=1.0)
    own.arch.zarts_gld.update(max_radius=1.0, min_radius=0.1)
    own.arch.zarts_mgs.update(spread=0.3, temperature=0.01)
    own.arch.sanas.every = 2
    own.arch.budget.update(most=1e9)
    augment = Augment(pad=0, flip=False, mean=(0.5,), std=(0.3,))

    def sgd(rate, clip=True):
        return optim.sgd(rate, 0.0, 0.0, 5.0 * clip)

    training = Training(sgd, lambda step: 0.02, EPOCHS, STEPS, warmup)
    task = lambda axis: images(planted(), SHAPE, augment, BATCH, STEPS)
    final = Final(Macro.of(SPACE, 4, 3, "cifar"), 2, SHAPE)
    algorithm = composed(sentence, own)
    return search(algorithm, SPACE, task, training, Devices.of(1), final=final)


def found(this):
    """The cell that the search finds from each seed."""
    data = halves()
    state = jax.vmap(this.init)(jax.random.split(jax.random.key(0), SEEDS))
    chex.clear_trace_counter()
    programs = {}
    for own in this.programs:  # each is traced once; chex counts all of them together
        once = chex.assert_max_traces(_step(this, own), len(this.programs))
        programs[own.name] = jax.jit(jax.vmap(once, (0, None)))
    with jax.transfer_guard("disallow"):
        data = jax.device_put(data)
        for index in range(EPOCHS * STEPS):
            for own in this.programs:
                if own.cadence.due(index):
                    state = programs[own.name](state, data)
    mixes = jax.device_get(jax.jit(jax.vmap(this.mix))(state))
    return [
        this.genotype(jax.tree.map(lambda leaf, i=i: leaf[i], mixes)).cells["cell"]
        for i in range(SEEDS)
    ]


def _step(this, own):
    task = this.problem.task

    def step(state, data):
        return own.step(state, *own.batches.draw(task, data, state))[0]

    return step


@pytest.mark.parametrize(
    "sentence", [*PARTS, "amended+sdarts_rs", "zarts_mgs+sdarts_adv"]
)
def test_a_search_reads_the_truth_off(sentence):
    for pairs in found(made(sentence)):
        assert set(pairs) == set(TRUTH)


def test_an_alpha_that_rests_does_not():
    wrong = [set(pairs) != set(TRUTH) for pairs in found(made("darts_first", EPOCHS))]
    assert any(wrong)


@pytest.mark.parametrize("moves", ALONE)
def test_all_that_composes_has_programs(moves):
    """Every direction with every other part, and with every pair of other parts."""
    data, ran = halves(), 0
    for count in (1, 2):
        for others in itertools.combinations(OTHERS, count):
            sentence = "+".join((moves, *others))
            try:
                this = made(sentence)
            except UserError as error:
                assert "; take" in str(error) or "; give" in str(error)
                continue
            ran += 1
            start = jax.eval_shape(this.init, jax.random.key(0))
            for own in this.programs:
                after = jax.eval_shape(_step(this, own), start, data)
                assert jax.tree.map(jax.typeof, after) == jax.tree.map(
                    jax.typeof, start
                ), f"{sentence}, {own.name}"
    assert ran >= 2 and parse(moves) == (moves,)
