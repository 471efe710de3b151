"""How often the conclusion on the codec block says "helps" or "harms" where the block has no effect.

    python benchmarks/simulate_codec_block.py [--draws 20000]

A corpus has 3, 9 or 19 content groups and 2 to 9 held-out encoders. The difference of RMSE of a group has mean 0: a
part of its own and a part that the groups of a set share with their networks, in VMAF points. Printed: the share of
corpora whose conclusion says "helps" or "harms" for some encoder, and how often it says so for an effect of 0.2 points.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kit.core import contract
from kit.verdict.codec_block import effect

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Values]

#: Differences of one group around their mean, with standard deviation 1.
SHAPES: dict[str, Draw] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "heavy tails": lambda generator, shape: generator.standard_t(4, size=shape) / np.sqrt(2),
    "skewed": lambda generator, shape: generator.exponential(size=shape) - 1,
}
#: Numbers of content groups, and of encoders that are held out.
GROUPS, ENCODERS = (3, 9, 19), (2, 3, 9)
#: Standard deviations of a group's own part and of what a set shares, VMAF points, as on six clips (docs/adr/0026).
OWN, SHARED = 0.3, 0.1
#: RMSE without the block, VMAF points.
_RMSE = 1.0


def concluded(groups: int, encoders: int, shape: str, *, shift: float, draws: int, seed: int = 0) -> float:
    """Return the share of corpora whose conclusion says "helps" or "harms" for some encoder.

    Args:
        shift: effect of the block, VMAF points; 0 for none.
    """
    generator = np.random.default_rng([seed, groups, encoders])
    count = min(contract.UNSEEN_SETS, groups)
    of_group = np.arange(groups) % count
    sets = [str(number) for number in of_group]
    own = OWN * SHAPES[shape](generator, (draws, encoders, groups))
    shared = SHARED * generator.normal(size=(draws, encoders, count))
    off = shift + own + shared[:, :, of_group]
    without = np.full(groups, _RMSE)
    named = 0
    for corpus in off:
        named += any(effect(without + one, without, sets, encoders).direction for one in corpus)
    return named / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000, help="corpora of each case")
    draws = parser.parse_args().draws
    print("| groups | encoders | " + " | ".join(SHAPES) + " | an effect of 0.2 is named |")
    print("|---|---|" + "---|" * (len(SHAPES) + 1))
    for groups in GROUPS:
        for encoders in ENCODERS:
            shares = [concluded(groups, encoders, shape, shift=0.0, draws=draws) for shape in SHAPES]
            power = concluded(groups, encoders, "normal", shift=0.2, draws=max(1, draws // 10))
            cells = [f"{100 * share:.1f} %" for share in (*shares, power)]
            print(f"| {groups} | {encoders} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
