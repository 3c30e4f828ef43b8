"""Judges the tests by 43 small planted faults: counts the faults that they notice.

    python tests/mutations.py [--only NAME ...] [--tree PATH] [-o results.json]

Each fault replaces one piece of text in one file of a copy of the tree, and the tests
that should notice it are run on that copy until the first one fails. A fault is caught
if a test fails that passes on a copy without the fault, and has survived if all pass.
Everything else is an error: tests that cannot be collected, that take too long, or that
also fail without the fault. The exit status is 0 if all faults are caught.

`--tree` puts the same faults into another version. With `-o` every outcome is written
as soon as it is known, with the last lines of the tests' output, and the same command
resumes after an interruption. The tests get all environment variables except PYTHONPATH
and PYTEST_ADDOPTS. This file is not a test; it takes 8 minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LINES = 20  # lines of the tests' output that are kept
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", re.M)


class Fault(NamedTuple):
    """One planted fault.

    Attributes:
      name: short name of the fault.
      file: path of the faulty file in the tree.
      old: text that occurs in the file exactly once.
      new: text that replaces `old`.
      tests: arguments of pytest, the most direct tests first. Files that a version of
        the tree does not have are left out.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


CONTRACT = "tests/search/test_contract.py"


def of(algorithm: str) -> tuple[str, str]:
    """Arguments of pytest for the contract tests of one algorithm."""
    return "-k", f"{algorithm} or not test_contract"


