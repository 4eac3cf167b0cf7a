"""``python -m benchmarks.speed --out FOLDER``: how fast, as JSON and as a table."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import tyro

from benchmarks.harness import command_line
from benchmarks.harness.tables import machine, markdown
from benchmarks.speed import brackets, flows, imaginary_time, spins
from benchmarks.speed.memory import HEADER as MEMORY_HEADER
from benchmarks.speed.memory import memory_rows
from benchmarks.speed.precision import HEADER as PRECISION_HEADER
from benchmarks.speed.precision import precision_rows
from benchmarks.speed.resampling import resampling_cases
from benchmarks.speed.stepping import annealing_cases, step_cases
from benchmarks.speed.timing import Case, Timing, compare
from benchmarks.speed.training import convnet, mixture_cases, mlp, network_cases


class Group(NamedTuple):
    """Cases that are timed by turns, and the one that the others are compared with."""

    name: str
    cases: dict[str, Case]
    baseline: str


def groups(quick: bool) -> Iterator[Group]:
    """All that is timed; a group at a time, so that its arrays can be freed."""
    few, many, pool = (1_000, 4_000, 10_000) if quick else (10_000, 100_000, 1_000_000)
    width, steps = (64, 5) if quick else (1024, 20)
    mixture = "mixture, d = 50, N ="
    yield Group(f"{mixture} {few}", mixture_cases(few, (pool // 10, pool), steps), "PCD")
    yield Group(f"{mixture} {many}", mixture_cases(many, (), steps // 4), "PCD")
    cases = network_cases(mlp, width, max(steps // 4, 2))
    yield Group(f"MLP 784-256-256-1, N = {width}", cases, "PCD")
    cases = network_cases(convnet, width // 4, max(steps // 10, 2))
    yield Group(f"ConvNet, six layers, N = {width // 4}", cases, "PCD")
    for size in (few, many):
        cases = step_cases(size, 50, steps)
        name = f"step on two modes, d = 50, N = {size}"
        yield Group(name, cases, "without weights, in one array")
    cases = annealing_cases(few, 50, steps)
    yield Group(f"annealing, d = 50, N = {few}", cases, "annealing")
    for size in (few, many, pool):
        yield Group(f"resampling, N = {size}", resampling_cases(size), "BlackJAX")
    yield from room_groups(quick)


def room_groups(quick: bool) -> Iterator[Group]:
    """Lattices, imaginary time, flows and decoders, each beside what it adds weights to."""
    sizes, length = ((50,), 8) if quick else ((100, 1000), 32)
    num_walkers, steps = (500, 5) if quick else (10_000, 20)
    for size in sizes:
        name = f"sweep of {length} x {length} Ising spins, N = {size}"
        cases = spins.sweep_cases(size, length, steps)
        yield Group(name, cases, "textbook, in one array")
    cases = imaginary_time.step_cases(num_walkers, steps)
    name = f"imaginary time, helium, N = {num_walkers}"
    yield Group(name, cases, "without weights, in one array")
    dimension, width = (4, 16) if quick else (16, 64)
    layer = flows.start_layer(num_walkers, dimension, width)
    name = f"layer of a flow, d = {dimension}, N = {num_walkers}"
    yield Group(name, flows.move_cases(layer), "flowjax's map with log-determinant")
    yield Group(name, flows.density_cases(layer), "flowjax's log_prob")
    if flows.bijx is not None:
        fields, side, *features = (8, 4, 6, 6) if quick else (128, 6, 20, 49)
        velocity = flows.start_velocity(fields, side, *features)
        name = f"velocity on {side} x {side} sites, N = {fields}"
        yield Group(name, flows.velocity_cases(velocity), "bijx's convolution")
        cases = flows.adjoint_cases(velocity)
        yield Group(f"{name}, with gradients", cases, "bijx's convolution")
    images = brackets.QUICK if quick else brackets.STANDARD
    name = (
        f"bracket of {images.length} x {images.length} images, {images.num_walkers} walkers, "
        "an image"
    )
    yield Group(name, brackets.bracket_cases(images, steps), "gradients alone, in one array")


def main(
    out: Path, quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False, rounds: int = 7
) -> None:
    """Time steps, training iterations, annealing, resampling and what other rooms add.

    Parameters
    ----------
    out
        Folder for speed.json and speed.md.
    quick
        Small sizes, to see that it works.
    rounds
        How often each case is run, by turns with the others of its group.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows, record = [], []
    for group in groups(quick):
        timings = compare(group.cases, rounds)
        base = timings[group.baseline].median
        for name, timing in timings.items():
            rows.append(_cells(group.name, name, timing, base))
            record.append({"group": group.name, "case": name, **timing._asdict()})
            print(" | ".join(rows[-1]), flush=True)
    header = ("group", "case", "ms a step", "range", "ratio", "compile (s)")
    memory = memory_rows(quick)
    precision = precision_rows(*((200, 20, 4) if quick else (2000, 400, 16)))
    preamble = f"{machine('jax', 'blackjax')} Device: {jax.devices()[0].device_kind}."
    parts = (
        preamble,
        markdown(header, rows),
        "Memory of a training step, 28x28 images, float32:",
        markdown(MEMORY_HEADER, memory),
        "Precision, annealing to two modes in 10 dimensions:",
        markdown(PRECISION_HEADER, precision),
    )
    (out / "speed.md").write_text("\n\n".join(parts) + "\n")
    found = {"machine": preamble, "rows": record, "memory": memory, "precision": precision}
    (out / "speed.json").write_text(json.dumps(found, indent=1))


def _cells(group: str, name: str, timing: Timing, base: float) -> tuple[str, ...]:
    return (
        group,
        name,
        f"{timing.median:.3g}",
        f"{timing.low:.3g} to {timing.high:.3g}",
        f"{timing.median / base:.2f}",
        f"{timing.compile_seconds:.1f}",
    )


if __name__ == "__main__":
    command_line.start(main)
