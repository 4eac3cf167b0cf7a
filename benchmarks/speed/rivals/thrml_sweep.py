"""thrml's block Gibbs sampling of Ising spins beside our sweep and the textbooks'.

Its blocks are the colours of the checkerboard, its couplings arrays of numbers: it samples any
graph, where the textbook and we know a lattice. As its documentation does it, chains are mapped
over and nothing is kept but the last state.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from thrml import Block, SamplingSchedule, SpinNode, sample_states
from thrml.models import IsingEBM, IsingSamplingProgram

from benchmarks.speed import spins
from benchmarks.speed.rivals import one_process
from benchmarks.speed.timing import Case
from jarzynski_jax.targets.lattice import bond_sum
from jarzynski_jax.types import Array, PRNGKey

_LENGTH = 32


def sweep_cases(num_walkers: int, num_sweeps: int) -> dict[str, Case]:
    """A torus of 32 x 32, random spins; RuntimeError if thrml's are not distributed as ours."""
    cases = spins.sweep_cases(num_walkers, _LENGTH, num_sweeps)
    theirs = _thrml(num_walkers, num_sweeps)
    _check_energies(cases["textbook, in one array"], theirs)
    return {**cases, "thrml": theirs}


def _thrml(num_walkers: int, num_sweeps: int) -> Case:
    nodes = np.array([[SpinNode() for _ in range(_LENGTH)] for _ in range(_LENGTH)])
    model = IsingEBM(
        list(nodes.ravel()),
        edges := list(_edges(nodes)),
        jnp.zeros(nodes.size),
        jnp.ones(len(edges)),
        jnp.array(spins.INVERSE_TEMPERATURE),
    )
    colours = np.indices(nodes.shape).sum(axis=0) % 2
    blocks = [Block(list(nodes[colours == colour])) for colour in (0, 1)]
    program = IsingSamplingProgram(model, blocks, clamped_blocks=[])
    schedule = SamplingSchedule(n_warmup=num_sweeps, n_samples=1, steps_per_sample=1)

    def sweep(halves: list[Array], rng_key: PRNGKey) -> Array:
        def of_chain(key: PRNGKey, halves: list[Array]) -> Array:
            every = [Block(list(nodes.ravel()))]
            return sample_states(key, program, schedule, halves, [], every)[0]

        return jax.vmap(of_chain)(jax.random.split(rng_key, num_walkers), halves)

    shape = (2, num_walkers, nodes.size // 2)
    halves = list(jax.random.bernoulli(jax.random.key(0), shape=shape))
    return Case(sweep, (halves, jax.random.key(1)), num_sweeps)


def _edges(nodes: np.ndarray) -> Iterator[tuple[SpinNode, SpinNode]]:
    for axis in (0, 1):
        yield from zip(nodes.ravel(), np.roll(nodes, -1, axis).ravel(), strict=True)


def _check_energies(ours: Case, theirs: Case) -> None:
    """Compare the sums over bonds after as many sweeps, by their standard errors."""
    states = jax.jit(theirs.fn)(*theirs.args).reshape(-1, _LENGTH, _LENGTH)
    both = jax.jit(ours.fn)(*ours.args), jnp.where(states, 1.0, -1.0)
    sums = [np.asarray(jax.vmap(bond_sum)(of), np.float64) for of in both]
    error = math.hypot(*(of.std(ddof=1) / math.sqrt(len(of)) for of in sums))
    deviation = abs(sums[0].mean() - sums[1].mean()) / error
    if not deviation < 6:
        raise RuntimeError(f"thrml's energies are {deviation:.1f} standard errors from ours")


if __name__ == "__main__":
    one_process.start(sweep_cases, ("thrml",))