FAULTS = (
    # Hypergradients.
    Fault("implicit_term_added", "nasjax/hypergrad/estimators.py",
        "jax.tree.map(jnp.subtract, direct, indirect)",
        "jax.tree.map(jnp.add, direct, indirect)",
        ("tests/hypergrad/test_estimators.py", "tests/hypergrad/test_check.py")),
    Fault("chain_of_old_solutions", "nasjax/hypergrad/chain.py",
        "dict(solutions), arch, train_batch", "dict(w), arch, train_batch",
        ("tests/hypergrad/test_chain.py", "tests/search/test_saliency_level.py")),
    Fault("neumann_one_term_more", "nasjax/hypergrad/inverses.py",
        "lax.fori_loop(0, terms - 1, add", "lax.fori_loop(0, terms, add",
        ("tests/hypergrad/test_inverses.py", "tests/hypergrad/test_estimators.py")),
    # Directions of alpha.
    Fault("look_ahead_without_momentum", "nasjax/search/directions.py",
        "return state.w, state.weight_opt", "return state.w, None",
        ("tests/search/test_hypergradients.py", CONTRACT, *of("darts_second"))),
    Fault("look_ahead_clips", "nasjax/search/algorithms/darts_second.py",
        "clip=False", "clip=True",
        ("tests/search/test_hypergradients.py", CONTRACT, *of("darts_second"))),
    Fault("implicit_undamped", "nasjax/search/algorithms/implicit.py",
        "lambda p, u: p + damping * u", "lambda p, u: p",
        ("tests/search/test_hypergradients.py", CONTRACT, *of("implicit"))),
    Fault("zarts_at_the_first_rate", "nasjax/search/algorithms/zarts.py",
        "training.rate(state.step)", "training.rate(0)",
        (CONTRACT, "tests/search/test_directions.py", *of("zarts_rs"))),
    Fault("mgs_weighs_by_the_density", "nasjax/zeroth/mgs.py",
        "/ temperature - log_q, 0)", "/ temperature + log_q, 0)",
        ("tests/zeroth/test_mgs.py", "tests/zeroth/test_methods.py")),
    Fault("gld_ladder_too_short", "nasjax/zeroth/gld.py",
        "math.floor(halvings + 1e-9) + 1)", "math.floor(halvings + 1e-9))",
        ("tests/zeroth/test_gld.py", "tests/zeroth/test_methods.py")),
    Fault("attack_descends", "nasjax/search/perturb.py",
        '{"linf": jnp.sign,', '{"linf": lambda g: -jnp.sign(g),',
        ("tests/search/test_perturb.py", "tests/search/test_sdarts.py")),
    Fault("perturbation_grows_too_fast", "nasjax/search/assemble.py",
        "smoothing.eps(at.progress)", "smoothing.eps(2 * at.progress)",
        ("tests/search/test_levels.py", "tests/search/test_sdarts.py")),
    Fault("saliency_in_normalised_units", "nasjax/saliency.py",
        "delta / _row(attack.std, images)", "delta * _row(attack.std, images)",
        ("tests/test_saliency.py", "tests/search/test_saliency_level.py")),
    Fault("saliency_by_the_rate_of_the_batch", "nasjax/saliency.py",
        "abs(gradient).mean((1, 2, 3), keepdims=True)", "abs(gradient).mean()",
        ("tests/test_saliency.py", "tests/search/test_saliency_level.py")),
    Fault("validated_on_whole_images", "nasjax/search/algorithms/sanas.py",
        'own = {**batch, "image": reweighted(batch["image"], delta)}', "own = batch",
        ("tests/search/test_sanas.py",)),
    Fault("key_used_twice", "nasjax/spaces/rules.py",
        "jax.random.categorical(op_key, logits)",
        "jax.random.categorical(edge_key, logits)",
        ("tests/search/test_relax.py", CONTRACT, *of("random_search"))),
    # The steps of a search.
    Fault("warm_up_in_steps", "nasjax/search/assemble.py",
        "training.warmup_epochs * training.steps_per_epoch",
        "training.warmup_epochs",
        (CONTRACT, *of("random_search"))),
    Fault("drop_path_grows_by_step", "nasjax/search/bilevel.py",
        "At(key, step // self.steps_per_epoch / self.epochs,",
        "At(key, step / self.epochs,",
        ("tests/search/test_hypergradients.py", CONTRACT, *of("darts_first"))),
    Fault("running_statistics_lost", "nasjax/search/bilevel.py",
        "optax.apply_updates(network.w, updates), stats, opt)",
        "optax.apply_updates(network.w, updates), network.batch_stats, opt)",
        (CONTRACT, "tests/search/test_sanas.py", *of("darts_first"))),
    Fault("validation_by_the_weights_half", "nasjax/search/assemble.py",
        'one("arch", key)', 'one("weights", key)',
        (CONTRACT, "tests/search/test_sanas.py", *of("darts_first"))),
    Fault("second_network_a_batch_ahead", "nasjax/search/assemble.py",
        "batches.draw(task, data, before(state))", "batches.draw(task, data, state)",
        ("tests/search/test_sanas.py", CONTRACT, *of("sanas"))),
    Fault("second_network_of_baked_numbers", "nasjax/experiment/phases.py",
        "begin(traced).program(own.name).step(state, *batches)",
        "own.step(state, *batches)",
        (CONTRACT, *of("sanas"))),
    Fault("penalty_in_both_networks", "nasjax/search/algorithms/sanas.py",
        'problem.clean(solutions["w1"]', 'problem.val(solutions["w1"]',
        ("tests/search/test_levels.py",)),
    Fault("second_network_unsmoothed", "nasjax/search/algorithms/sanas.py",
        "            mix,\n            batch,",
        '            problem.relaxation.mix(state.arch, batch["at"]),\n            batch,',
        ("tests/search/test_levels.py",)),
    Fault("read_an_epoch_late", "nasjax/search/base.py",
        "jnp.maximum(state.step - 1, 0)", "state.step",
        ("tests/search/test_order.py",)),
    Fault("monitors_of_baked_numbers", "nasjax/experiment/phases.py",
        "monitors(begin(traced))", "monitors(self.search)",
        ("tests/search/test_order.py",)),
    Fault("hidden_state_not_carried", "nasjax/search/assemble.py",
        'levels = {**state.levels, "alpha": after[task.stream]}',
        "levels = state.levels",
        ("tests/search/test_stream.py",)),
    Fault("code_of_one_folder", "nasjax/engine/programs.py",
        "Path(__file__).parents[1]", "Path(__file__).parent",
        ("tests/engine/test_programs.py",)),
    Fault("augmentation_repeats", "nasjax/search/assemble.py",
        'derive(state.key, "weight batch", state.step)',
        'derive(state.key, "weight batch")',
        ("tests/experiment/test_phases.py",)),
    Fault("look_ahead_batches_alike", "nasjax/search/assemble.py",
        "keys = jax.random.split(key, direction.inner_steps)\n        train",
        "keys = jnp.broadcast_to(key, (direction.inner_steps,))\n        train",
        ("tests/experiment/test_phases.py",)),
    Fault("validation_loss_of_a_shard", "nasjax/search/bilevel.py",
        "clean = devices.averaged(plain)", "clean = plain",
        (CONTRACT, *of("darts_first"))),
    Fault("cosine_ends_an_epoch_early", "nasjax/engine/optim.py",
        "jnp.cos(jnp.pi * epoch / epochs)", "jnp.cos(jnp.pi * epoch / (epochs - 1))",
        ("tests/engine/test_optim.py", "tests/tasks/test_retrain.py")),
    Fault("weight_decay_decoupled", "nasjax/engine/optim.py",
        "optax.add_decayed_weights(weight_decay),\n        "
        "optax.scale_by_adam(b1, b2, eps=1e-8)",
        "optax.scale_by_adam(b1, b2, eps=1e-8),\n        "
        "optax.add_decayed_weights(weight_decay)",
        ("tests/engine/test_optim.py", "tests/search/test_hypergradients.py")),
    # Networks and data.
    Fault("variance_of_a_shard", "nasjax/nets/layers.py",
        "v = _mean(jnp.square(centred), axis_name)",
        "v = _mean(jnp.square(centred), None)",
        ("tests/nets/test_operations.py", CONTRACT, *of("darts_first"))),
    Fault("unbiased_by_the_size_of_a_shard", "nasjax/nets/layers.py",
        "x.size // x.shape[1] * (lax.axis_size(axis) if axis else 1)",
        "x.size // x.shape[1]",
        (CONTRACT, "tests/search/test_supernets.py", *of("darts_first"))),
    Fault("average_pool_counts_padding", "nasjax/nets/lowering/__init__.py",
        "total / jnp.asarray(count, x.dtype)", "total / jnp.asarray(9, x.dtype)",
        ("tests/nets/test_pooling.py", "tests/nets/test_network.py")),
    Fault("multiply_adds_without_stride", "nasjax/nets/count.py",
        "(2, before) if strided else (1, after)",
        "(1, before) if strided else (1, after)",
        ("tests/search/test_price.py", "tests/nets/test_count.py")),
    Fault("parts_share_images", "nasjax/data/splits.py",
        "chosen = order[part_of[order] == index]",
        "chosen = order[part_of[order] <= index]",
        ("tests/data/test_splits.py",)),
    # The result of a search, and its run.
    Fault("ties_go_to_the_later_edge", "nasjax/spaces/rules.py",
        "(order[None, :] < order[:, None])",
        "(order[None, :] > order[:, None])",
        ("tests/spaces/test_rules.py", "tests/search/test_price.py")),
    Fault("drop_path_of_baked_epochs", "nasjax/tasks/retrain.py",
        "/ hyper.epochs", "/ 1",
        ("tests/tasks/test_retrain.py",)),
    Fault("rolled_back_an_epoch_too_far", "nasjax/collapse/rollback.py",
        "(stop.epoch_returned + 1) * phase.steps_per_epoch",
        "stop.epoch_returned * phase.steps_per_epoch",
        ("tests/collapse/test_rollback.py",)),
    Fault("digest_without_the_data", "nasjax/engine/checkpoint.py",
        "    digest.update(data)\n", "",
        ("tests/engine/test_checkpoint.py", "tests/engine/test_loop.py")),
    Fault("programs_without_normalisation", "nasjax/experiment/single.py",
        "        experiment.domain.depends,\n", "",
        ("tests/engine/test_programs.py",)),
    Fault("resumed_a_step_late", "nasjax/engine/loop.py",
        "            self.evaluation = meta[",
        "            self.step += 1\n            self.evaluation = meta[",
        ("tests/engine/test_loop.py", CONTRACT, *of("random_search"))),
)  # fmt: skip


