"""The study of lattices: what it takes for exact is, and its models are what they say."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.studies.lattice import coverage, exact, verdicts
from benchmarks.studies.lattice.__main__ import main
from jarzynski_jax.targets import lattice


def test_grids_have_the_published_numbers_of_simulations():
    grids = [exact.grid(level) for level in range(6)]
    assert [len(grid) - 1 for grid in grids] == [6, 14, 24, 40, 76, 88]
    for grid in grids:
        assert grid[0] == 0
        assert grid[-1] == pytest.approx(0.3)
        assert np.all(np.diff(grid) > 0)
    assert np.min(np.diff(grids[5])) == pytest.approx(0.0005)


def test_variances_of_steps():
    """Of a Gaussian whose precision grows, in closed form; two columns beside their table."""
    log_z = [-np.log(precision) / 2 for precision in (1.0, 1.5, 2.0)]
    assert exact.step_variance(log_z) == pytest.approx(1.5 / np.sqrt(2) - 1)
    assert exact.step_variance([1.0, 2.0, 3.0]) == pytest.approx(0, abs=1e-12)
    assert exact.log_z_two_wide(0.25, 8) == pytest.approx(11.77164180, abs=1e-7)


def one_signed(shape=(3, 4), seed=0):
    """A model fitted to correlated fields of either sign."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(400, *shape))
    x = noise + np.roll(noise, 1, 1) + rng.choice([-1.5, 1.5], size=(400, 1, 1))
    return coverage.fit(jnp.asarray(x, jnp.float32), is_one_sign=True)


def test_the_model_of_one_sign_is_a_normalised_gaussian():
    """Its density is that of the covariance it has, and its samples have it."""
    fitted = one_signed()
    assert float(fitted.mean) > 1
    density = coverage.gaussian(fitted, is_folded=False)
    covariance = np.real(np.fft.ifft2(np.asarray(fitted.variances, np.float64)))
    shifts = [
        [covariance[tuple(np.subtract(a, b) % (3, 4))] for b in np.ndindex(3, 4)]
        for a in np.ndindex(3, 4)
    ]
    x = density.sample(jax.random.key(0), 4000)
    flat = np.asarray(x, np.float64).reshape(-1, 12)
    np.testing.assert_allclose(np.cov(flat.T), shifts, atol=0.3)
    sign, log_det = np.linalg.slogdet(2 * np.pi * np.array(shifts))
    deviation = flat[:5] - float(fitted.mean)
    solved = np.linalg.solve(np.array(shifts), deviation.T).T
    expected = -log_det / 2 - np.sum(deviation * solved, 1) / 2
    assert sign == 1
    np.testing.assert_allclose(jax.vmap(density.logdensity_fn)(x[:5]), expected, rtol=1e-4)


def test_folded_it_covers_one_half():
    """Of a Gaussian of mean zero, by exact samples of it, whatever the model was fitted to."""
    fitted = one_signed()
    centred = coverage.Fourier(jnp.zeros(()), fitted.variances)
    folded, whole = (
        coverage.gaussian(of, is_folded)
        for of, is_folded in ((centred, True), (centred, False))
    )
    x = folded.sample(jax.random.key(1), 2000)
    assert np.all(np.asarray(x).mean((1, 2)) > 0)
    ratio = jax.vmap(folded.logdensity_fn)(x) - jax.vmap(whole.logdensity_fn)(x)
    np.testing.assert_allclose(ratio, np.log(2), atol=1e-4)
    assert float(folded.logdensity_fn(-x[0])) == -np.inf


def test_the_target_with_a_traced_coupling_is_the_targets():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), jnp.float32)
    found = jax.jit(coverage.target)(jnp.array(0.2), x)
    expected = lattice.phi4((4, 4), 0.2, exact.QUARTIC).logdensity_fn(x)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_quick_study(tmp_path):
    """All of it, and every claim holds."""
    main(tmp_path, quick=True)
    found = json.loads((tmp_path / "claims.json").read_text())
    assert len(found) > 30
    assert all(claim["holds"] for claim in found)
    for name in ("coverage", "fields", "gauge", "networks"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert "heat bath" in (tmp_path / "table.md").read_text()
    assert verdicts.METHODS.keys() == {"nis", "on", "heat_bath", "clusters"}
