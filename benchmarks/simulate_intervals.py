"""Simulate how often the intervals of a verdict contain the truth: ``python benchmarks/simulate_intervals.py``.

``bootstrap``: the 95 % BCa interval over K groups of three figures, with independent groups: the mean of normal values,
the mean of a PLCC whose distance from 1 is log-normal, and the RMSE of groups whose mean squared errors are log-normal.
``jackknife`` and ``student``: a least-squares line through six inputs is fitted to K groups; the half-width comes from
its leave-one-group-out errors, and the line fitted to all groups predicts rows of new ones. The groups have a mean
error of their own: normal, of Student's t with 3 degrees of freedom, or normal with deviations within the groups that
differ (log-normal). Prints the entries of kit/verdict/simulated.py: lowest and highest coverage of the three, by K.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kit.verdict.half_widths import LEVELS, conformal_half_width, student_half_width
from kit.verdict.intervals import interval

Values = NDArray[np.float64]
GROUPS = (3, 4, 5, 6, 7, 8, 9, 12, 15, 19, 25, 30, 40)
SEED = 15
#: Rows of a group, and inputs of the line besides its constant.
ROWS, INPUTS = 40, 6
NEW_GROUPS = 5
#: Standard deviation over groups of ln(1 - PLCC) and of ln(mean squared error): measured 1.05 and 1.15 on the nine demo
#: clips, 0.99 and 1.42 on six real ones.
PLCC_SKEW, SQUARE_SKEW = 1.0, 1.3


def bootstrap(groups: int, repetitions: int) -> dict[str, float]:
    """Return the share of 95 % BCa intervals that contain the truth, by distribution of the groups."""
    generator = np.random.default_rng([SEED, groups])
    truths = {
        "normal": 0.0,
        "plcc": 1 - 0.01 * float(np.exp(PLCC_SKEW**2 / 2)),
        "rmse": float(np.exp(SQUARE_SKEW**2 / 4)),
    }
    hits = dict.fromkeys(truths, 0)
    for _ in range(repetitions):
        for name, truth in truths.items():
            normal = generator.normal(size=groups)
            values = {
                "normal": normal,
                "plcc": 1 - 0.01 * np.exp(PLCC_SKEW * normal),
                "rmse": np.exp(SQUARE_SKEW * normal),
            }[name]

            def figure(index: NDArray[np.int64], name: str = name, values: Values = values) -> Values:
                mean: Values = values[index].mean(axis=-1)
                return np.sqrt(mean) if name == "rmse" else mean

            found = interval(figure, groups)
            low, high = found["low"], found["high"]
            hits[name] += isinstance(low, float) and isinstance(high, float) and low <= truth <= high
    return {name: count / repetitions for name, count in hits.items()}


def score_intervals(groups: int, repetitions: int) -> Iterator[tuple[str, str, float, float]]:
    """Yield method, distribution, level and the share of rows of new groups inside the interval."""
    methods: dict[str, Callable[[float, list[Values]], float]] = {
        "jackknife": lambda level, errors: conformal_half_width(level, errors, groups),
        "student": student_half_width,
    }
    for kind in ("normal", "heavy", "uneven"):
        generator = np.random.default_rng([SEED, groups, len(kind)])
        inside = {(method, level): 0.0 for method in methods for level in LEVELS}
        for _ in range(repetitions):
            own, new = _fitted(generator, groups, kind)
            sizes = np.abs(np.concatenate(new))
            for method, level in inside:
                if method == "student" or level <= groups / (groups + 1) + 1e-9:
                    inside[method, level] += float(np.mean(sizes <= methods[method](level, own)))
        for (method, level), total in inside.items():
            if total > 0:
                yield method, kind, level, total / repetitions


def _fitted(generator: np.random.Generator, groups: int, kind: str) -> tuple[list[Values], list[Values]]:
    """Return the leave-one-group-out errors of each group, and the errors of the whole fit on new groups."""
    count = groups + NEW_GROUPS
    known = generator.normal(size=(count, 1, INPUTS)) + generator.normal(size=(count, ROWS, INPUTS))
    known = np.concatenate([known, np.ones((count, ROWS, 1))], axis=2)
    between = generator.standard_t(3, count) / np.sqrt(3) if kind == "heavy" else generator.normal(size=count)
    within = np.exp(0.5 * generator.normal(size=count)) if kind == "uneven" else np.ones(count)
    target = between[:, None] + within[:, None] * generator.normal(size=(count, ROWS))  # the true line is 0
    squares = np.einsum("gri,grj->gij", known[:groups], known[:groups])
    products = np.einsum("gri,gr->gi", known[:groups], target[:groups])
    weights = np.linalg.solve(squares.sum(0) - squares, (products.sum(0) - products)[..., None])[..., 0]
    whole = np.linalg.solve(squares.sum(0), products.sum(0))
    own = [known[group] @ weights[group] - target[group] for group in range(groups)]
    return own, [known[group] @ whole - target[group] for group in range(groups, count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    repetitions = parser.parse_args().repetitions
    print("BOOTSTRAP")
    for groups in GROUPS:
        shares = bootstrap(groups, repetitions)
        print(f"    {groups}: ({min(shares.values()):.3f}, {max(shares.values()):.3f}),  # {shares}", flush=True)
    found: dict[tuple[str, float], dict[int, list[float]]] = {}
    for groups in GROUPS:
        for method, _, level, share in score_intervals(groups, repetitions):
            found.setdefault((method, level), {}).setdefault(groups, []).append(share)
    for (method, level), by_groups in found.items():
        print(method.upper(), level)
        for groups, scored in by_groups.items():
            print(f"    {groups}: ({min(scored):.3f}, {max(scored):.3f}),")


if __name__ == "__main__":
    main()
