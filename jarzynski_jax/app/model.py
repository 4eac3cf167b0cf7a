"""The model of a configuration: network on its base, moves of its walkers, first state."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jarzynski_jax import resampling, training
from jarzynski_jax.app.config import AlgorithmName, Config, NetworkName, ResamplerName
from jarzynski_jax.app.problem import Problem
from jarzynski_jax.data import noise
from jarzynski_jax.energies import (
    MLP,
    ConvNet,
    GaussianBase,
    OnGaussianBase,
    Standardized,
    functional,
    gaussian_base,
    thesis_mnist_layers,
)
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.training import Objective, TrainingState, Watch
from jarzynski_jax.types import Array, EnergyFn, Params, PRNGKey
from jarzynski_jax.walkers.dynamics import Dynamics, kinetic_langevin, langevin

__all__ = [
    "Keys",
    "Model",
    "build_dynamics",
    "build_energy",
    "build_model",
    "build_objective",
    "build_optimizer",
    "draw_exact",
    "entropy_floor",
    "first_state",
    "state_template",
]

_RESAMPLERS: dict[ResamplerName, Callable[..., Array]] = {
    "systematic": resampling.systematic,
    "stratified": resampling.stratified,
    "multinomial": resampling.multinomial,
    "residual": resampling.residual,
}
_OBJECTIVES: dict[AlgorithmName, Callable[..., Objective]] = {
    "jarzynski": training.jarzynski,
    "pcd": training.persistent_contrastive_divergence,
    "cd": training.contrastive_divergence,
    "unweighted": training.unweighted,
}


class Model(NamedTuple):
    """What a configuration stands for.

    Walkers that are annealed move once a step, whatever those in training do: the steps of
    annealing are what they cost.
    """

    energy_fn: EnergyFn
    params: Params
    problem: Problem
    annealing: Dynamics
    objective: Objective


class Keys(NamedTuple):
    """One key for each use of random numbers."""

    walkers: PRNGKey
    held_out: PRNGKey
    init: PRNGKey
    training: PRNGKey
    evaluation: PRNGKey

    @classmethod
    def of(cls, seed: int) -> "Keys":
        """Those of a run."""
        return cls(*jax.random.split(jax.random.key(seed), len(cls._fields)))


def build_model(config: Config, problem: Problem) -> Model:
    """Make the model that a run starts with."""
    energy_fn, params = build_energy(
        problem.base, config.network, config.hidden, config.standardize, config.seed
    )
    one_move = build_dynamics(problem.base, vars(config))
    optimizer = build_optimizer(
        config.learning_rate, config.steps, config.adam_b1, config.adam_eps
    )
    objective = build_objective(
        config.algorithm,
        energy_fn,
        optimizer,
        one_move._replace(num_moves=config.moves),
        config.touched,
        Watch(
            num_features=problem.num_features,
            entropy_floor=entropy_floor(config, problem),
            num_walkers=config.touched or config.walkers,
        ),
    )
    return Model(energy_fn, params, problem, one_move, objective)


def entropy_floor(config: Config, problem: Problem) -> float | None:
    """Entropy of the noise, below which no cross entropy lies; None without noise."""
    if config.noise == 0:
        return None
    return noise.noise_entropy(problem.num_features, config.noise)


def build_energy(
    base: GaussianBase, name: NetworkName, hidden: tuple[int, ...], standardize: bool, seed: int
) -> tuple[EnergyFn, Params]:
    """Make a network on a Gaussian base, at first nothing but the base.

    "mlp", or of images "conv", the convolutions of the thesis before it. It may see samples
    standardized: less their mean, over their standard deviation.

    Examples
    --------
    >>> from jarzynski_jax.energies import fit_gaussian_base
    >>> base = fit_gaussian_base(np.random.default_rng(0).normal(size=(99, 2)))
    >>> energy_fn, params = build_energy(base, "mlp", (8,), standardize=True, seed=0)
    >>> bool(jnp.isclose(energy_fn(params, base.mean), gaussian_base.energy(base, base.mean)))
    True
    """
    shape, rngs = base.mean.shape, nnx.Rngs(seed)
    network: nnx.Module
    if name == "mlp":
        network = MLP(math.prod(shape), hidden, rngs=rngs)
    else:
        network = ConvNet(shape, thesis_mnist_layers(), hidden, rngs=rngs)
    return functional(
        OnGaussianBase(base, Standardized(base, network) if standardize else network)
    )


def build_dynamics(base: GaussianBase, options: Mapping[str, Any]) -> Dynamics:
    """Make dynamics of one move a step.

    Parameters
    ----------
    base
        Its widths precondition kinetic walkers on principal axes.
    options
        ``dynamics``, ``step_size``, ``friction``, ``principal_axes``, ``resampler`` and
        ``ess_threshold``, as of :class:`~jarzynski_jax.app.config.Config`.
    """
    scheme = _RESAMPLERS[options["resampler"]]
    resampler = resampling.adaptive(scheme, options["ess_threshold"])
    if options["dynamics"] == "langevin":
        return langevin(options["step_size"], 1, resampler)
    # C = s / min(s): half way between steps of one length in all directions, as long as the
    # narrowest one allows, and steps as long as the data are wide, s, along each.
    is_scaled = options["principal_axes"]
    scaling = preconditioner(base.scale / jnp.min(base.scale)) if is_scaled else None
    return kinetic_langevin(
        options["step_size"], options["friction"], 1, resampler, preconditioner=scaling
    )


def build_optimizer(
    learning_rate: float, num_updates: int, b1: float, eps: float
) -> optax.GradientTransformation:
    """Make Adam, whose rate decays to 2 % by half a cosine."""
    schedule = optax.cosine_decay_schedule(learning_rate, num_updates, alpha=0.02)
    return optax.adam(schedule, b1, eps=eps)


def build_objective(
    name: AlgorithmName,
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    touched: int | None = None,
    watch: Watch | None = None,
) -> Objective:
    """Make an objective.

    ``touched`` walkers of "jarzynski" move at each update, out of a pool; None for all of them.
    ``watch`` is what to look for while it is trained.
    """
    if touched is not None:
        return training.jarzynski_pool(energy_fn, optimizer, dynamics, touched, watch)
    return _OBJECTIVES[name](energy_fn, optimizer, dynamics, watch)


def draw_exact(model: Model, rng_key: PRNGKey, num_walkers: int) -> tuple[Array, Array]:
    """Draw exact walkers of the base, which the first model must equal, and tell its log Z.

    ValueError if the model is not the base.
    """
    return gaussian_base.exact_start(
        rng_key, model.problem.base, model.energy_fn, model.params, num_walkers
    )


def first_state(
    model: Model,
    train: np.ndarray,
    draw_key: PRNGKey,
    init_key: PRNGKey,
    num_walkers: int,
    held_out: Array | None = None,
) -> TrainingState:
    """Start training with exact walkers, on data in their own units.

    ``held_out`` are more walkers, from :func:`draw_exact`, that never enter a gradient.
    ``draw_key`` is for walkers, ``init_key`` for what the objective draws. ValueError if the
    model is not the base.
    """
    positions, log_z = draw_exact(model, draw_key, num_walkers)
    init = jax.jit(model.objective.init)  # op by op it would compile a hundred small programs
    data = model.problem.to_positions(train)
    return init(init_key, model.params, positions, data, log_z, held_out)


def state_template(model: Model, config: Config, train: np.ndarray) -> TrainingState:
    """Return the shapes and dtypes of a run's states, for a checkpoint to be read into."""

    def state() -> TrainingState:
        keys, base = Keys.of(config.seed), model.problem.base
        positions = gaussian_base.sample(keys.walkers, base, config.walkers)
        held_out = gaussian_base.sample(keys.held_out, base, config.held_out)
        log_z = gaussian_base.log_partition_function(base)
        data = model.problem.to_positions(train)
        return model.objective.init(keys.init, model.params, positions, data, log_z, held_out)

    return jax.eval_shape(state)
