"""The comparison with BlackJAX: gradients are counted right, choices keep to the budget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.studies.log_partition import comparison, methods, show
from benchmarks.studies.log_partition.problems import LABELS, PROBLEMS
from benchmarks.studies.log_partition.settings import QUICK
from jarzynski_jax.density import Density

NUM_WALKERS = 32


class Counter:
    """A log-density that counts for how many walkers its gradient was taken."""

    def __init__(self, target):
        self.count = 0

        def increase(_):
            self.count += 1

        @jax.custom_vjp
        def logdensity_fn(x):
            return target.logdensity_fn(x)

        def forward(x):
            jax.debug.callback(increase, x[0])
            value, grad = jax.value_and_grad(target.logdensity_fn)(x)
            return value, grad

        logdensity_fn.defvjp(forward, lambda grad, cotangent: (cotangent * grad,))
        self.target = Density(logdensity_fn, *target[1:])


@pytest.mark.parametrize("name", methods.METHODS)
def test_gradients_are_counted_as_they_are_taken(name):
    counter = Counter(PROBLEMS["two_modes"].target)
    problem = PROBLEMS["two_modes"]._replace(target=counter.target)
    if methods.METHODS[name].is_ours:
        estimate = methods.build_ours(problem, NUM_WALKERS, 100)
    else:
        option = methods.METHODS[name].options[0]
        size = 4 if option.num_chain else 2
        build = methods.build_blackjax(name, problem, NUM_WALKERS, size, option, 100)
        estimate = jax.jit(build)
    found = estimate(jax.random.key(0), jnp.array(0.5), jnp.array(0.5))
    jax.effects_barrier()
    assert counter.count > 100
    assert float(found.num_gradients) * NUM_WALKERS == pytest.approx(counter.count)


@pytest.mark.parametrize("name", PROBLEMS)
def test_base_is_normalised_and_sampled(name):
    """E_base[1] = 1 by importance from itself: the mean of log-density is minus the entropy."""
    problem = PROBLEMS[name]
    x = problem.base.sample(jax.random.key(0), 4000)
    d = problem.target.dimension
    entropy = d / 2 * np.log(2 * np.pi * np.e * problem.base_scale**2)
    error = np.sqrt(d / 2 / 4000)
    mean = float(jnp.mean(jax.vmap(problem.base.logdensity_fn)(x)))
    assert abs(mean + entropy) < 4.5 * error
    both = jax.vmap(lambda x: problem.log_likelihood(x) + problem.base.logdensity_fn(x))(x)
    np.testing.assert_allclose(
        both, jax.vmap(problem.target.logdensity_fn)(x), rtol=1e-4, atol=1e-3
    )


def test_one_problem_is_compared():
    settings = QUICK._replace(num_walkers=32, budgets=(100,), multiples=(0.5,))
    found = comparison.run("double_well_100", settings)
    compared = [name for name in methods.METHODS if f"{name}_error" in found]
    # Which of BlackJAX's forms fit into so few gradients hangs on rounding.
    assert "estimate" in compared
    assert len(compared) > 1
    for name in compared:
        assert found[f"{name}_error"].shape == (settings.num_seeds,)
        if methods.METHODS[name].is_ours:  # how many temperatures BlackJAX takes varies
            assert np.all(found[f"{name}_num_gradients"] <= 100)
    results = {f"{problem}_100": found for problem in LABELS}
    verdict = show.verdicts(results, settings)[0]
    assert verdict.low <= verdict.ratio <= verdict.high


def test_a_failure_is_an_infinite_error():
    assert comparison.root_mean_square(np.array([0.1, -np.inf])) == np.inf
    assert comparison.root_mean_square(np.array([3.0, -4.0])) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.2, 0.9, "more accurate"),
        (0.8, 1.3, "level, lower error"),
        (1.1, 2.0, "LESS accurate"),
    ],
)
def test_verdict(low, high, text):
    assert show.Verdict("funnel", 64, "estimate", "blackjax_hmc", 1.0, low, high).text == text


@pytest.mark.parametrize("option", [methods.Option(0.9, 5), methods.Option(0.5, 5, 8)])
def test_what_the_budget_leaves_is_spent(option):
    size = methods.size_for(option, 512, 40.0)
    num_particles = size * option.num_chain or 512
    spent = methods.gradients_each(option, size) * num_particles / 512
    assert 30 < spent <= 40
