"""Autoregressive networks: log Z raw, by importance sampling, annealed on; beside walkers.

Seconds are those of a processor, without compilation: each computation is made twice, and the
second time counts.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

from benchmarks.harness.statistics import mean_and_error
from benchmarks.studies.lattice import ising
from benchmarks.studies.lattice.settings import Settings
from jarzynski_jax import annealing, training, walkers
from jarzynski_jax.density import Density, draw
from jarzynski_jax.free_energy import autocorrelation, importance_estimate
from jarzynski_jax.generators import MaskedConvolutions, MaskedDense, autoregressive
from jarzynski_jax.kernels import heat_bath, independence, surrogate, wolff
from jarzynski_jax.resampling import adaptive, from_log_weights, systematic
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics, Walkers

BETA = 0.44
Found = dict[str, np.ndarray]


def names(settings: Settings) -> list[str]:
    return [f"network_{length}" for length in settings.network_lengths]


def run(name: str, settings: Settings) -> Found:
    length = int(name.rpartition("_")[2])
    target = lattice.ising((length, length), BETA)
    model, found = _train(length, target, settings)
    key = jax.random.key(length)
    importance, log_weights = _importance(key, model, target, settings)
    found |= importance | _annealed_on(key, model, target, log_weights, settings)
    found |= _heat_bath(key, length, settings)
    found |= _clusters(key, length, target, settings)
    found |= _naive_drawing(key, model, length)
    exact = lattice.ising_thermodynamics((length, length), BETA)
    return found | {"exact": np.array(exact.log_partition_function)}


def _timed(computation: Callable[[PRNGKey], Any], key: PRNGKey) -> tuple[Any, float]:
    """The result with another key than that by which it was compiled, and seconds."""
    jax.block_until_ready(computation(jax.random.fold_in(key, 1)))
    begin = time.process_time()
    found = jax.block_until_ready(computation(jax.random.fold_in(key, 2)))
    return found, time.process_time() - begin


def make_network(length: int, settings: Settings, seed: int = 0) -> nnx.Module:
    """Dense where the lattice is small: it learns faster there, and its parameters are N²."""
    shape, rngs = (length, length), nnx.Rngs(seed)
    if length <= 8:
        return MaskedDense(shape, settings.num_features, 2, rngs=rngs)
    return MaskedConvolutions(shape, settings.num_features, 3, 3, rngs=rngs)


def make_objective(model: Any, target: Density, settings: Settings) -> training.Objective:
    """Of an autoregressive model, with a temperature that is annealed."""
    rate = 0.5 ** (5 / settings.num_updates)  # β is within 1e-5 of its end after five sevenths
    steps = optax.cosine_decay_schedule(0.02, settings.num_updates)
    return training.reinforce(
        model.sample,
        model.logdensity_fn,
        target,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(steps)),
        settings.num_training_samples,
        power=lambda update: 1 - rate ** (3.2 * update),
    )


def _train(length: int, target: Density, settings: Settings) -> tuple[Density, Found]:
    model, params = autoregressive(make_network(length, settings), is_symmetric=True)
    objective = make_objective(model, target, settings)
    state = objective.init(jax.random.key(0), params)
    half = settings.num_updates // 2
    key = jax.random.key(1)
    first = training.fit(key, objective, state, num_steps=half)
    begin = time.process_time()
    last = training.fit(key, objective, first.state, num_steps=settings.num_updates)
    seconds = (
        (time.process_time() - begin) * settings.num_updates / (settings.num_updates - half)
    )
    return model.density(last.state.params), {
        "training_seconds": np.array(seconds),
        "loss": np.concatenate([first.metrics.loss, last.metrics.loss]),
        "ess": np.concatenate([of.metrics.effective_sample_size for of in (first, last)]),
    }


def _importance(
    key: PRNGKey, model: Density, target: Density, settings: Settings
) -> tuple[Found, Array]:
    """Importance sampling, and the chain of the same proposals; the log-weights."""

    @jax.jit
    def sample(key: PRNGKey) -> Any:
        spins, log_q = draw(key, model, settings.num_network_samples)
        return spins, jax.vmap(target.logdensity_fn)(spins) - log_q

    (spins, log_weights), seconds = _timed(sample, key)
    found = importance_estimate(log_weights)
    chain = independence.accept_in_order(key, log_weights)
    magnetization = jnp.abs(spins.mean((1, 2)))[chain.indices]
    of_chain = autocorrelation(magnetization)
    raw = np.asarray(log_weights, np.float64)
    return {
        "raw": np.array(mean_and_error(raw)),
        "nis": np.array(found.log_partition_function),
        "nis_ess": np.array(found.effective_sample_size),
        "nis_seconds": np.array(seconds),
        "acceptance": np.array(chain.is_accepted[1:].mean()),
        "tau": np.array(of_chain.time),
        "num_chain_doubts": np.array(len(of_chain.doubts)),
    }, log_weights


class Annealing(NamedTuple):
    """From a network's samples to the target and back, never resampled.

    By heat bath, corrected for what is between.
    """

    model: Density
    target: Density
    num_steps: int

    def forward(self, key_draw: PRNGKey, key_run: PRNGKey, num_walkers: int) -> Walkers:
        spins, _ = draw(key_draw, self.model, num_walkers)
        return self._run(key_run, spins, self._times(), 0.0)

    def back(self, key_draw: PRNGKey, key_run: PRNGKey, end: Walkers) -> tuple[Array, Array]:
        """Log-weights by the model where walkers arrived, and of paths from there to it."""
        num_walkers = len(end.log_weights)
        ancestors = from_log_weights(systematic)(key_draw, end.log_weights, num_walkers)
        spins = end.position[ancestors]
        back = self._run(key_run, spins, self._times()[::-1], 1.0)
        log_p, log_q = (jax.vmap(of.logdensity_fn)(spins) for of in (self.target, self.model))
        return log_p - log_q, -back.log_weights

    def _times(self) -> Array:
        return jnp.arange(self.num_steps + 1) / self.num_steps

    def _run(self, key: PRNGKey, spins: Array, times: Array, first: float) -> Walkers:
        move = surrogate.as_move(heat_bath.as_move(), self.target.logdensity_fn)
        never = Dynamics(move, resampler=adaptive(systematic, 0.0))
        path = annealing.geometric_path(self.model.logdensity_fn, self.target.logdensity_fn)
        start = walkers.init(spins, path(first), never.kernel_init)
        return annealing.anneal(key, start, path, times[1:], never)[0]


def _annealed_on(
    key: PRNGKey, model: Density, target: Density, log_weights: Array, settings: Settings
) -> Found:
    """From the network's samples to the target, and back.

    Where they arrive they are samples of the target, nearly: these tell what the network's own
    samples, of the log-weights given, do not show; and a run back tells it of the paths.
    """
    walk = Annealing(model, target, settings.num_network_steps)
    num_walkers = max(settings.num_network_samples // settings.num_network_steps, 100)

    @jax.jit
    def forward(key: PRNGKey) -> Walkers:
        key_draw, key_run = jax.random.split(key)
        return walk.forward(key_draw, key_run, num_walkers)

    @jax.jit
    def back(key: PRNGKey, end: Walkers) -> tuple[Array, Array]:
        key_draw, key_run = jax.random.split(key)
        return walk.back(key_draw, key_run, end)

    end, seconds = _timed(forward, key)
    at_end, of_paths = back(jax.random.fold_in(key, 3), end)
    on = importance_estimate(end.log_weights, of_paths)
    return {
        "num_nis_doubts": np.array(len(importance_estimate(log_weights, at_end).doubts)),
        "num_on_doubts": np.array(len(on.doubts)),
        "on": np.array(on.log_partition_function),
        "on_ess": np.array(on.effective_sample_size),
        "on_seconds": np.array(seconds),
    }


def _heat_bath(key: PRNGKey, length: int, settings: Settings) -> Found:
    """Forward alone, from β = 0."""
    dynamics = Dynamics(heat_bath.as_move())
    path = Partial(ising.along_temperature, jnp.asarray(BETA))
    base = lattice.ising((length, length), 0.0)
    assert base.sample is not None
    sample = base.sample
    num_walkers, num_steps = settings.num_ising_walkers, settings.num_ising_steps
    times = jnp.arange(1, num_steps + 1) / num_steps

    @jax.jit
    def anneal(key: PRNGKey) -> Any:
        def replicate(key: PRNGKey) -> Any:
            key_start, key_run = jax.random.split(key)
            start = walkers.init(
                sample(key_start, num_walkers), path(0.0), dynamics.kernel_init
            )
            end, _ = annealing.anneal(key_run, start, path, times, dynamics)
            return walkers.log_partition_function(end)

        return jax.lax.map(replicate, jax.random.split(key, settings.num_ising_replicates))

    log_ratios, seconds = _timed(anneal, key)
    value, error = ising.estimate_of(log_ratios + length**2 * np.log(2.0))
    return {"heat_bath": np.array([value, error]), "heat_bath_seconds": np.array(seconds)}


def _clusters(key: PRNGKey, length: int, target: Density, settings: Settings) -> Found:
    """Swendsen and Wang's clusters at stops in β, by Bennett's acceptance ratio."""
    base = lattice.ising((length, length), 0.0)
    path = annealing.geometric_path(base.logdensity_fn, target.logdensity_fn)
    num_stops = 2 * length
    simulate = partial(
        annealing.multistage,
        base=base,
        path=path,
        times=jnp.arange(1, num_stops + 1) / num_stops,
        move=wolff.as_move(True),
        num_chains=16,
        num_samples=max(settings.num_network_samples // 100, 20),
        num_burn_in=10,
    )
    found, seconds = _timed(lambda key: simulate(key).acceptance_ratio, key)
    return {"clusters": np.array(found), "clusters_seconds": np.array(seconds)}


def _naive_drawing(key: PRNGKey, model: Density, length: int) -> Found:
    """How long N whole passes take beside the one that a sample costs."""
    num_samples = 200
    spins = jnp.ones((num_samples, length, length), jnp.int32)
    one_pass = jax.jit(jax.vmap(model.logdensity_fn))
    _, seconds_pass = _timed(lambda key: one_pass(spins), key)
    drawing = jax.jit(lambda key: draw(key, model, num_samples))
    _, seconds = _timed(drawing, key)
    # A symmetric model's density takes two passes, so that is what N would be halved by.
    return {"drawing_ratio": np.array(length**2 * seconds_pass / 2 / seconds)}