class Unfit(Exception):
    """A fault that cannot be judged; the message gives the reason in a sentence."""


def plant(fault: Fault, tree: Path) -> None:
    """Puts a fault into a tree."""
    path = tree / fault.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(fault.old)) != 1:
        raise Unfit(
            f"The fault {fault.name} no longer applies: {fault.file} has its old text "
            f"{count} times, expected once."
        )
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def copy(tree: Path, to: Path) -> None:
    """Copies the working tree without files that git ignores."""
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(
        ["git", "-C", str(tree), *listing], check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (tree / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / name, to / name)


class Judgement(NamedTuple):
    """The outcome of the tests on a fault.

    Attributes:
      outcome: "caught", "survived" or "error".
      by: the first test that notices the fault, or the reason of an error.
      unsound: tests that also fail without the fault, and are not counted.
      said: the last lines of the tests' output.
    """

    outcome: str
    by: str = ""
    unsound: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


def judge(
    fault: Fault, tree: Path, sound: Path, data: Path, timeout: float
) -> Judgement:
    """Plants a fault in `tree` and runs its tests; `sound` is a copy without it.

    A test that fails is also run on `sound`. If it fails there, it is left out and the
    remaining tests are run.
    """
    tests = [t for t in fault.tests if not t.endswith(".py") or (tree / t).exists()]
    if not any(each.endswith(".py") for each in tests):
        raise Unfit(f"The tests for the fault {fault.name} are no longer there.")
    plant(fault, tree)
    unsound: tuple[str, ...] = ()
    while True:
        left_out = [f"--deselect={test}" for test in unsound]
        status, output = run(tree, [*tests, *left_out], data, timeout)
        said = tuple(output.strip().splitlines()[-LINES:])
        failed = FAILED.search(output)
        if status == 0:
            return Judgement("survived", "", unsound)
        if status is None:
            late = f"the tests took more than {timeout:g} seconds"
            return Judgement("error", late, unsound, said)
        if status != 1 or not failed:  # -x also ends with 1 on a collection error
            ended = f"pytest ended with {status}: {' / '.join(said[-3:])}"
            return Judgement("error", ended, unsound, said)
        if run(sound, [failed[1]], data, timeout)[0] == 0:
            return Judgement("caught", failed[1], unsound, said)
        if failed[1] in unsound:
            again = f"{failed[1]} fails without the fault and cannot be left out"
            return Judgement("error", again, unsound, said)
        unsound = (*unsound, failed[1])


def run(
    tree: Path, tests: Sequence[str], data: Path, timeout: float
) -> tuple[int | None, str]:
    """(exit status or None after a timeout, output) of pytest up to the first failure."""
    env = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    env |= {"PYTHONPATH": str(tree), "COLUMNS": "300"}
    env.setdefault("NASJAX_DATA", str(data))
    told = subprocess.run(
        [sys.executable, "-c", "import nasjax; print(nasjax.__file__)"],
        env=env, cwd=tree.parent, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if not Path(told.strip()).is_relative_to(tree):
        raise Unfit(f"The tests would import {told.strip()}, not the copy in {tree}.")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0"]
    command += ["-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, f"--basetemp={tree.parent / 'tests'}", *tests],
        env=env, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        with contextlib.suppress(ProcessLookupError):  # and their children
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges the faults in turn; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of faults")
    parser.add_argument("--tree", type=Path, default=ROOT, help="what is copied")
    parser.add_argument("-o", dest="results", type=Path, help="JSON file of outcomes")
    parser.add_argument("--timeout", type=float, default=600.0, help="of each, seconds")
    options = parser.parse_args(arguments)
    tree, known = options.tree.resolve(), {fault.name for fault in FAULTS}
    if unknown := set(options.only or ()) - known:
        parser.error(f"unknown {', '.join(sorted(unknown))}; known are {sorted(known)}")
    chosen = [f for f in FAULTS if options.only is None or f.name in options.only]
    found: dict[str, Any] = {}
    if options.results and options.results.exists():
        found = json.loads(options.results.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="mutations_") as work:
        sound, planted = Path(work).resolve() / "sound", Path(work).resolve() / "run"
        copy(tree, sound)
        for fault in chosen:
            begun, identity = time.perf_counter(), [str(tree), *fault[:4], [*fault[4]]]
            row = found.get(fault.name, {})
            if row.get("fault") != identity or row["outcome"] == "error":
                shutil.copytree(sound, planted / "tree")
                try:
                    data = tree.parent / "shared" / "data"
                    done = judge(fault, planted / "tree", sound, data, options.timeout)
                except Unfit as error:
                    done = Judgement("error", str(error))
                shutil.rmtree(planted)
                seconds = round(time.perf_counter() - begun, 1)
                row = {"seconds": seconds, **done._asdict(), "fault": identity}
                found[fault.name] = row
                if options.results:
                    text = json.dumps(found, indent=2) + "\n"
                    options.results.write_text(text, encoding="utf-8")
            line = f"{fault.name:33} {row['outcome']:9} {row['seconds']:6.1f} s"
            print(f"{line}  {row['by']}".rstrip(), flush=True)
            for test in row.get("unsound", ()):
                print(f"    counts for nothing, fails without the fault: {test}")
            if row["outcome"] == "error":
                print(*row.get("said", ()), sep="\n    ", flush=True)
    caught = sum(found[fault.name]["outcome"] == "caught" for fault in chosen)
    print(f"caught {caught} of {len(chosen)}")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
