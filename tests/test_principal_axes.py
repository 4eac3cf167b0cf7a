"""Samples on their principal axes have the densities that they had."""

import jax.numpy as jnp
import numpy as np
import pytest

from jarzynski_jax.data import find_principal_axes, from_principal_axes, to_principal_axes
from jarzynski_jax.energies import fit_gaussian_base, gaussian_base


def _images():
    """500 images of 3x4, of a full covariance."""
    rng = np.random.default_rng(0)
    return (1 + rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12))).reshape(500, 3, 4)


def test_axes_are_uncorrelated_and_in_the_order_of_their_variances():
    images = _images()
    positions = to_principal_axes(find_principal_axes(images), images)
    assert positions.shape == (500, 12)
    covariance = np.cov(positions, rowvar=False, bias=True)
    variances = np.diag(covariance)
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-10)
    assert np.all(np.diff(variances) > 0)
    np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-12)


def test_it_is_a_rotation_and_its_inverse():
    images = _images()
    axes = find_principal_axes(images)
    stacked = images.reshape(50, 10, 3, 4).astype(np.float32)
    positions = to_principal_axes(axes, stacked)
    assert positions.shape == (50, 10, 12)
    assert positions.dtype == np.float32
    np.testing.assert_allclose(
        np.linalg.norm(positions, axis=-1),
        np.linalg.norm((stacked - axes.mean).reshape(50, 10, 12), axis=-1),
        rtol=1e-5,
    )
    back = from_principal_axes(axes, positions)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, stacked, atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_the_diagonal_gaussian_on_the_axes_is_the_full_one():
    """The same energies and the same log Z, noise and all."""
    images = _images()
    axes = find_principal_axes(images)
    positions = to_principal_axes(axes, images)
    full = fit_gaussian_base(images, "full", 0.3)
    diagonal = fit_gaussian_base(positions, "diagonal", 0.3)
    assert diagonal.scale.shape == (12,)
    np.testing.assert_allclose(
        [gaussian_base.energy(diagonal, jnp.asarray(x)) for x in positions[:20]],
        [gaussian_base.energy(full, jnp.asarray(x)) for x in images[:20]],
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        gaussian_base.log_partition_function(diagonal),
        gaussian_base.log_partition_function(full),
        rtol=1e-9,
    )


def test_without_axes_samples_stay_as_they_are():
    images = _images()
    np.testing.assert_array_equal(to_principal_axes(None, images), images)
    np.testing.assert_array_equal(from_principal_axes(None, images), images)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda axes: find_principal_axes(np.zeros(3)), "n ≥ 2 samples; got shape"),
        (lambda axes: find_principal_axes(np.full((4, 2), np.nan)), "8 values are not"),
        (lambda axes: to_principal_axes(axes, np.zeros((5, 4, 3))), "samples must have shape"),
        (lambda axes: from_principal_axes(axes, np.zeros((5, 11))), "samples must have shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    axes = find_principal_axes(_images())
    with pytest.raises(ValueError, match=message):
        call(axes)


def test_whole_numbers_become_fractions():
    axes = find_principal_axes(_images())
    whole = np.arange(12).reshape(3, 4)
    np.testing.assert_allclose(
        to_principal_axes(axes, whole), to_principal_axes(axes, whole.astype(float))
    )
