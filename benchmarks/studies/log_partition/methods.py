"""Our annealing and BlackJAX's adaptive tempered SMC, told to use a number of gradients.

Gradients are counted for each walker; values alone are not. To find a temperature ours looks at
26 values of a tenth of the walkers, BlackJAX at one of each.
"""

from collections.abc import Callable
from typing import NamedTuple

import blackjax
import blackjax.smc.resampling as blackjax_resampling
import jax
import jax.numpy as jnp

from benchmarks.studies.log_partition.problems import Problem
from jarzynski_jax import walkers
from jarzynski_jax.annealing import anneal, schedules, tempering_path
from jarzynski_jax.density import check_exact
from jarzynski_jax.interop import blackjax as adapters
from jarzynski_jax.kernels import invariant, kinetic, ula
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics


class Estimate(NamedTuple):
    """log Z in nats, gradients a walker, and how many temperatures there were."""

    log_partition_function: Array
    num_gradients: Array
    num_temperatures: Array


#: ``(rng_key, step_size, value) -> Estimate``, with a leapfrog's step size and the value of an
#: option.
Estimator = Callable[[PRNGKey, Array, Array], Estimate]


class Option(NamedTuple):
    """What there is to choose beside the step size.

    value
        The friction of kinetic Langevin, in units of the inverse of the problem's step size;
        the effective sample size that BlackJAX's temperatures keep.
    num_leapfrog
        Leapfrog steps of a move: one for all but HMC.
    """

    value: float = 0.0
    num_leapfrog: int = 1

    def __str__(self) -> str:
        value = f"{self.value:g}" if self.value > 0 else ""
        length = f"L = {self.num_leapfrog}" if self.num_leapfrog > 1 else ""
        return ", ".join(filter(None, (value, length)))


class Method(NamedTuple):
    """How a method is told apart, and the options that are tried."""

    label: str
    is_ours: bool
    options: tuple[Option, ...]


_SHARES = (0.9, 0.5, 0.99)
METHODS = {
    "ula": Method("ULA, weighted", True, (Option(),)),
    "kinetic": Method("kinetic, weighted", True, (Option(0.1), Option(0.03), Option(0.3))),
    "hmc": Method("HMC, annealed", True, (Option(0, 10), Option(0, 5))),
    "blackjax_mala": Method("BlackJAX SMC, MALA", False, tuple(map(Option, _SHARES))),
    "blackjax_hmc": Method(
        "BlackJAX SMC, HMC",
        False,
        tuple(Option(share, length) for length in (5, 10) for share in _SHARES),
    ),
}


def build_ours(
    name: str, problem: Problem, num_walkers: int, budget: int, num_leapfrog: int
) -> Estimator:
    """Anneal with a schedule found by a tenth of the walkers, which the budget pays for."""
    path = tempering_path(problem.base.logdensity_fn, problem.log_likelihood)
    # An HMC move of ours has no gradient from before, as the target is new.
    cost = 1 + num_leapfrog if name == "hmc" else 1
    num_scouts = max(num_walkers // 10, 1)
    num_steps = max((budget - budget // 10) // cost, 1)

    def start(key: PRNGKey, number: int, dynamics: Dynamics) -> walkers.Walkers:
        x = check_exact(problem.base)[0](key, number)
        return walkers.init(x, path(0.0), dynamics.kernel_init)

    def estimate(rng_key: PRNGKey, step_size: Array, value: Array) -> Estimate:
        dynamics = _dynamics(name, problem, step_size, value, num_leapfrog)
        keys = jax.random.split(rng_key, 4)
        # The scouts of HMC, too, walk with one gradient a step, a tenth of the budget at most.
        scouting = dynamics if name != "hmc" else _dynamics("ula", problem, step_size, value, 1)
        scouts = start(keys[0], num_scouts, scouting)
        _, found = schedules.anneal_adaptively(keys[1], scouts, path, scouting, 0.9, budget)
        times = schedules.refine(found, num_steps)
        end, _ = anneal(keys[3], start(keys[2], num_walkers, dynamics), path, times, dynamics)
        # Langevin walkers have taken their first gradient before they move.
        walked = cost * num_steps + (0 if name == "hmc" else 1)
        scouted = (found.num_steps + 1) * (num_scouts / num_walkers)
        log_z = walkers.log_partition_function(end)
        return Estimate(log_z, walked + scouted, jnp.array(num_steps))

    return estimate


def _dynamics(
    name: str, problem: Problem, step_size: Array, value: Array, num_leapfrog: int
) -> Dynamics:
    resampler = adaptive(systematic, 0.5)
    if name == "ula":
        return Dynamics(ula.as_move(jnp.square(step_size) / 2), 1, resampler)
    if name == "kinetic":
        return Dynamics(kinetic.as_move(step_size, value / problem.step_size), 1, resampler)
    kernel = adapters.invariant_kernel(blackjax.hmc)
    metric = jnp.ones(problem.target.dimension)
    move = invariant.markov_move(kernel, step_size, metric, num_leapfrog)
    return Dynamics(move, 1, resampler)


def build_blackjax(
    name: str,
    problem: Problem,
    num_walkers: int,
    num_moves: int,
    num_leapfrog: int,
    max_steps: int,
) -> Estimator:
    """Run ``adaptive_tempered_smc`` to the target, with so many moves at each temperature."""
    is_hmc = name == "blackjax_hmc"
    sampler = blackjax.hmc if is_hmc else blackjax.mala

    def estimate(rng_key: PRNGKey, step_size: Array, value: Array) -> Estimate:
        parameters = {"step_size": (step_size if is_hmc else jnp.square(step_size) / 2)[None]}
        if is_hmc:
            parameters["inverse_mass_matrix"] = jnp.ones((1, problem.target.dimension))
            parameters["num_integration_steps"] = jnp.array([num_leapfrog])
        smc = blackjax.adaptive_tempered_smc(
            problem.base.logdensity_fn,
            problem.log_likelihood,
            sampler.build_kernel(),
            sampler.init,
            parameters,
            blackjax_resampling.systematic,
            value,
            num_mcmc_steps=num_moves,
        )

        def is_on_the_way(carry: tuple) -> Array:
            state, _, index = carry
            return (state.tempering_param < 1) & (index < max_steps)

        def step(carry: tuple) -> tuple:
            state, log_z, index = carry
            state, info = smc.step(jax.random.fold_in(key_steps, index), state)
            return state, log_z + info.log_likelihood_increment, index + 1

        key_start, key_steps = jax.random.split(rng_key)
        state = smc.init(check_exact(problem.base)[0](key_start, num_walkers))
        state = state._replace(tempering_param=jnp.zeros(()))
        start = (state, jnp.zeros(()), jnp.zeros((), jnp.int32))
        state, log_z, index = jax.lax.while_loop(is_on_the_way, step, start)
        is_there = state.tempering_param >= 1
        # At each temperature a gradient where the particles stand, and those of the moves.
        num_gradients = index * (1 + num_moves * num_leapfrog)
        return Estimate(jnp.where(is_there, log_z, jnp.nan), num_gradients, index)

    return estimate
