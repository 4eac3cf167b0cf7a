"""Our one call and BlackJAX's adaptive tempered SMC, told to use a number of gradients.

Gradients are counted for each walker; values alone are not. To find a temperature our pilot
looks at 26 values of each of its walkers, BlackJAX at one of each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import blackjax.smc.resampling as blackjax_resampling
import jax
import jax.numpy as jnp
from blackjax.smc import extend_params
from blackjax.smc.tuning.from_particles import particles_stds
from blackjax.smc.waste_free import waste_free_smc

from benchmarks.studies.log_partition.problems import Problem
from jarzynski_jax import annealing
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.types import Array, PRNGKey


class Estimate(NamedTuple):
    """log Z in nats, gradients a walker, and how many temperatures there were."""

    log_partition_function: Array
    num_gradients: Array
    num_temperatures: Array


#: ``(rng_key, step_size, value) -> Estimate``, with a leapfrog's step size and the effective
#: sample size that temperatures keep; ours needs neither.
Estimator = Callable[[PRNGKey, Array, Array], Estimate]


class Option(NamedTuple):
    """What there is to choose beside the step size.

    value
        The effective sample size that BlackJAX's temperatures keep.
    num_leapfrog
        Leapfrog steps of a move: one for all but HMC.
    num_chain
        Of waste-free SMC: states of each chain that are all kept, the first included.
    """

    value: float = 0.0
    num_leapfrog: int = 1
    num_chain: int = 0

    def __str__(self) -> str:
        value = f"{self.value:g}" if self.value > 0 else ""
        length = f"L = {self.num_leapfrog}" if self.num_leapfrog > 1 else ""
        chain = f"chains of {self.num_chain}" if self.num_chain else ""
        return ", ".join(filter(None, (value, length, chain)))


class Method(NamedTuple):
    """How a method is told apart, and the options that are tried; ours has nothing to tune."""

    label: str
    is_ours: bool
    options: tuple[Option, ...]


_SHARES = (0.9, 0.5, 0.99)
METHODS = {
    "estimate": Method("annealing.estimate, untuned", True, (Option(),)),
    "blackjax_mala": Method("BlackJAX SMC, MALA", False, tuple(map(Option, _SHARES))),
    "blackjax_hmc": Method(
        "BlackJAX SMC, HMC",
        False,
        tuple(Option(share, length) for length in (5, 10) for share in _SHARES),
    ),
    "blackjax_tuned": Method(
        "BlackJAX SMC, HMC, mass matrix from particles",
        False,
        tuple(Option(share, 5) for share in _SHARES),
    ),
    "blackjax_waste_free": Method(
        "BlackJAX SMC, HMC, waste-free",
        False,
        tuple(Option(share, 5, chain) for chain in (8, 32) for share in _SHARES[:2]),
    ),
}


def build_ours(problem: Problem, num_walkers: int, budget: int) -> Estimator:
    """Call :func:`~jarzynski_jax.annealing.estimate` as a user does, with its defaults."""
    base, target = problem.base, Density(problem.target.logdensity_fn)

    def estimate(rng_key: PRNGKey, step_size: Array, value: Array) -> Estimate:
        del step_size, value
        found = annealing.estimate(
            rng_key,
            base,
            target,
            num_gradients=budget * num_walkers,
            num_walkers=num_walkers,
        )
        return Estimate(
            jnp.asarray(found.log_partition_function),
            jnp.asarray(found.num_gradients / num_walkers),
            jnp.asarray(found.choices.times.shape[0]),
        )

    return estimate


def build_blackjax(
    name: str,
    problem: Problem,
    num_walkers: int,
    size: int,
    option: Option,
    max_steps: int,
) -> Estimator:
    """Run ``adaptive_tempered_smc`` to the target.

    ``size`` is the number of moves at each temperature; of waste-free SMC, whose moves all
    become particles, it is the number of chains. Its gradients, too, are told for each of
    ``num_walkers``.
    """
    num_particles = size * option.num_chain or num_walkers
    of_temperature = gradients_each(option, size) * num_particles / num_walkers
    is_tuned = name == "blackjax_tuned"

    def estimate(rng_key: PRNGKey, step_size: Array, value: Array) -> Estimate:
        smc = _sampler(name, problem, num_particles, size, option, step_size, value)

        def tempered(state: Any) -> Any:
            return state.sampler_state if is_tuned else state

        def is_on_the_way(carry: tuple) -> Array:
            state, _, index = carry
            return (tempered(state).tempering_param < 1) & (index < max_steps)

        def step(carry: tuple) -> tuple:
            state, log_z, index = carry
            state, info = smc.step(jax.random.fold_in(key_steps, index), state)
            return state, log_z + info.log_likelihood_increment, index + 1

        key_start, key_steps = jax.random.split(rng_key)
        state = smc.init(check_exact(problem.base)[0](key_start, num_particles))
        # As an array, or the loop would find another type after its first step.
        inner = tempered(state)._replace(tempering_param=jnp.zeros(()))
        state = state._replace(sampler_state=inner) if is_tuned else inner
        start = (state, jnp.zeros(()), jnp.zeros((), jnp.int32))
        state, log_z, index = jax.lax.while_loop(is_on_the_way, step, start)
        is_there = tempered(state).tempering_param >= 1
        return Estimate(jnp.where(is_there, log_z, jnp.nan), index * of_temperature, index)

    return estimate


def gradients_each(option: Option, size: int) -> float:
    """Gradients a particle at each temperature: where it stands, and of the moves."""
    if option.num_chain:
        return (1 + (option.num_chain - 1) * option.num_leapfrog) / option.num_chain
    return 1 + size * option.num_leapfrog


def size_for(option: Option, num_walkers: int, gradients: float) -> int:
    """Moves, or chains, that so many gradients a walker pay for at each temperature."""
    if option.num_chain:
        of_chain = gradients_each(option, 1) * option.num_chain
        return max(int(gradients * num_walkers / of_chain), 1)
    return max(int((gradients - 1) / option.num_leapfrog), 1)


def _sampler(
    name: str,
    problem: Problem,
    num_particles: int,
    num_moves: int,
    option: Option,
    step_size: Array,
    value: Array,
) -> Any:
    """BlackJAX's sampler, with its parameters as its documentation has them."""
    dimension = problem.target.dimension
    assert dimension is not None
    is_mala = name == "blackjax_mala"
    sampler = blackjax.mala if is_mala else blackjax.hmc
    hmc = {
        "step_size": step_size,
        "inverse_mass_matrix": jnp.ones(dimension),
        "num_integration_steps": jnp.array(option.num_leapfrog),
    }
    parameters = extend_params({"step_size": jnp.square(step_size) / 2} if is_mala else hmc)
    common = {
        "logprior_fn": problem.base.logdensity_fn,
        "loglikelihood_fn": problem.log_likelihood,
        "mcmc_step_fn": sampler.build_kernel(),
        "mcmc_init_fn": sampler.init,
        "resampling_fn": blackjax_resampling.systematic,
        "target_ess": value,
    }
    if option.num_chain:
        strategy = waste_free_smc(num_particles, option.num_chain)
        return blackjax.adaptive_tempered_smc(
            **common, mcmc_parameters=parameters, num_mcmc_steps=None, update_strategy=strategy
        )
    if name != "blackjax_tuned":
        return blackjax.adaptive_tempered_smc(
            **common, mcmc_parameters=parameters, num_mcmc_steps=num_moves
        )

    def learn(rng_key: PRNGKey, state: Any, info: Any) -> dict[str, Array]:
        """Coordinates in units of the particles' spread, which the step size is then in too."""
        del rng_key, info
        variances = jnp.square(particles_stds(state.particles))
        return extend_params(hmc | {"inverse_mass_matrix": variances})

    return blackjax.inner_kernel_tuning(
        blackjax.adaptive_tempered_smc,
        **common,
        mcmc_parameter_update_fn=learn,
        initial_parameter_value=extend_params(
            hmc | {"inverse_mass_matrix": jnp.full(dimension, problem.base_scale**2)}
        ),
        num_mcmc_steps=num_moves,
    )
