"""Mean weights of every sampler at random parameters, and of the same with a known fault."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import bijx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, above, within
from benchmarks.harness.statistics import mean_and_error
from benchmarks.harness.tables import Results
from benchmarks.studies.flows.settings import Settings
from jarzynski_jax import annealing, generators, interpolants, targets, walkers
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.generators import ContinuousFlow
from jarzynski_jax.interop.bijx import from_bijection
from jarzynski_jax.kernels import ula
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
    sampler = SAMPLERS[name.removeprefix("unbiased-")]()
    keys = jax.random.split(jax.random.key(11), settings.num_replicates)
    both = jax.jit(
        lambda keys: jax.lax.map(lambda key: jax.vmap(sampler, (None, 0))(key, FAULTS), keys)
    )
    right, faulty = np.asarray(both(keys)).T
    return {"right": right, "faulty": faulty}


#: ``(rng_key, is_faulty) -> mean weight over Z`` of one ensemble.
Sampler: TypeAlias = Callable[[PRNGKey, Array], Array]
FAULTS = jnp.array([False, True])


def _mean_weight(log_weights: Array) -> Array:
    return jnp.mean(jnp.exp(log_weights - _LOG_Z))


def _of_samples(flow: generators.Flow, params: Params) -> Sampler:
    """Of independent samples of a flow; the fault leaves the log-determinant out."""
    draw, _ = check_exact(flow.base)

    def sampler(key: PRNGKey, is_faulty: Array) -> Array:
        z = draw(key, _NUM)
        x, log_det = jax.vmap(flow.forward_fn, (None, 0))(params, z)
        log_q = jax.vmap(flow.base.logdensity_fn)(z) - _BASE_LOG_Z
        log_q -= jnp.where(is_faulty, 0, log_det)
        return _mean_weight(jax.vmap(TARGET.logdensity_fn)(x) - log_q)

    return sampler


def coupling() -> Sampler:
    """A coupling flow of bijx."""
    chain = bijx.realnvp_flow(_DIMENSION, n_coupling_layers=4, width=16, rngs=nnx.Rngs(0))
    flow, params = from_bijection(chain, _BASE)
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.tree.unflatten(treedef, list(jax.random.split(jax.random.key(3), len(leaves))))
    noisy = jax.tree.map(
        lambda leaf, key: leaf + 0.05 * jax.random.normal(key, leaf.shape), params, keys
    )
    return _of_samples(flow, noisy)


def continuous() -> Sampler:
    """A continuous flow along a random field."""
    matrix = 0.4 * jax.random.normal(jax.random.key(1), (_DIMENSION, _DIMENSION))
    velocity = generators.with_divergence(
        lambda matrix, t, x: jnp.tanh(matrix @ x) + 0.1 * x * jnp.cos(t)
    )
    return _of_samples(ContinuousFlow(_BASE, velocity, num_steps=12).flow, matrix)


def flow_then_langevin() -> Sampler:
    """An affine flow, then Langevin steps to the target; the fault forgets its determinant."""
    model = targets.gaussian([math.exp(2 * log_scale) for log_scale in _LOG_SCALES])
    draw, _ = check_exact(model)
    dynamics = walkers.langevin(0.05, resampler=_NEVER)

    def sampler(key: PRNGKey, is_faulty: Array) -> Array:
        log_z = _BASE_LOG_Z + jnp.where(is_faulty, 0, sum(_LOG_SCALES))
        path = annealing.geometric_path(
            lambda x: model.logdensity_fn(x) - log_z, TARGET.logdensity_fn
        )
        key_start, key_path = jax.random.split(key)
        start = walkers.init(draw(key_start, _NUM), path(0.0), dynamics.kernel_init)
        times = jnp.linspace(0, 1, 9)[1:]
        end, _ = annealing.anneal(key_path, start, path, times, dynamics)
        return _mean_weight(end.log_weights)

    return sampler


def learned_drift() -> Sampler:
    """Langevin with a random drift; the fault has the volume that it gains not in the weight.

    Of that volume it has the part at its middle time, from where the walkers started.
    """
    matrix = 0.4 * jax.random.normal(jax.random.key(2), (_DIMENSION, _DIMENSION))
    draw, _ = check_exact(_BASE)
    path = annealing.geometric_path(
        lambda x: _BASE.logdensity_fn(x) - _BASE_LOG_Z, TARGET.logdensity_fn
    )

    def velocity(t: Array, x: Array) -> Array:
        return jnp.tanh(matrix @ x) * (1 + jnp.sin(3 * t))

    def gained(x: Array) -> Array:
        return generators.divergence(lambda x: velocity(jnp.array(0.5), x), x)[1]

    def sampler(key: PRNGKey, is_faulty: Array) -> Array:
        key_start, key_path = jax.random.split(key)
        x, times = draw(key_start, _NUM), jnp.linspace(0, 1, 9)
        end = interpolants.generate_weighted(key_path, x, path, velocity, times, 0.3, _NEVER)
        return _mean_weight(end.log_weights - jnp.where(is_faulty, jax.vmap(gained)(x), 0))

    return sampler


def stochastic_flow() -> Sampler:
    """Random couplings between Langevin moves, as CRAFT has them.

    The fault takes each log-determinant from the layer of the step that follows.
    """
    half, num_steps = _DIMENSION // 2, 8
    matrices = 0.1 * jax.random.normal(jax.random.key(4), (num_steps, 2, half, half))
    # Narrower, as the target is: after random layers alone hardly a walker has a weight.
    layers = matrices, jnp.linspace(-0.14, 0, num_steps)
    behind = jnp.minimum(jnp.arange(1, num_steps + 1), num_steps - 1)
    draw, _ = check_exact(_BASE)
    path = annealing.geometric_path(
        lambda x: _BASE.logdensity_fn(x) - _BASE_LOG_Z, TARGET.logdensity_fn
    )

    def layer(params: tuple[Params, Params], x: Array) -> tuple[Array, Array]:
        """Each half is scaled as the other one says, in turn."""
        (own, shift), (of_weight, shift_of_weight) = params
        first, last = x[:half], x[half:]
        last = last * jnp.exp(jnp.tanh(own[0] @ first) + shift)
        log_scales = jnp.tanh(of_weight[0] @ first), jnp.tanh(of_weight[1] @ last)
        first = first * jnp.exp(jnp.tanh(own[1] @ last) + shift)
        log_det = jnp.sum(jnp.concatenate(log_scales) + shift_of_weight)
        return jnp.concatenate([first, last]), log_det

    times = jnp.linspace(0, 1, num_steps + 1)[1:]
    flow = generators.StochasticFlow(layer, path, times, ula.as_move(0.05), (), _NEVER)

    def sampler(key: PRNGKey, is_faulty: Array) -> Array:
        key_start, key_path = jax.random.split(key)
        start = walkers.init(draw(key_start, _NUM), path(0.0), flow.dynamics.kernel_init)
        weighed = jax.tree.map(lambda of: jnp.where(is_faulty, of[behind], of), layers)
        end, _ = annealing.anneal(key_path, start, *flow.arguments((layers, weighed)))
        return _mean_weight(end.log_weights)

    return sampler


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "coupling": coupling,
    "continuous": continuous,
    "flow_then_langevin": flow_then_langevin,
    "learned_drift": learned_drift,
    "stochastic_flow": stochastic_flow,
}


def claims(results: Results, settings: Settings) -> list[Claim]:
    """Within four errors of 1; and the canaries are not."""
    del settings
    found = []
    for name in SAMPLERS:
        of = results[f"unbiased-{name}"]
        label = f"mean weight over Z, {name.replace('_', ' ')}, random parameters"
        mean, error = mean_and_error(of["right"])
        found.append(within(label, mean, error, 1.0, 4))
        mean, error = mean_and_error(of["faulty"])
        found.append(above(f"{label}: errors from 1 of the fault", abs(mean - 1) / error, 4))
    return found


def draw(results: Results, folder: Path) -> None:
    """Mean weights with four errors, right and with the fault."""
    figure, axis = drawing.panels(1)
    for number, name in enumerate(SAMPLERS):
        of = results[f"unbiased-{name}"]
        for marker, shade, kind in (("o", "0.0", "right"), ("x", "0.5", "faulty")):
            mean, error = mean_and_error(of[kind])
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
