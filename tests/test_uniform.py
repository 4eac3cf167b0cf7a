"""Uniform numbers that are never 0, and what accepts by them."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax import targets
from jarzynski_jax.kernels import independence
from jarzynski_jax.uniform import accept, bernoulli, open_uniform


def test_they_are_in_the_open_interval(dtype):
    numbers = open_uniform(jax.random.key(4), (2**21,), dtype)
    assert numbers.dtype == dtype
    assert float(numbers.min()) > 0
    assert float(numbers.max()) < 1
    # JAX's own are 0 somewhere in this many of single precision.
    of_jax = jax.random.uniform(jax.random.key(4), (2**21,), jnp.float32)
    assert float(of_jax.min()) == 0


def test_a_side_that_all_but_never_comes_does_not():
    assert not bool(jnp.any(bernoulli(jax.random.key(4), jnp.full(2**21, 1e-12))))
    assert bool(jnp.all(bernoulli(jax.random.key(4), jnp.ones(2**21))))


def test_a_hopeless_proposal_is_rejected_by_any_number():
    """JAX's first number of this key is 0, whose logarithm is below that of any ratio."""
    key = jax.random.key(4)
    place = int(np.argmin(np.asarray(jax.random.uniform(key, (2**21,)))))
    weights = jnp.zeros(2**21).at[place].set(-1e30)
    assert not bool(independence.accept_in_order(key, weights).is_accepted[place])


def test_samples_of_wells_are_where_the_density_is():
    well = targets.double_well()
    x = well.sample(jax.random.key(4), 2**21)
    assert float(jax.vmap(well.logdensity_fn)(x).min()) > -12


def test_position_and_logdensity_are_accepted_alike(as_users_compile):
    """Canary: sums that are compared can be computed twice, and differ in their last bits.

    Then a walker has the log-density of another position, and its weight jumps.
    """
    script = Path(__file__).with_name("jumps.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    jump = found.pop("careless")
    assert max(found.values()) < 0.1
    if jump < 0.5:
        pytest.skip("the canary is silent: this compiler computes what is compared once")


def test_what_is_not_finite_is_not_accepted():
    for ratio in (jnp.nan, -jnp.inf):
        assert not bool(accept(jax.random.key(0), jnp.array(ratio))[0])
    is_accepted, rate = accept(jax.random.key(0), jnp.array(jnp.inf))
    assert bool(is_accepted)
    assert float(rate) == 1
