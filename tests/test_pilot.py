"""The step size of a pilot is that of the narrow parts of data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax import weights
from jarzynski_jax.app.pilot import find_pilot_step_size
from jarzynski_jax.energies import make_gaussian_base
from jarzynski_jax.energies.gaussian_base import energy
from jarzynski_jax.walkers import advance, init, kinetic_langevin, langevin

WAYS = {"langevin": langevin, "kinetic": lambda h: kinetic_langevin(h, friction=1.0)}


@pytest.mark.parametrize("name", WAYS)
def test_a_move_at_the_step_size_found_keeps_what_was_wanted(name):
    data = np.random.default_rng(0).normal(size=(4000, 3)) * [1.0, 3.0, 0.4]
    step_size = find_pilot_step_size(data, 0.3, WAYS[name](1.0))
    # The density of the data with their noise, and samples that the pilot has not seen.
    base = make_gaussian_base(jnp.zeros(3), jnp.diag(jnp.array([1.0, 9.0, 0.16]) + 0.09))
    x = jax.random.normal(jax.random.key(7), (4000, 3)) @ base.scale.T
    ensemble = init(x, lambda x: -energy(base, x), WAYS[name](step_size).kernel_init)
    ess = [
        weights.effective_sample_size(
            advance(jax.random.key(8), ensemble, lambda x: -energy(base, x), WAYS[name](h))[
                0
            ].log_weights
        )
        for h in (step_size, 4 * step_size)
    ]
    # ESS of 0.998 from 1000 walkers has an error of about 0.0002 for weights near one.
    assert abs(float(ess[0]) - 0.998) < 0.001
    assert float(ess[1]) < 0.97  # canary: four times the step


def test_it_follows_the_narrow_parts_and_the_units():
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, 2 * np.pi, 2000)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.normal(1, 0.02, (2000, 1))
    blob = rng.normal(0, np.sqrt(0.5), (2000, 2))  # of the ring's covariance
    ring_step, blob_step = (find_pilot_step_size(x, 0.05, langevin(1.0)) for x in (ring, blob))
    assert blob_step / ring_step > 20
    scaled = find_pilot_step_size(10 * ring, 0.5, langevin(1.0))
    np.testing.assert_allclose(scaled, 100 * ring_step, rtol=0.05)


def test_few_data_and_columns_that_never_vary():
    data = np.concatenate([np.random.default_rng(2).normal(size=(4, 1)), np.zeros((4, 1))], 1)
    assert 0 < find_pilot_step_size(data, 0.1, langevin(1.0)) < 1
