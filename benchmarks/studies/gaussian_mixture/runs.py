"""One training run, recorded against what is known exactly."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.studies.gaussian_mixture import model
from benchmarks.studies.gaussian_mixture.model import Rates
from jarzynski_jax.energies import mixture
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.training import Metrics, Objective, TrainingState
from jarzynski_jax.types import Array, PRNGKey, Scalar
from jarzynski_jax.walkers import Dynamics, Walkers, langevin


class Sizes(NamedTuple):
    """How large a run is; without held-out walkers if their number is None."""

    dimension: int
    num_walkers: int
    num_held_out: int | None
    num_data: int
    num_updates: int
    stride: int

    @property
    def num_records(self) -> int:
        return self.num_updates // self.stride


class Record(NamedTuple):
    """A run as seen every ``stride`` updates, fields of shape ``(R,)``; divergences in nats.

    ``mass`` is that of the mode at a: of the model, exactly; of the data; and as the
    ensembles have it. ``divergence`` is the Kullback-Leibler divergence of the data from the
    model, averaged over the data; exact, or with log Z from the walkers.
    """

    update: Array
    mass: Array
    mass_of_data: Array
    mass_of_training: Array
    mass_of_held_out: Array
    distance_a: Array
    distance_b: Array
    divergence: Array
    divergence_of_training: Array
    divergence_of_held_out: Array
    divergence_error: Array
    shadow_effective_sample_size: Array
    num_resampled: Array
    held_out_shadow_effective_sample_size: Array
    num_roots: Array


#: ``(energy_fn, optimizer, dynamics) -> Objective``, as all of them are built.
Build = Callable[..., Objective]


def never_resampled(step_size: Scalar) -> Dynamics:
    """Langevin walkers that keep all of their weight."""
    return langevin(step_size, resampler=adaptive(systematic, 0.0))


def train(
    rng_key: PRNGKey, build: Build, dynamics: Dynamics, rates: Rates, sizes: Sizes
) -> Record:
    """Draw data, first model and walkers, and train on all data at every update."""
    key_data, key_params, key_walkers, key_held_out, key_init, key_steps = jax.random.split(
        rng_key, 6
    )
    target = model.data_params(sizes.dimension)
    data = mixture.sample(key_data, target, sizes.num_data)
    params = model.first_params(key_params, sizes.dimension)
    objective = build(mixture.energy, model.gradient_descent(rates), dynamics)
    held_out = None
    if sizes.num_held_out is not None:
        held_out = mixture.sample(key_held_out, params, sizes.num_held_out)
    state = objective.init(
        key_init,
        params,
        mixture.sample(key_walkers, params, sizes.num_walkers),
        data,
        mixture.log_partition_function(params),
        held_out,
    )
    entropy = model.cross_entropy(target, data)
    mass_of_data = jnp.mean(jax.vmap(model.first_mode, (None, 0))(target, data))

    def update(
        carry: tuple[TrainingState, dict], key: PRNGKey
    ) -> tuple[tuple[TrainingState, dict], Metrics]:
        state, _ = carry
        new_state, metrics = objective.step(key, state, data)
        return (new_state, state.params), metrics

    def record(state: TrainingState, keys: PRNGKey) -> tuple[TrainingState, Record]:
        # The walkers of the new state are still weighed by the parameters before it (of a
        # pool only those touched last: the others by older ones).
        (state, params), metrics = jax.lax.scan(update, (state, state.params), keys)
        last = jax.tree.map(lambda leaf: leaf[-1], metrics)
        log_z = mixture.log_partition_function(params)
        excess = last.data_energy - entropy
        return state, Record(
            update=state.step,
            mass=mixture.mode_masses(params)[0],
            mass_of_data=mass_of_data,
            mass_of_training=_if_any(state.walkers, partial(model.first_mode_mass, params)),
            mass_of_held_out=_if_any(state.held_out, partial(model.first_mode_mass, params)),
            distance_a=jnp.linalg.norm(params["a"] - target["a"]),
            distance_b=jnp.linalg.norm(params["b"] - target["b"]),
            divergence=log_z + excess,
            divergence_of_training=last.training_log_partition_function + excess,
            divergence_of_held_out=last.log_partition_function + excess,
            divergence_error=last.log_partition_function_error,
            shadow_effective_sample_size=jnp.min(metrics.shadow_effective_sample_size),
            num_resampled=jnp.sum(metrics.is_resampled),
            held_out_shadow_effective_sample_size=jnp.min(
                metrics.held_out_shadow_effective_sample_size
            ),
            num_roots=_if_any(state.walkers, _count_roots),
        )

    keys = jax.random.split(key_steps, sizes.num_records * sizes.stride)
    return jax.lax.scan(record, state, keys.reshape(sizes.num_records, sizes.stride))[1]


def _if_any(walkers: Walkers | None, statistic: Callable[[Walkers], Array]) -> Array:
    """Not every algorithm has training walkers, not every run held-out ones."""
    return jnp.array(jnp.nan) if walkers is None else statistic(walkers)


def _count_roots(walkers: Walkers) -> Array:
    ordered = jnp.sort(walkers.roots)
    return 1 + jnp.sum(ordered[1:] != ordered[:-1])


def stack(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """Put the records of several seeds together, arrays of shape ``(seeds, R)``."""
    return {
        field: np.stack([np.asarray(getattr(record, field)) for record in records])
        for field in Record._fields
    }
