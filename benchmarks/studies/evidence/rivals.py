"""Nested samplers of other libraries, at the settings that their documentation recommends.

dynesty 3.1
    The static sampler with its defaults: 500 live points, multiple ellipsoids, uniform draws
    below 10 dimensions, random walks up to 20; its stopping rule, with live points added.
jaxns 3.0
    Its defaults, five slices a dimension and an expected remainder of a thousandth of Z; of its
    30 roots a dimension no more than the settings allow, for time.
BlackJAX 1.7
    ``blackjax.nss`` as its authors run it (Yallup, Kroupa and Handley, 2026): a tenth of the
    live points deleted at a time, until the live points hold e⁻³ of Z; with max(5, 2 d) slice
    moves each, as its documentation wants.

The first two move in the unit cube and in float64, as they ask for; BlackJAX on the
unconstrained space on which our walkers move, in float32 as they do.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.ns import utils as nested
from blackjax.ns.base import NSInfo
from jax.scipy.special import logsumexp

from benchmarks.studies.evidence.cube import Cube, on_the_cube
from benchmarks.studies.evidence.models import Model
from benchmarks.studies.evidence.runs import LeftOut, Result, Run, SumUp
from benchmarks.studies.evidence.settings import Settings
from jarzynski_jax.density import check_exact
from jarzynski_jax.interop.numpyro import from_model

__all__ = ["blackjax_nss", "dynesty_static", "jaxns_default"]

#: Of the volumes that nested sampling does not know, draws by which BlackJAX states its error.
_NUM_VOLUMES = 100
_SHARE_DELETED = 10
_LOG_REMAINDER = -3.0


def _require(name: str, wanted: str) -> None:
    """Interfaces have changed between versions: what is older is not tried."""
    try:
        installed = version(name)
    except PackageNotFoundError:
        raise LeftOut(f"{name} is not installed: pip install {name}") from None
    if [int(part) for part in installed.split(".")[:2]] < [int(p) for p in wanted.split(".")]:
        raise LeftOut(f"{name} {wanted} is wanted; {installed} is installed")


def _result(log_evidence: Any, error: Any, num_calls: Any) -> Result:
    """Nested samplers have no bounds."""
    nothing = float("nan")
    return Result(float(log_evidence), float(error), nothing, nothing, "", int(num_calls))


def dynesty_static(model: Model, settings: Settings) -> Run:
    """One compiled likelihood, called from Python point by point."""
    _require("dynesty", "3.1")
    import dynesty

    with jax.enable_x64(True):
        cube = on_the_cube(model)
        if cube.dimension > settings.max_dimension_dynesty:
            raise LeftOut(f"dynesty is left out beyond d = {settings.max_dimension_dynesty}")
        compiled = jax.jit(cube.log_likelihood)

    def log_likelihood(u: np.ndarray) -> float:
        return float(compiled(u))

    def run(seed: int) -> SumUp:
        with jax.enable_x64(True):
            sampler = dynesty.NestedSampler(
                log_likelihood,
                lambda u: u,
                cube.dimension,
                nlive=settings.num_live,
                rstate=np.random.default_rng(seed),
            )
            sampler.run_nested(print_progress=False)
        found = sampler.results
        return lambda: _result(found.logz[-1], found.logzerr[-1], np.sum(found.ncall))

    return run


def jaxns_default(model: Model, settings: Settings) -> Run:
    """Jaxns switches 64 bits on for all when it is imported: they are switched off again."""
    _require("jaxns", "3.0")
    was_enabled = jax.config.read("jax_enable_x64")
    try:
        from jaxns.core import NestedSampler
        from jaxns.model import Model as JaxnsModel
        from jaxns.priors import Prior
        from tensorflow_probability.substrates.jax import distributions
    finally:
        jax.config.update("jax_enable_x64", was_enabled)

    with jax.enable_x64(True):
        cube = on_the_cube(model)
        sampler = NestedSampler(
            model=JaxnsModel(_on_uniform(cube, Prior, distributions.Uniform)),
            root_allocation_degree=min(30 * cube.dimension, settings.max_roots),
        )

    def run(seed: int) -> SumUp:
        with jax.enable_x64(True):
            found = sampler.run(key=jax.random.PRNGKey(seed)).to_result()
            log_evidence = float(found.log_Z_mean)
        return lambda: _result(
            log_evidence, found.log_Z_uncert, found.total_num_likelihood_evaluations
        )

    return run


def _on_uniform(cube: Cube, prior: Any, uniform: Any) -> Callable[[], jax.Array]:
    def prior_model() -> jax.Array:
        ends = jnp.zeros(cube.dimension), jnp.ones(cube.dimension)
        return cube.log_likelihood(prior(uniform(*ends), name="u").realise())

    return prior_model


def blackjax_nss(model: Model, settings: Settings) -> Run:
    """Its loop is its authors'; log Z is that of its integrator, with the live points."""
    problem = from_model(model.model, *model.args)
    sample_prior, _ = check_exact(problem.prior)
    num_live, dimension = settings.num_live, on_the_cube(model).dimension
    algorithm = blackjax.nss(
        problem.prior.logdensity_fn,
        problem.loglikelihood_fn,
        num_inner_steps=max(5, 2 * dimension),
        num_delete=num_live // _SHARE_DELETED,
    )
    init, step = jax.jit(algorithm.init), jax.jit(algorithm.step)

    def run(seed: int) -> SumUp:
        key_prior, key_steps, key_volumes = jax.random.split(jax.random.key(seed), 3)
        state = init(sample_prior(key_prior, num_live))
        dead: list[NSInfo] = []
        while state.integrator.logZ_live - state.integrator.logZ > _LOG_REMAINDER:
            state, info = step(jax.random.fold_in(key_steps, len(dead)), state)
            dead.append(info)
        log_evidence = float(jnp.logaddexp(state.integrator.logZ, state.integrator.logZ_live))

        def sum_up() -> Result:
            """The error is the spread over volumes that may have been."""
            every = [*(one.particles for one in dead), state.particles]
            particles = jax.tree.map(lambda *parts: np.concatenate(parts), *every)
            logs = nested.log_weights(key_volumes, NSInfo(particles, None), _NUM_VOLUMES)
            error = jnp.std(logsumexp(jnp.nan_to_num(logs, nan=-jnp.inf), axis=0))
            moves = [one.update_info for one in dead]
            # An end of the slice that is found to be outside was looked at, too: two a move.
            calls = sum(
                int(
                    np.sum(one.num_expansions)
                    + np.sum(one.num_shrink)
                    + 2 * one.num_shrink.size
                )
                for one in moves
            )
            return _result(log_evidence, error, num_live + calls)

        return sum_up

    return run
