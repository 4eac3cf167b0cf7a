"""Statistical tests: z-scores of unbiased estimates over independent replicates.

A statistic is computed on ``NUM_REPLICATES`` independent replicates (ensembles with keys of
their own). Their mean should be the closed form; its standard error is estimated from their
spread; so the z-score follows Student's distribution with 63 degrees of freedom, and
P(|z| > 4.5) = 3e-5. With a few hundred z-scores in the suite, one run in a hundred fails
by chance when the seed is changed; with the seed fixed none does. The standard error must
also be below 2 %: a bug that makes weights explode has a small z-score all the same.

Every such test stands beside a canary, the same statistic of a computation with one bug put
in, which must fail it.

``JARZYNSKI_TEST_SEED=1 pytest`` runs all of it with other random numbers.
"""

import os
import zlib
from functools import partial

import jax
import numpy as np

NUM_REPLICATES = 64
Z_LIMIT = 4.5
# A standard error, relative to 1 + |expected|, beyond which a small z-score says nothing.
MAX_ERROR = 0.02
BASE_SEED = int(os.environ.get("JARZYNSKI_TEST_SEED", "0"))


def test_key(name):
    """Return a key that depends on the base seed and on the name of the test."""
    return jax.random.fold_in(jax.random.key(BASE_SEED), zlib.crc32(name.encode()))


test_key.__test__ = False  # for pytest: a helper, no test


@partial(jax.jit, static_argnums=0)
def _replicates(fn, keys, args):
    # One replicate after the other: memory stays small and the arrays in the cache.
    return jax.lax.map(lambda key: fn(key, *args), keys)


def replicate(name, fn, *args, num_replicates=NUM_REPLICATES):
    """Run ``fn(key, *args)`` with independent keys, in float64 afterwards.

    A function that is called again with other ``args`` is not compiled again.
    """
    keys = jax.random.split(test_key(name), num_replicates)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), _replicates(fn, keys, args))


def _standard_error(estimates, expected):
    estimates = np.asarray(estimates, np.float64)
    # Rounding alone: a statistic without spread must be right to float32.
    floor = 1e-6 * (1 + np.abs(np.asarray(expected, np.float64)))
    return np.maximum(estimates.std(axis=0, ddof=1) / np.sqrt(estimates.shape[0]), floor)


def z_scores(estimates, expected):
    """Z-scores of the mean over axis 0."""
    error = np.mean(np.asarray(estimates, np.float64), axis=0) - np.asarray(expected)
    return error / _standard_error(estimates, expected)


def _is_consistent(estimates, expected):
    """Whether all z-scores are small, and none because the spread is enormous."""
    is_sharp = _standard_error(estimates, expected) < MAX_ERROR * (1 + np.abs(expected))
    return np.all(is_sharp) and np.all(np.abs(z_scores(estimates, expected)) < Z_LIMIT)


def _summary(estimates, expected):
    return (
        f"z = {z_scores(estimates, expected)}, mean {np.mean(estimates, axis=0)}, "
        f"expected {expected}"
    )


def assert_unbiased(estimates, expected):
    assert _is_consistent(estimates, expected), _summary(estimates, expected)


def assert_biased(estimates, expected):
    """The canary: :func:`assert_unbiased` would fail."""
    assert not _is_consistent(estimates, expected), _summary(estimates, expected)
