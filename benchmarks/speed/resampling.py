"""Systematic resampling of as many walkers as there are, beside BlackJAX's."""

import blackjax.smc.resampling as blackjax_resampling
import jax

from benchmarks.speed.timing import Case
from jarzynski_jax.resampling import from_log_weights, systematic
from jarzynski_jax.types import Array, PRNGKey


def resampling_cases(num_walkers: int) -> dict[str, Case]:
    """Of log-weights; BlackJAX's after a softmax."""
    key = jax.random.key(0)
    log_weights = jax.random.normal(key, (num_walkers,))

    def theirs(rng_key: PRNGKey, log_weights: Array) -> Array:
        weights = jax.nn.softmax(log_weights)
        return blackjax_resampling.systematic(rng_key, weights, num_walkers)

    def ours(rng_key: PRNGKey, log_weights: Array) -> Array:
        return from_log_weights(systematic)(rng_key, log_weights, num_walkers)

    return {
        "ours": Case(ours, (key, log_weights)),
        "BlackJAX": Case(theirs, (key, log_weights)),
    }
