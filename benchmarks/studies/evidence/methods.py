"""Ways to an evidence: ours, and the nested samplers of other libraries.

A method is given a model and makes ``run(seed)``, which is timed. What that returns sums the
run up, untimed: what a method takes to state its error is not held against it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer import MCMC, NUTS

from benchmarks.studies.evidence.models import Model
from benchmarks.studies.evidence.rivals import blackjax_nss, dynesty_static, jaxns_default
from benchmarks.studies.evidence.runs import Method, Result, Run, SumUp
from benchmarks.studies.evidence.settings import Settings
from jarzynski_jax import annealing
from jarzynski_jax.density import check_exact
from jarzynski_jax.interop.numpyro import Problem, from_model
from jarzynski_jax.types import Position, PRNGKey

__all__ = ["METHODS"]

_NUM_CHAINS = 8
_NUM_WARMUP = 300
#: Of a chain, of which every tenth is kept: 128 samples of all chains.
_NUM_SAMPLES = 160
_THINNING = 10


class Samples(NamedTuple):
    """Positions that NUTS found, leading axis draws times chains, and the gradients it took."""

    positions: Position
    num_gradients: int


def ours(model: Model, settings: Settings) -> Run:
    """``annealing.estimate`` as it is."""
    problem = from_model(model.model, *model.args)

    def run(seed: int) -> SumUp:
        return _sum_up(_estimate(jax.random.key(seed), problem, settings, None), 0)

    return run


def ours_with_nuts(model: Model, settings: Settings) -> Run:
    """The same, and backward from samples of NumPyro's NUTS, whose time counts."""
    problem = from_model(model.model, *model.args)
    sample = _sampler(problem)

    def run(seed: int) -> SumUp:
        key_nuts, key_estimate = jax.random.split(jax.random.key(seed))
        samples = sample(key_nuts)
        found = _estimate(key_estimate, problem, settings, samples.positions)
        return _sum_up(found, samples.num_gradients)

    return run


def _estimate(
    rng_key: PRNGKey, problem: Problem, settings: Settings, relaxed: Position | None
) -> annealing.LogPartitionEstimate:
    return annealing.estimate(
        rng_key,
        problem.prior,
        path=problem.path,
        num_gradients=settings.num_gradients,
        relaxed=relaxed,
    )


def _sampler(problem: Problem) -> Callable[[PRNGKey], Samples]:
    """Chains start at the prior's mean, on unconstrained space.

    Chains lie side by side in what is returned, so that each replicate has draws of all.
    """
    mcmc = MCMC(
        NUTS(potential_fn=lambda position: -problem.posterior.logdensity_fn(position)),
        num_warmup=_NUM_WARMUP,
        num_samples=_NUM_SAMPLES,
        thinning=_THINNING,
        num_chains=_NUM_CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )

    sample_prior, _ = check_exact(problem.prior)

    def start(leaf: jax.Array) -> jax.Array:
        return jnp.broadcast_to(leaf.mean(axis=0), (_NUM_CHAINS, *leaf.shape[1:]))

    def sample(rng_key: PRNGKey) -> Samples:
        key_prior, key_chains = jax.random.split(rng_key)
        draws = sample_prior(key_prior, 1024)
        mcmc.run(
            key_chains, init_params=jax.tree.map(start, draws), extra_fields=("num_steps",)
        )
        # Those of the warm-up, and of draws that were left out, are not told: as many a draw.
        steps = mcmc.get_extra_fields()["num_steps"]
        num_draws = _NUM_CHAINS * (_NUM_WARMUP + _NUM_SAMPLES)
        return Samples(
            jax.tree.map(_by_draw, mcmc.get_samples(group_by_chain=True)),
            int(jnp.mean(steps) * num_draws),
        )

    return sample


def _by_draw(leaf: Any) -> jax.Array:
    return jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])


def _sum_up(found: annealing.LogPartitionEstimate, more_gradients: int) -> SumUp:
    return lambda: Result(
        log_evidence=found.log_partition_function,
        error=found.standard_error,
        lower=found.bounds.lower,
        upper=found.bounds.upper,
        doubts="; ".join(found.doubts),
        num_calls=found.num_gradients + more_gradients,
    )


METHODS: dict[str, Method] = {
    "ours": Method("annealing.estimate", ours),
    "ours_with_nuts": Method("annealing.estimate, NUTS", ours_with_nuts),
    "dynesty": Method("dynesty", dynesty_static),
    "jaxns": Method("jaxns", jaxns_default),
    "blackjax": Method("BlackJAX NSS", blackjax_nss),
}
