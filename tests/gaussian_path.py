"""A path of Gaussian targets with everything about it in closed form, and ULA with bugs.

Targets U(x) = k |x - c|²/2 in d dimensions, with stiffness k and centre c that change from
step to step: Z_K/Z_0 = (k_0/k_K)^{d/2}, E_K[x] = c_K, E_K[x²] = c_K² + 1/k_K in each
dimension. The path is asymmetric, stiffening while it moves, since a wrong sign is silent
on symmetric ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax import walkers
from jarzynski_jax.kernels import ula
from jarzynski_jax.kernels.step_info import WeightInfo


class Target(NamedTuple):
    stiffness: jax.Array
    centre: jax.Array


class ULABugs(NamedTuple):
    """Knobs of :func:`reference_ula`, which may be traced; the defaults are correct."""

    noise_factor: float = 1.0
    is_displacement_lost: bool = False
    is_unweighted: bool = False
    is_drift_new: bool = False


def stiffening(num_steps, stiffness=(1.0, 4.0), centre=(0.0, 1.0), dtype=jnp.float32):
    """Targets 0 … K, linear in k and in c."""
    return Target(
        jnp.linspace(*stiffness, num_steps + 1, dtype=dtype),
        jnp.linspace(*centre, num_steps + 1, dtype=dtype),
    )


def target_at(path, index):
    return jax.tree.map(lambda leaf: leaf[index], path)


def logdensity(target, x):
    return -target.stiffness * jnp.sum(jnp.square(x - target.centre)) / 2


def at(target):
    """The log-density of one target, as kernels take it."""
    return lambda x: logdensity(target, x)


def sample(key, target, shape):
    noise = jax.random.normal(key, shape, target.centre.dtype)
    return target.centre + noise / jnp.sqrt(target.stiffness)


def weighted_moments(ensemble):
    """Unbiased estimates of (Z/Z_0) (1, E[x], E[x²]), averaged over dimensions."""
    x = ensemble.position.reshape(ensemble.log_weights.shape[0], -1)
    weight = jnp.exp(ensemble.log_weights)
    moments = [jnp.ones_like(weight), x.mean(axis=1), jnp.square(x).mean(axis=1)]
    return jnp.stack([jnp.mean(weight * moment) for moment in moments])


def exact_moments(path, dimension=1):
    k, c = np.asarray(path.stiffness, np.float64), np.asarray(path.centre, np.float64)
    ratio = (k[0] / k[-1]) ** (dimension / 2)
    return ratio * np.array([1.0, c[-1], c[-1] ** 2 + 1 / k[-1]])


def run(
    key,
    path,
    step_size,
    num_walkers=2000,
    shape=(1,),
    kernel=None,
    resample=None,
    init=ula.init,
):
    """Walkers that start as exact samples and follow the path to its end.

    ``resample(key, walkers) -> walkers`` follows each step.
    """
    kernel = kernel or ula.build_kernel()
    key_start, key_path = jax.random.split(key)
    first = target_at(path, 0)
    ensemble = walkers.init(sample(key_start, first, (num_walkers, *shape)), at(first), init)

    def step(ensemble, key_and_target):
        key, target = key_and_target
        key_move, key_resample = jax.random.split(key)
        ensemble, _ = walkers.move(key_move, ensemble, at(target), kernel, step_size)
        if resample is not None:
            ensemble = resample(key_resample, ensemble)
        return ensemble, None

    rest = jax.tree.map(lambda leaf: leaf[1:], path)
    keys = jax.random.split(key_path, rest.stiffness.shape[0])
    return jax.lax.scan(step, ensemble, (keys, rest))[0]


def reference_ula(bugs=ULABugs()):  # noqa: B008
    """ULA and its weight, written straight from the definition, with bugs to choose.

    X' = X - h ∇U_old(X) + sqrt(2h) ξ,  ΔA = α_old(X, X') - α_new(X', X),
    α(x, y) = U(x) + ½ (y - x)·∇U(x) + (h/4) |∇U(x)|².
    """

    def alpha(value, grad, displacement, h):
        displacement = jnp.where(bugs.is_displacement_lost, 0, displacement)
        return -value - jnp.sum(displacement * grad) / 2 + h / 4 * jnp.sum(grad**2)

    def kernel(key, state, logdensity_fn, h):
        x, old_value, old_grad = state.position, state.logdensity, state.logdensity_grad
        drift = jnp.where(bugs.is_drift_new, jax.grad(logdensity_fn)(x), old_grad)
        noise = bugs.noise_factor * jnp.sqrt(2 * jnp.asarray(h, x.dtype))
        new_x = x + h * drift + noise.astype(x.dtype) * jax.random.normal(key, x.shape, x.dtype)
        new_state = ula.init(new_x, logdensity_fn)
        new_value, new_grad = new_state.logdensity, new_state.logdensity_grad
        increment = alpha(old_value, old_grad, new_x - x, h) - alpha(
            new_value, new_grad, x - new_x, h
        )
        increment = jnp.where(bugs.is_unweighted, 0, increment)
        return new_state, WeightInfo(increment, jnp.isfinite(increment))

    return kernel


def run_aliased(key, path, step_size, num_walkers=2000, shape=(1,)):
    """Log-weights of ULA walkers if X' overwrites X before the weight is updated.

    Then y - x = 0, and both α are taken at X'. As in the code published with the method.
    """
    key_start, key_path = jax.random.split(key)
    x = sample(key_start, target_at(path, 0), (num_walkers, *shape))

    def step(carry, xs):
        x, log_weights = carry
        key, old, new = xs
        old, new = (jax.vmap(jax.value_and_grad(at(target))) for target in (old, new))
        noise = jnp.sqrt(2 * step_size) * jax.random.normal(key, x.shape, x.dtype)
        x = x + step_size * old(x)[1] + noise
        (old_value, old_grad), (new_value, new_grad) = old(x), new(x)
        square = jnp.sum((new_grad**2 - old_grad**2).reshape(num_walkers, -1), axis=1)
        return (x, log_weights + new_value - old_value - step_size / 4 * square), None

    old = jax.tree.map(lambda leaf: leaf[:-1], path)
    new = jax.tree.map(lambda leaf: leaf[1:], path)
    keys = jax.random.split(key_path, new.stiffness.shape[0])
    return jax.lax.scan(step, (x, jnp.zeros(num_walkers)), (keys, old, new))[0][1]
