"""What a model that is as simple as a Gaussian covers of φ⁴ theory.

It is independent in Fourier modes and has the variances of samples of the target: of all of
them, with the mean zero, or of those of one sign of the field's mean, whichever has the smaller
reverse KL divergence, as a model has that is trained by it. In the symmetric phase that is the
first and covers all; in the broken one it is the second, and the share of the target that it
covers falls to one half, of which the effective sample size of its own samples says nothing.
Folded to the half space of one sign the model covers one half at any coupling, exactly.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.lattice.exact import QUARTIC
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax.density import Density, draw
from jarzynski_jax.free_energy import autocorrelation, importance_estimate
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, PRNGKey, Scalar

Found = dict[str, np.ndarray]


def judge(shape: tuple[int, int], kappas: np.ndarray, x: Array, settings: Settings) -> Found:
    """By samples of the target at each coupling, shape (K, chains, samples, *shape).

    Fitted to one half of the chains, judged by the other.
    """
    half = x.shape[1] // 2
    rows = []
    for number, (kappa, samples) in enumerate(zip(kappas, x, strict=True)):
        fitted = samples[:half].reshape(-1, *shape)
        key, coupling = jax.random.key(number), jnp.asarray(kappa)
        candidates = [fit(fitted, is_one_sign) for is_one_sign in (False, True)]
        losses = [_loss(key, coupling, model) for model in candidates]
        model = candidates[int(np.argmin(losses))]
        rows.append(_row(key, coupling, model, samples[half:], settings))
    return {key: np.array([of[key] for of in rows]) for key in rows[0]}


class Fourier(NamedTuple):
    """Mean of the field, and variances of its Fourier modes."""

    mean: Array
    variances: Array


def fit(x: Array, is_one_sign: bool) -> Fourier:
    """Of samples, shape (n, L, M): of mean zero, or each brought to a positive mean."""
    if is_one_sign:
        x = x * jnp.sign(x.mean((1, 2), keepdims=True))
    mean = jnp.where(is_one_sign, x.mean(), 0)
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


@jax.jit
def _loss(key: PRNGKey, kappa: Array, model: Fourier) -> Array:
    """The reverse KL divergence less log Z."""
    drawn, log_q = draw(key, gaussian(model, is_folded=False), 2000)
    return jnp.mean(log_q - jax.vmap(lambda x: target(kappa, x))(drawn))


def _row(
    key: PRNGKey, kappa: Array, model: Fourier, held: Array, settings: Settings
) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, is_folded in (("gaussian", False), ("folded", True)):
        num_samples = settings.num_coverage_samples
        of_model, of_target = _log_weights(key, kappa, model, held, num_samples, is_folded)
        inverse = np.exp(np.min(of_target) - np.asarray(of_target, np.float64))
        time = max(float(autocorrelation(inverse).time.value), 0.5)
        found = importance_estimate(
            of_model, of_target.reshape(-1), integrated_autocorrelation_time=time
        )
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


@partial(jax.jit, static_argnums=(4, 5))
def _log_weights(
    key: PRNGKey,
    kappa: Array,
    model: Fourier,
    held: Array,
    num_samples: int,
    is_folded: bool,
) -> tuple[Array, Array]:
    """Of samples of the model, and of those of the target that were held back."""
    density = gaussian(model, is_folded)
    drawn, log_q = draw(key, density, num_samples)

    def log_weight(x: Array) -> Array:
        return target(kappa, x) - density.logdensity_fn(x)

    return jax.vmap(lambda x: target(kappa, x))(drawn) - log_q, jax.vmap(jax.vmap(log_weight))(
        held
    )


def target(kappa: Scalar, x: Array) -> Array:
    """φ⁴ theory, of a hopping parameter that may be traced."""
    square = jnp.square(x)
    sites = (1 - 2 * QUARTIC) * square + QUARTIC * jnp.square(square)
    return 2 * kappa * lattice.bond_sum(x) - jnp.sum(sites)
