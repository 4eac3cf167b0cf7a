"""Densities that end at a wall: exact by a bijection or adjusted moves, else doubted.

Z-scores of evidence over known evidence, 64 replicates; the canaries leave the Jacobian out,
and let unadjusted walkers step over the wall.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import betaln, gammaln
from numpyro.distributions import constraints
from zscore import assert_biased, assert_unbiased, replicate

from jarzynski_jax import annealing, free_energy, walkers
from jarzynski_jax.annealing import tempering_path
from jarzynski_jax.kernels import invariant, metropolis, ula
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.targets import unbounded
from jarzynski_jax.walkers import Dynamics, langevin

NUM_WALKERS, NUM_STEPS = 500, 60
TIMES = jnp.linspace(0, 1, NUM_STEPS + 1)[1:]
DYNAMICS = langevin(0.05)
ADJUSTED = Dynamics(
    invariant.as_move(ula.init, metropolis.adjust(ula.as_move()), 0.05),
    1,
    adaptive(systematic, 0.5),
)


def _exponential():
    """From rate 1 to rate 2; log Z = -log 2."""

    def draw(key):
        return jax.random.exponential(key, (NUM_WALKERS,))

    def inside(x):
        return jnp.where(x > 0, -x, -jnp.inf)

    return draw, inside, lambda x: -x, constraints.positive, -np.log(2)


def _beta():
    """7 successes and 3 failures under a uniform prior."""

    def draw(key):
        return jax.random.uniform(key, (NUM_WALKERS,), minval=1e-6)

    def likelihood(x):
        return 7 * jnp.log(x) + 3 * jnp.log1p(-x)

    return draw, jnp.zeros_like, likelihood, constraints.interval(0, 1), betaln(8.0, 4.0)


def _dirichlet():
    """Counts 3, 1, 2 under a Dirichlet prior with parameters 2, 1, 1."""
    alpha, counts = jnp.array([2.0, 1.0, 1.0]), jnp.array([3.0, 1.0, 2.0])

    def log_beta(a):
        return jnp.sum(gammaln(a)) - gammaln(jnp.sum(a))

    def draw(key):
        return jax.random.dirichlet(key, alpha, (NUM_WALKERS,))

    def prior(x):
        return jnp.sum((alpha - 1) * jnp.log(x)) - log_beta(alpha)

    def likelihood(x):
        return jnp.sum(counts * jnp.log(x))

    exact = log_beta(alpha + counts) - log_beta(alpha)
    return draw, prior, likelihood, constraints.simplex, exact


def _gamma():
    """Three Poisson counts with the sum 9, whose rate has a Gamma(2, 1) prior."""

    def draw(key):
        return jax.random.gamma(key, 2.0, (NUM_WALKERS,))

    def prior(x):
        return jnp.log(x) - x

    def likelihood(x):
        return 9 * jnp.log(x) - 3 * x

    return draw, prior, likelihood, constraints.positive, gammaln(11.0) - 11 * np.log(4.0)


CASES = {"exponential": _exponential, "beta": _beta, "dirichlet": _dirichlet, "gamma": _gamma}


def _evidence(case, key, is_jacobian_left_out=False):
    """Estimated over exact evidence."""
    draw, prior, likelihood, support, exact = case
    free = unbounded(prior, support)
    path = tempering_path(
        lambda y: jnp.where(
            is_jacobian_left_out, prior(free.to_support(y)), free.logdensity_fn(y)
        ),
        lambda y: likelihood(free.to_support(y)),
    )
    key_start, key_move = jax.random.split(key)
    y = jax.vmap(free.from_support)(draw(key_start))
    start = walkers.init(y, path(0.0), DYNAMICS.kernel_init)
    end, info = annealing.anneal(key_move, start, path, TIMES, DYNAMICS)
    assert end.position.shape == y.shape
    return jnp.exp(walkers.log_partition_function(end) - exact), jnp.sum(info.num_dead)


@pytest.mark.parametrize("name", CASES)
def test_evidence_is_exact_in_an_unbounded_space(name):
    def run(key, is_left_out):
        return _evidence(CASES[name](), key, is_left_out)

    found, num_dead = replicate(f"{name} unbounded", run, False)
    assert_unbiased(found, 1.0)
    assert not np.any(num_dead)
    assert_biased(replicate(f"{name} unbounded", run, True)[0], 1.0)


def test_maps_undo_each_other_and_pytrees_have_one_constraint_a_leaf():
    support = {"share": constraints.simplex, "rate": constraints.greater_than(2.0)}

    def logdensity_fn(x):
        return jnp.sum(jnp.log(x["share"])) - x["rate"]

    free = unbounded(logdensity_fn, support)
    x = {"share": jnp.array([0.2, 0.5, 0.3]), "rate": jnp.array(3.0)}
    y = free.from_support(x)
    assert y["share"].shape == (2,)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), free.to_support(y), x
    )
    parts = (
        unbounded(lambda share: jnp.sum(jnp.log(share)), constraints.simplex),
        unbounded(lambda rate: -rate, constraints.greater_than(2.0)),
    )
    alone = parts[0].logdensity_fn(y["share"]) + parts[1].logdensity_fn(y["rate"])
    np.testing.assert_allclose(free.logdensity_fn(y), alone, rtol=1e-5)


def test_what_is_no_constraint_is_refused():
    with pytest.raises(ValueError, match=r"constraints of numpyro.*got \(0, 1\)|got 0"):
        unbounded(lambda x: x, (0, 1))
    with pytest.raises(ValueError, match="no bijection onto"):
        unbounded(lambda x: x, constraints.nonnegative_integer)


def _at_the_wall(key, dynamics):
    draw, prior, likelihood, _, exact = _exponential()
    path = tempering_path(prior, likelihood)
    key_start, key_move = jax.random.split(key)
    start = walkers.init(draw(key_start), path(0.0), dynamics.kernel_init)
    end, _ = annealing.anneal(key_move, start, path, TIMES, dynamics)
    error = walkers.log_partition_function_error(end)
    return walkers.log_partition_function(end) - exact, error, end.leakage


def test_adjusted_moves_are_exact_at_a_wall():
    found, _, leakage = replicate("adjusted at a wall", lambda key: _at_the_wall(key, ADJUSTED))
    assert_unbiased(np.exp(found), 1.0)
    assert np.all(leakage == 0)


def test_unadjusted_walkers_are_lost_at_a_wall_and_their_error_says_so():
    found, error, leakage = replicate("wall", lambda key: _at_the_wall(key, DYNAMICS))
    assert_biased(np.exp(found), 1.0)
    assert np.all(found < -1)
    assert np.all(np.abs(found) < 2 * error)
    assert np.all(leakage > 0.5)


def _bounds(path, draw, dynamics):
    x = jax.vmap(draw)(jax.random.split(jax.random.key(0), 2))
    return jax.jit(
        lambda key: annealing.log_partition_bounds(key, x, path, 0.0, dynamics, NUM_STEPS)
    )(jax.random.key(1))


def test_a_bracket_doubts_lost_walkers_in_both_directions():
    draw, prior, likelihood, *_ = _exponential()
    found = free_energy.log_partition_bracket(
        _bounds(tempering_path(prior, likelihood), draw, DYNAMICS)
    )
    forward, backward = (doubt for doubt in found.doubts if "walkers died" in doubt)
    assert "on the way forward" in forward
    assert "too low" in forward
    assert "on the way backward" in backward
    assert "too high" in backward
    assert "Metropolis-adjusted" in forward
    assert "targets.unbounded" in forward
    assert not any("more annealing steps would" in doubt for doubt in found.doubts)


def test_deaths_that_are_exact_are_not_doubted():
    """A likelihood that is zero on half of the prior kills half of the walkers, rightly."""

    def likelihood(x):
        return jnp.where(x < jnp.log(2.0), 0.0, -jnp.inf)

    draw, prior, *_ = _exponential()
    bounds = _bounds(tempering_path(prior, likelihood), draw, ADJUSTED)
    found = free_energy.log_partition_bracket(bounds)
    assert np.all(np.asarray(bounds.forward_info.num_dead[:, 0]) > 100)
    assert found.lower == pytest.approx(-np.log(2), abs=0.15)
    assert not any("walkers died" in doubt for doubt in found.doubts)
