"""What a model that knows one sign of the field's mean covers of φ⁴ theory.

The model is a Gaussian, independent in Fourier modes, with the mean and the variances of
samples that were brought to one sign. In the symmetric phase it covers both signs all the same,
in the broken one it does not: the effective sample size of its own samples does not fall, and
the share that it covers, by samples of the target, falls to one half. Folded to the half space
of that sign it covers one half at any coupling, exactly.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.lattice.exact import QUARTIC, grid
from benchmarks.studies.lattice.field import LAST, chain_move
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.annealing import geometric_path, multistage
from jarzynski_jax.density import Density, draw
from jarzynski_jax.free_energy import autocorrelation, importance_estimate
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, PRNGKey

Found = dict[str, np.ndarray]


def names(settings: Settings) -> list[str]:
    return ["coverage"]


def run(name: str, settings: Settings) -> Found:
    del name
    shape = settings.coverage_shape
    kappas = grid(settings.grid_level)
    samples = _samples(shape, kappas, settings)
    rows = [
        _row(jax.random.key(number), shape, float(kappa), x, settings)
        for number, (kappa, x) in enumerate(zip(kappas[1:], samples, strict=True))
    ]
    return {"kappas": kappas[1:]} | {key: np.array([of[key] for of in rows]) for key in rows[0]}


def _samples(shape: tuple[int, int], kappas: np.ndarray, settings: Settings) -> Array:
    """Of the target at each coupling, shape (K, chains, samples, *shape)."""
    base, target = (lattice.phi4(shape, kappa, QUARTIC) for kappa in (0.0, LAST))
    num_chains = settings.num_field_chains
    found = multistage(
        jax.random.key(3),
        base,
        geometric_path(base.logdensity_fn, target.logdensity_fn),
        jnp.asarray(kappas[1:] / LAST),
        chain_move(shape),
        num_chains=num_chains,
        num_samples=2 * settings.num_coverage_samples // num_chains,
        num_burn_in=50,
        observe=lambda x: x,
    )
    return found.observed


class Fourier(NamedTuple):
    """Mean of the field, and variances of its Fourier modes."""

    mean: Array
    variances: Array


def fit_one_sign(x: Array) -> Fourier:
    """Of samples, shape (n, L, M), each brought to a positive mean."""
    x = x * jnp.sign(x.mean((1, 2), keepdims=True))
    mean = x.mean()
    modes = jnp.fft.fft2(x - mean) / math.sqrt(math.prod(x.shape[1:]))
    spectrum = jnp.mean(jnp.abs(modes) ** 2, axis=0)
    # A real field: modes p and -p are conjugates.
    mirrored = jnp.roll(spectrum[::-1, ::-1], (1, 1), (0, 1))
    return Fourier(mean, (spectrum + mirrored) / 2)


def gaussian(of: Fourier, is_folded: bool) -> Density:
    """The model; folded, what has the other sign is brought to this one."""
    shape, scales = of.variances.shape, jnp.sqrt(of.variances)
    constant = -jnp.sum(jnp.log(2 * jnp.pi * of.variances)) / 2

    def one(x: Array) -> Array:
        modes = jnp.fft.fft2(x - of.mean) / math.sqrt(math.prod(shape))
        return constant - jnp.sum(jnp.abs(modes) ** 2 / of.variances) / 2

    def logdensity_fn(x: Array) -> Array:
        if not is_folded:
            return one(x)
        return jnp.where(jnp.mean(x) > 0, jnp.logaddexp(one(x), one(-x)), -jnp.inf)

    def sample(rng_key: PRNGKey, num_samples: int) -> Array:
        noise = jax.random.normal(rng_key, (num_samples, *shape))
        x = of.mean + jnp.fft.ifft2(jnp.fft.fft2(noise) * scales).real
        return x * jnp.sign(x.mean((1, 2), keepdims=True)) if is_folded else x

    return Density(logdensity_fn, 0.0, sample)


def _row(
    key: PRNGKey, shape: tuple[int, int], kappa: float, x: Array, settings: Settings
) -> dict[str, object]:
    """Fitted to one half of the samples, judged by the other."""
    half = x.shape[1] // 2
    model = fit_one_sign(x[:, :half].reshape(-1, *shape))
    held = x[:, half:].reshape(-1, *shape)
    target = lattice.phi4(shape, kappa, QUARTIC).logdensity_fn
    row: dict[str, object] = {}
    for name, is_folded in (("one_sign", False), ("folded", True)):
        density = gaussian(model, is_folded)
        drawn, log_q = draw(key, density, settings.num_coverage_samples)
        of_model = jax.vmap(target)(drawn) - log_q
        of_target = jax.vmap(target)(held) - jax.vmap(density.logdensity_fn)(held)
        inverse = jnp.exp(-(of_target - jnp.min(of_target))).reshape(x.shape[0], -1)
        time = max(float(autocorrelation(inverse).time.value), 0.5)
        found = importance_estimate(of_model, of_target, integrated_autocorrelation_time=time)
        assert found.log_coverage is not None
        assert found.upper is not None
        row |= {
            f"{name}_share": np.exp(np.array(found.log_coverage.value)),
            f"{name}_error": np.array(found.log_coverage.standard_error),
            f"{name}_ess": np.array(found.effective_sample_size),
            f"{name}_forward_ess": np.array(found.forward_effective_sample_size),
            f"{name}_log_z": np.array([found.log_partition_function.value, found.upper.value]),
            f"{name}_num_doubts": np.array(len(found.doubts)),
        }
    return row
