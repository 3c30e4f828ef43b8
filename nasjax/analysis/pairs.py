"""Which set of runs is tested against which, by the seeds that both have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from nasjax.analysis.significance import holm, paired, t_test
from nasjax.core.errors import UserError

FEWEST = 2  # pairs of a test


def bases(
    sets: Collection[str], baseline: str, against: Mapping[str, str]
) -> dict[str, str]:
    """Set -> the set that it is tested against, without sets that are not tested.

    Args:
      sets: names of all sets.
      baseline: the set that sets are tested against.
      against: other choices.

    Raises:
      UserError: there is no such set, or a set is its own base.
    """
    for name in (baseline, *against, *against.values()):
        if name not in sets:
            raise UserError(
                f"There is no set {name!r} among {', '.join(sets)}; name one of them."
            )
    for name, base in against.items():
        if name == base:
            raise UserError(
                f"--against names {name} twice, but a set is tested against another "
                "one; name two sets."
            )
    chosen = {name: against.get(name, baseline) for name in sets}
    return {name: base for name, base in chosen.items() if name != base}


def unpaired(
    seeds: Mapping[str, Collection[int]], bases: Mapping[str, str]
) -> list[str]:
    """Sentences on the sets that have other seeds than their bases.

    seeds: of each set.
    """
    said, apart = [], []
    for name, base in bases.items():
        ours, theirs = set(seeds[name]), set(seeds[base])
        listed = [
            f"{', '.join(map(str, sorted(own)))} (only {one})"
            for one, own in ((name, ours - theirs), (base, theirs - ours))
            if own
        ]
        if len(ours & theirs) < FEWEST:
            apart.append(f"{name} against {base}")
        elif listed:
            said.append(
                f"The test of {name} against {base} leaves out the seeds "
                f"{' and '.join(listed)}."
            )
    if apart:
        said.append(
            f"Not tested, because they share fewer than {FEWEST} seeds: "
            f"{', '.join(apart)}."
        )
    return said


def compared(
    values: Mapping[str, Mapping[int, float]],
    bases: Mapping[str, str],
    higher_is_better: bool,
) -> dict[str, dict[str, Any]]:
    """Set -> its comparison with its base, see `nasjax.analysis.compare.measure`.

    Sets that share fewer than `FEWEST` seeds with their base are left out.

    values: set -> seed -> value.
    """
    made: dict[str, dict[str, Any]] = {}
    for name, base in bases.items():
        seeds = sorted(set(values[name]) & set(values[base]))
        if len(seeds) < FEWEST:
            continue
        ours, theirs = ([values[one][seed] for seed in seeds] for one in (name, base))
        welch = t_test([*values[name].values()], [*values[base].values()])
        made[name] = {
            "against": base,
            "seeds": seeds,
            **paired(ours, theirs, higher_is_better)._asdict(),
            "p_welch": welch.p_value,
            "p_one_sample": welch.p_one_sample,
        }
    corrected = holm({name: own["p_value"] for name, own in made.items()})
    return {name: own | {"p_holm": corrected[name]} for name, own in made.items()}
