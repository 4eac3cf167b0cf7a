"""Mean weights of every sampler at random parameters, and of the same with a known fault."""

import math
from collections.abc import Callable
from pathlib import Path

import bijx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, above, within
from benchmarks.harness.tables import Results
from benchmarks.studies.flows.settings import Settings
from jarzynski_jax import annealing, generators, interpolants, targets, walkers
from jarzynski_jax.density import Density
from jarzynski_jax.generators import ContinuousFlow
from jarzynski_jax.interop.bijx import from_bijection
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.types import Array, Params, PRNGKey

_NEVER = adaptive(systematic, 0.0)
_DIMENSION = 4
#: Narrower than every model here, so that weights have a variance: log Z = 2 log(2π/3).
_LOG_Z = _DIMENSION / 2 * math.log(2 * math.pi / 3)
TARGET = Density(lambda x: -1.5 * jnp.sum(jnp.square(x - 0.2)), _LOG_Z)
_BASE = targets.gaussian([1.0] * _DIMENSION)
_BASE_LOG_Z = _DIMENSION / 2 * math.log(2 * math.pi)
_NUM = 256
_LOG_SCALES = (0.2, -0.1, 0.3, 0.1)


def names(settings: Settings) -> list[str]:
    """One job for each sampler."""
    del settings
    return [f"unbiased-{name}" for name in SAMPLERS]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Mean weights over Z, right and with the fault, of independent ensembles."""
    sampler = SAMPLERS[name.removeprefix("unbiased-")]
    keys = jax.random.split(jax.random.key(11), settings.num_replicates)
    both = jax.jit(
        lambda keys: jax.lax.map(
            lambda key: (sampler(key, jnp.array(False)), sampler(key, jnp.array(True))), keys
        )
    )
    right, faulty = both(keys)
    return {"right": np.asarray(right), "faulty": np.asarray(faulty)}


def _mean_weight(log_weights: Array) -> Array:
    """Over Z."""
    return jnp.mean(jnp.exp(log_weights - _LOG_Z))


def _perturbed(params: Params, size: float) -> Params:
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.tree.unflatten(treedef, jax.random.split(jax.random.key(3), len(leaves)))
    return jax.tree.map(
        lambda leaf, key: leaf + size * jax.random.normal(key, leaf.shape), params, keys
    )


def _of_samples(flow: generators.Flow, params: Params, key: PRNGKey, is_faulty: Array) -> Array:
    assert flow.base.sample is not None
    z = flow.base.sample(key, _NUM)
    x, log_det = jax.vmap(flow.forward_fn, (None, 0))(params, z)
    log_base = jax.vmap(flow.base.logdensity_fn)(z) - _BASE_LOG_Z
    log_q = log_base - jnp.where(is_faulty, 0, log_det)
    return _mean_weight(jax.vmap(TARGET.logdensity_fn)(x) - log_q)


def coupling(key: PRNGKey, is_faulty: Array) -> Array:
    """A coupling flow of bijx; without its log-determinant."""
    chain = bijx.realnvp_flow(_DIMENSION, n_coupling_layers=4, width=16, rngs=nnx.Rngs(0))
    flow, params = from_bijection(chain, _BASE)
    return _of_samples(flow, _perturbed(params, 0.05), key, is_faulty)


def continuous(key: PRNGKey, is_faulty: Array) -> Array:
    """A continuous flow of a random field; without its log-determinant."""
    matrix = 0.4 * jax.random.normal(jax.random.key(1), (_DIMENSION, _DIMENSION))
    velocity = generators.with_divergence(
        lambda matrix, t, x: jnp.tanh(matrix @ x) + 0.1 * x * jnp.cos(t)
    )
    flow = ContinuousFlow(_BASE, velocity, num_steps=12).flow
    return _of_samples(flow, matrix, key, is_faulty)


def flow_then_langevin(key: PRNGKey, is_faulty: Array) -> Array:
    """A random affine map, then Langevin steps to the target; the base's density for q's."""
    model = targets.gaussian([math.exp(2 * log_scale) for log_scale in _LOG_SCALES])
    key_start, key_path = jax.random.split(key)
    assert model.sample is not None
    x = model.sample(key_start, _NUM)

    def log_model(x: Array) -> Array:
        log_z = _BASE_LOG_Z + jnp.where(is_faulty, 0, sum(_LOG_SCALES))
        return model.logdensity_fn(x) - log_z

    path = annealing.geometric_path(log_model, TARGET.logdensity_fn)
    dynamics = walkers.langevin(0.05, resampler=_NEVER)
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    times = jnp.linspace(0, 1, 9)[1:]
    end, _ = annealing.anneal(key_path, start, path, times, dynamics)
    return _mean_weight(end.log_weights)


def learned_drift(key: PRNGKey, is_faulty: Array) -> Array:
    """Langevin with a random drift; the fault takes the divergence of the drift off once more."""
    matrix = 0.4 * jax.random.normal(jax.random.key(2), (_DIMENSION, _DIMENSION))
    path = annealing.geometric_path(
        lambda x: _BASE.logdensity_fn(x) - _BASE_LOG_Z, TARGET.logdensity_fn
    )
    key_start, key_path = jax.random.split(key)
    assert _BASE.sample is not None
    x = _BASE.sample(key_start, _NUM)

    def velocity(t: Array, x: Array) -> Array:
        return jnp.tanh(matrix @ x) * (1 + jnp.sin(3 * t))

    times = jnp.linspace(0, 1, 9)
    end = interpolants.generate_weighted(key_path, x, path, velocity, times, 0.3, _NEVER)
    # The volume that the drift gains, at its middle time, as if it were not in the weight.
    of_drift = jax.vmap(
        lambda x: generators.divergence(lambda x: velocity(jnp.array(0.5), x), x)[1]
    )(x)
    return _mean_weight(end.log_weights - jnp.where(is_faulty, of_drift, 0))


SAMPLERS: dict[str, Callable[[PRNGKey, Array], Array]] = {
    "coupling": coupling,
    "continuous": continuous,
    "flow_then_langevin": flow_then_langevin,
    "learned_drift": learned_drift,
}


def claims(results: Results, settings: Settings) -> list[Claim]:
    """Within four errors of 1; and the canaries are not."""
    del settings
    found = []
    for name in SAMPLERS:
        of = results[f"unbiased-{name}"]
        label = f"mean weight over Z, {name.replace('_', ' ')}, random parameters"
        mean, error = _mean(of["right"])
        found.append(within(label, mean, error, 1.0, 4))
        mean, error = _mean(of["faulty"])
        found.append(above(f"{label}: errors from 1 of the fault", abs(mean - 1) / error, 4))
    return found


def _mean(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def draw(results: Results, folder: Path) -> None:
    """Mean weights with four errors, right and with the fault."""
    figure, axis = drawing.panels(1)
    for number, name in enumerate(SAMPLERS):
        of = results[f"unbiased-{name}"]
        for marker, shade, kind in (("o", "0.0", "right"), ("x", "0.5", "faulty")):
            mean, error = _mean(of[kind])
            axis.errorbar(
                number,
                mean,
                4 * error,
                color=shade,
                marker=marker,
                capsize=4,
                label=kind if number == 0 else None,
            )
    axis.axhline(1, color="0.7", zorder=0)
    axis.set_xticks(range(len(SAMPLERS)), [name.replace("_", "\n") for name in SAMPLERS])
    axis.set(ylabel="mean weight / Z, with 4 errors")
    axis.legend(fontsize=8)
    drawing.save(figure, folder, "unbiased")
