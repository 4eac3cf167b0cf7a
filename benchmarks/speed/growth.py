"""``python -m benchmarks.speed.growth --out FOLDER``: how time and memory of annealing grow."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from benchmarks.harness import command_line, drawing
from benchmarks.harness.tables import machine, markdown
from benchmarks.speed.stepping import annealing_cases
from benchmarks.speed.timing import Timing, compare

HEADER = ("walkers", "d", "steps", "ms a run", "range", "ns a number and step", "MiB")


class Size(NamedTuple):
    """Of one annealing of two modes."""

    num_walkers: int
    dimension: int
    num_steps: int


#: What grows, and what stays as it is meanwhile.
SWEEPS: dict[str, list[Size]] = {
    "walkers": [Size(10**power, 2, 20) for power in range(2, 8)],
    "dimension": [Size(1000, 4**power, 20) for power in range(0, 7)],
    "steps": [Size(1000, 10, 10**power) for power in range(1, 6)],
}


def main(
    out: Path, quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False, rounds: int = 5
) -> None:
    """Time annealing to two modes against the numbers of walkers, dimensions and steps.

    Parameters
    ----------
    out
        Folder for growth.png and growth.md.
    quick
        The three smallest sizes of each, to see that it works.
    rounds
        How often each size is run.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows, found = [], {}
    for name, sizes in SWEEPS.items():
        chosen = sizes[:3] if quick else sizes
        found[name] = [(size, measure(size, rounds)) for size in chosen]
        rows += [_cells(*pair) for pair in found[name]]
        print(name, *(" | ".join(_cells(*pair)) for pair in found[name]), sep="\n", flush=True)
    preamble = (
        f"{machine('jax')} Annealing from a Gaussian to two modes by Langevin steps with their "
        "weights, float32, resampled below half of the walkers; memory as XLA has laid it out, "
        "the walkers before and after included."
    )
    (out / "growth.md").write_text(f"{preamble}\n\n{markdown(HEADER, rows)}\n")
    _draw(found, out)


def measure(size: Size, num_rounds: int) -> Timing:
    """Milliseconds of a whole run."""
    (case,) = annealing_cases(*size).values()
    return compare({"annealing": case._replace(num_steps=1)}, num_rounds)["annealing"]


def _cells(size: Size, cost: Timing) -> tuple[str, ...]:
    each = 1e6 * cost.median / np.prod(size, dtype=float)
    return (
        *map(str, size),
        f"{cost.median:.3g}",
        f"{cost.low:.3g} to {cost.high:.3g}",
        f"{each:.3g}",
        f"{cost.num_bytes / 2**20:.3g}",
    )


def _draw(found: dict[str, list[tuple[Size, Timing]]], folder: Path) -> None:
    """Time above, memory below, each with the line of proportional growth."""
    figure, axes = drawing.panels(len(found), 2, sharex="col")
    for column, (name, pairs) in enumerate(found.items()):
        x = np.array([size[column] for size, _ in pairs], float)
        costs = [cost for _, cost in pairs]
        seconds = np.array([(of.median, of.low, of.high) for of in costs]).T / 1000
        held = np.array([of.num_bytes for of in costs]) / 2**20
        for row, y in enumerate((seconds[0], held)):
            axis = axes[row][column]
            axis.loglog(x, y, "o-", color="0")
            axis.loglog(x, y[-1] * x / x[-1], ":", color="0.5", label="in proportion")
        axes[0][column].fill_between(x, *seconds[1:], color="0", alpha=0.15, linewidth=0)
        fixed = ("d = 2, 20 steps", "1000 walkers, 20 steps", "1000 walkers, d = 10")[column]
        axes[0][column].set_title(fixed)
        axes[1][column].set_xlabel(name)
    axes[0][0].set_ylabel("seconds a run")
    axes[1][0].set_ylabel("MiB held")
    axes[0][0].legend()
    drawing.save(figure, folder, "growth")


if __name__ == "__main__":
    command_line.start(main)
