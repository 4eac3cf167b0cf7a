"""A whole training job: data, model, training, likelihood, pictures, and its folder.

The command line is a thin layer over this module; a script can call it in the same way.
"""

import dataclasses
import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from jarzynski_jax import annealing, free_energy, interruption, resampling, training
from jarzynski_jax import data as data_lib
from jarzynski_jax import walkers as walkers_lib
from jarzynski_jax.app import baselines, plotting
from jarzynski_jax.app.pilot import find_pilot_step_size
from jarzynski_jax.app.run_folder import (
    ResultFiles,
    RunFolder,
    from_plain,
    read_json,
    write_json,
    write_whole,
)
from jarzynski_jax.app.shares import Shares, find_shares
from jarzynski_jax.data import (
    LabelledSplit,
    PrincipalAxes,
    Source,
    Split,
    StandardCoordinates,
    noise,
)
from jarzynski_jax.energies import (
    MLP,
    ConvNet,
    GaussianBase,
    OnGaussianBase,
    Standardized,
    denoising,
    functional,
    thesis_mnist_layers,
)
from jarzynski_jax.energies import gaussian_base as gaussian
from jarzynski_jax.free_energy.bounding import (
    Annealing,
    bound_from_base,
    check_annealing,
    path_from_base,
)
from jarzynski_jax.kernels.preconditioning import preconditioner
from jarzynski_jax.progress import show_fraction
from jarzynski_jax.training import checkpoint
from jarzynski_jax.training.algorithm import TrainingAlgorithm, TrainingState
from jarzynski_jax.training.sharding import spread_state
from jarzynski_jax.types import Array, EnergyFn, Params, PRNGKey
from jarzynski_jax.walkers.dynamics import Dynamics, kinetic_langevin, langevin

__all__ = [
    "AlgorithmName",
    "Config",
    "DynamicsName",
    "Evaluation",
    "Moves",
    "NetworkName",
    "Report",
    "ResamplerName",
    "RunFolder",
    "Sampling",
    "WalkersDied",
    "evaluate",
    "finish",
    "make_config",
    "read_report",
    "resume",
    "sample",
    "settings_of",
    "start",
]

DynamicsName: TypeAlias = Literal["langevin", "kinetic"]
AlgorithmName: TypeAlias = Literal["jarzynski", "pcd", "cd", "unweighted"]
NetworkName: TypeAlias = Literal["mlp", "conv"]
ResamplerName: TypeAlias = Literal["systematic", "stratified", "multinomial", "residual"]

_NUM_NOISE_COPIES = 20
_MANY_COMPONENTS = (1, 2, 3, 5, 7, 10, 15, 20, 30)
_FEW_COMPONENTS = (1, 5, 10, 20, 50)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides how a run goes; see the command line for what each means."""

    source: str
    folder: str | None
    classes: tuple[int, ...]
    proportions: tuple[int, ...]
    shrink: int
    data_fingerprint: str
    algorithm: AlgorithmName
    noise: float
    dynamics: DynamicsName
    step_size: float
    friction: float | None
    walkers: int
    touched: int | None
    held_out: int
    steps: int
    batch_size: int
    moves: int
    learning_rate: float
    adam_b1: float
    adam_eps: float
    refresh_every: int
    refresh_steps: int
    network: NetworkName
    standardize: bool
    hidden: tuple[int, ...]
    covariance: gaussian.Covariance
    principal_axes: bool
    resampler: ResamplerName
    ess_threshold: float
    seed: int
    annealing_steps: int
    annealing_walkers: int
    annealing_replicates: int
    checkpoint_every: int

    @property
    def annealing(self) -> Annealing:
        """How log Z is bounded at the end."""
        return Annealing(
            self.annealing_steps, self.annealing_walkers, self.annealing_replicates
        )


_ANNEALING_FIELDS = {name: f"annealing_{name}" for name in Annealing._fields}
#: What a training state does not depend on, and its defaults.
_NOT_OF_TRAINING: dict[str, int] = {
    **{_ANNEALING_FIELDS[name]: value for name, value in Annealing()._asdict().items()},
    "checkpoint_every": 500,
}


def _of_training(config: Config) -> dict[str, Any]:
    """What a checkpoint belongs to: bounds and checkpoints may be made otherwise."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if name not in _NOT_OF_TRAINING}


class WalkersDied(RuntimeError):
    """Too few of the annealed walkers were alive at the end to draw samples from them.

    Parameters
    ----------
    num_dead
        How many were not.
    num_walkers
        Of how many.
    num_samples
        How many samples were asked for.
    step_size
        With which they moved.
    """

    def __init__(
        self, num_dead: int, num_walkers: int, num_samples: int, step_size: float
    ) -> None:
        self.num_dead, self.num_walkers = num_dead, num_walkers
        self.num_samples, self.step_size = num_samples, step_size
        fewer = "" if num_dead == num_walkers else ", or ask for fewer samples"
        super().__init__(
            f"{num_dead} of {num_walkers} annealed walkers died, so there are no {num_samples} "
            f"samples, and nothing was written: the step size, {step_size}, is too large, or "
            "the model's density is zero or not finite where they went. Train with a smaller "
            f"step size{fewer}."
        )

    def __reduce__(self) -> tuple[type["WalkersDied"], tuple[int, int, int, float]]:
        """How it comes out of another process."""
        return type(self), (self.num_dead, self.num_walkers, self.num_samples, self.step_size)


class _Ground(NamedTuple):
    """What is fitted to the data before training: coordinates, and the base in them.

    Those of a file are standard coordinates, so that nothing depends on its units; they may
    be rotated into principal axes. ``dtype`` is that of the data, for samples.
    """

    coordinates: StandardCoordinates | None
    axes: PrincipalAxes | None
    base: GaussianBase
    dtype: np.dtype

    def to_standard(self, samples: np.ndarray) -> np.ndarray:
        """Samples as noise is added to them."""
        return data_lib.to_standard(self.coordinates, samples)

    def from_standard(self, samples: np.ndarray) -> np.ndarray:
        """In the units of the data."""
        return data_lib.from_standard(self.coordinates, samples, self.dtype)

    def rotate(self, samples: np.ndarray) -> Array:
        """Samples in standard coordinates as the model sees them."""
        return jnp.asarray(data_lib.to_principal_axes(self.axes, samples))

    def to_positions(self, samples: np.ndarray) -> Array:
        """Samples as the model sees them."""
        return self.rotate(self.to_standard(samples))

    def to_samples(self, positions: Array | np.ndarray) -> np.ndarray:
        return self.from_standard(data_lib.from_principal_axes(self.axes, positions))


class _Model(NamedTuple):
    """What a configuration stands for.

    Walkers that are annealed move once a step, whatever those in training do: the steps of
    annealing are what they cost.
    """

    energy_fn: EnergyFn
    params: Params
    ground: _Ground
    annealing: Dynamics
    algorithm: TrainingAlgorithm


class _Keys(NamedTuple):
    """One key for each use of random numbers."""

    walkers: PRNGKey
    held_out: PRNGKey
    init: PRNGKey
    training: PRNGKey
    evaluation: PRNGKey


def _keys(config: Config) -> _Keys:
    return _Keys(*jax.random.split(jax.random.key(config.seed), len(_Keys._fields)))


def make_config(data: Split, source: Source, **options: Any) -> Config:
    """Fill in what follows from the data, and check what can be checked without running.

    Parameters
    ----------
    data
        Each part of shape ``(n, d)``, ``(n, h, w)`` or ``(n, h, w, channels)``.
    source
        Where they are from.
    **options
        The fields of :class:`Config` but those of the data; for a file, noise and step size are
        in units of each column's standard deviation. None means: ``noise`` 0.1 for a file, 0.3
        for others. For digits: ``steps`` 10000, ``walkers`` 4096, ``moves`` 1, ``dynamics``
        "langevin", ``learning_rate`` 1.5e-3, ``adam_b1`` 0.9, ``adam_eps`` 1e-2, neither
        ``standardize`` nor ``principal_axes``. For others: ``steps`` 4000, ``walkers`` 2048,
        ``moves`` 4, ``dynamics`` "kinetic", ``learning_rate`` 2e-3, less in proportion to the
        root of the number d of features above 14 x 14, and for a table 7e-3 over the root of d
        if that is more, ``adam_b1`` 0.99, ``adam_eps`` 1e-3,
        ``standardize``, and ``principal_axes`` without convolutions and with a full covariance.
        The ``learning_rate`` is less if v, the smallest variance of data and noise along any
        direction, is below 0.16 of the mean variance. ``step_size`` for a file is what
        :func:`~jarzynski_jax.app.pilot.find_pilot_step_size` finds; for others 0.22 times v, or
        0.4 times its square root for kinetic walkers, less above 120 dimensions; ``friction``
        of these, one over the largest standard deviation, or on principal axes over its
        geometric mean with the smallest; ``hidden`` one layer of 64 after convolutions,
        else two of 128 for digits and tables and of 256 for images. ``annealing_steps``,
        ``annealing_walkers`` and ``annealing_replicates`` are those of
        :class:`~jarzynski_jax.free_energy.Annealing`, and ``checkpoint_every`` 500, if None or
        not given.

    Returns
    -------
    Config
        With all numbers filled in.

    Raises
    ------
    ValueError
        If an option makes no sense.
    """
    options = {name: _built_in(value) for name, value in options.items()}
    for name, value in _usual(source, data, options).items():
        if options.get(name) is None:
            options[name] = value
    _check_numbers(options)
    ground = _find_ground(source.name, data.train, options)
    variances = _variances(ground.base)
    smallest, largest = float(np.min(variances)), float(np.max(variances))
    if options["friction"] is None and options["dynamics"] == "kinetic":
        slowest = math.sqrt(largest * smallest) if options["principal_axes"] else largest
        options["friction"] = _rounded(1 / math.sqrt(slowest))
    if options["learning_rate"] is None:
        # The step size is set by the narrowest direction, the distance to go by the others:
        # where they are far apart the walkers are slow, and the model has to wait for them.
        narrowness = math.sqrt(smallest / float(np.mean(variances)))
        # A hidden unit of an MLP goes the further in a step, the more numbers it sees. (For
        # ConvNets nothing else was tried.)
        num_features = ground.base.mean.size
        fastest = 2e-3 * min(1, 14 / math.sqrt(num_features))
        if source.name == "digits":
            fastest = 1.5e-3
        elif data.train.ndim == 2:
            fastest = max(fastest, 7e-3 / math.sqrt(num_features))
        options["learning_rate"] = _rounded(fastest * min(1, 2.5 * narrowness))
    if options["step_size"] is None:
        options["step_size"] = _rounded(_find_step_size(source.name, ground, data, options))
    where = {"source": source.name, **source._asdict()}
    del where["name"]
    return Config(data_fingerprint=_fingerprint(data), **where, **options)


def _usual(source: Source, data: Split, options: dict[str, Any]) -> dict[str, Any]:
    """What is usual for such data, and does not follow from their numbers."""
    is_digits = source.name == "digits"
    is_conv = options["network"] == "conv"
    width = 128 if is_digits or data.train.ndim == 2 else 256
    return {
        **_NOT_OF_TRAINING,
        "noise": 0.1 if data_lib.is_file(source.name) else 0.3,
        "dynamics": "langevin" if is_digits else "kinetic",
        "steps": 10_000 if is_digits else 4_000,
        "walkers": 4096 if is_digits else 2048,
        "moves": 1 if is_digits else 4,
        "adam_b1": 0.9 if is_digits else 0.99,
        "adam_eps": 1e-2 if is_digits else 1e-3,
        "standardize": not is_digits,
        "principal_axes": not is_digits and _can_be_rotated(options),
        "hidden": (64,) if is_conv else (width, width),
    }


def _find_step_size(
    name: str, ground: "_Ground", data: Split, options: dict[str, Any]
) -> float:
    if data_lib.is_file(name):
        train = np.asarray(ground.to_positions(data.train))
        one_move = _one_move(ground.base, {**options, "step_size": 1.0})
        return find_pilot_step_size(train, options["noise"], one_move)
    # Of digits and MNIST the noise is the narrowest part: one Gaussian tells as much.
    smallest = float(np.min(_variances(ground.base)))
    if options["dynamics"] == "langevin":
        return 0.22 * smallest
    # The variance of kinetic walkers' log-weights goes with the dimension, times h to the
    # fourth.
    return 0.4 * min(1, (120 / ground.base.mean.size) ** 0.25) * math.sqrt(smallest)


def _rounded(number: float) -> float:
    """To three digits, for others to read."""
    return float(f"{number:.3g}")


def _built_in(value: Any) -> Any:
    """Numbers and sequences as config.json gives them back."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value


def _can_be_rotated(options: dict[str, Any]) -> bool:
    """Convolutions need neighbours, and only a full covariance has axes of its own."""
    return options["network"] == "mlp" and options["covariance"] == "full"


def _fingerprint(data: Split) -> str:
    return data_lib.fingerprint(np.concatenate(data))


def _variances(base: GaussianBase) -> np.ndarray:
    """Variances along the principal axes."""
    scale = np.asarray(base.scale)
    widths = np.linalg.svd(scale, compute_uv=False) if scale.ndim == 2 else scale
    return widths**2


def _check_numbers(options: dict[str, Any]) -> None:
    for name, names in (("algorithm", AlgorithmName), ("dynamics", DynamicsName)):
        if options[name] not in get_args(names):
            raise ValueError(f"{name} must be one of {get_args(names)}; got {options[name]!r}")
    for name in (
        *("walkers", "held_out", "steps", "batch_size", "moves", "refresh_steps"),
        "checkpoint_every",
    ):
        if options[name] < 1:
            raise ValueError(f"{name} must be at least 1; got {options[name]}")
    check_annealing(
        Annealing(**{name: options[field] for name, field in _ANNEALING_FIELDS.items()})
    )
    if not 0 <= options["seed"] < 2**32:
        raise ValueError(f"seed must be at least 0 and less than 2**32; got {options['seed']}")
    for name in ("learning_rate", "adam_eps", "step_size", "friction"):
        value = options[name]
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}")
    if options["friction"] is not None and options["dynamics"] != "kinetic":
        raise ValueError(
            f"only kinetic walkers feel friction; got friction={options['friction']} with "
            f"dynamics {options['dynamics']!r}"
        )
    if not 0 <= options["adam_b1"] < 1:
        raise ValueError(
            f"adam_b1 must be at least 0 and less than 1; got {options['adam_b1']}"
        )
    if not 0 <= options["noise"] < math.inf:
        raise ValueError(f"noise must be finite and not negative; got {options['noise']}")
    if options["refresh_every"] < 0:
        raise ValueError(
            "refresh_every must be a number of updates, or 0 for never; "
            f"got {options['refresh_every']}"
        )
    if options["refresh_every"] > 0 and options["algorithm"] != "jarzynski":
        raise ValueError(
            f"only weighted walkers can be fresh ones; got refresh_every="
            f"{options['refresh_every']} with {options['algorithm']!r}"
        )
    if options["principal_axes"] and not _can_be_rotated(options):
        raise ValueError(
            "principal axes are for a network 'mlp' on a Gaussian of covariance 'full'; "
            f"got {options['network']!r} and {options['covariance']!r}"
        )
    touched = options["touched"]
    if touched is not None and not 1 <= touched <= options["walkers"]:
        raise ValueError(
            f"touched, the walkers moved at a step, must be between 1 and the number of "
            f"walkers, {options['walkers']}; got {touched}"
        )
    if touched is not None and options["algorithm"] != "jarzynski":
        raise ValueError(
            f"only the algorithm 'jarzynski' can leave walkers untouched; "
            f"got touched={touched} with {options['algorithm']!r}"
        )


def _find_coordinates(name: str, train: np.ndarray) -> StandardCoordinates | None:
    """Find standard coordinates of a file; digits and images have their units."""
    return data_lib.find_standard_coordinates(train) if data_lib.is_file(name) else None


def _find_ground(name: str, train: np.ndarray, options: Mapping[str, Any]) -> _Ground:
    coordinates = _find_coordinates(name, train)
    standard = data_lib.to_standard(coordinates, train)
    axes, covariance = None, options["covariance"]
    if options["principal_axes"]:
        axes, covariance = data_lib.find_principal_axes(standard), "diagonal"
    positions = data_lib.to_principal_axes(axes, standard)
    base = gaussian.fit_gaussian_base(positions, covariance, options["noise"])
    return _Ground(coordinates, axes, base, train.dtype)


def _one_move(base: GaussianBase, options: Mapping[str, Any]) -> Dynamics:
    scheme = getattr(resampling, options["resampler"])
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


def _build(config: Config, ground: _Ground) -> _Model:
    base = ground.base
    energy_fn, params = functional(OnGaussianBase(base, _network(config, base)))
    one_move = _one_move(base, vars(config))
    dynamics = one_move._replace(num_moves=config.moves)
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps, alpha=0.02)
    optimizer = optax.adam(schedule, config.adam_b1, eps=config.adam_eps)
    if config.touched is not None:
        algorithm = training.jarzynski_pool(energy_fn, optimizer, dynamics, config.touched)
    else:
        make: dict[str, Callable[..., TrainingAlgorithm]] = {
            "jarzynski": training.jarzynski,
            "pcd": training.persistent_contrastive_divergence,
            "cd": training.contrastive_divergence,
            "unweighted": training.unweighted,
        }
        algorithm = make[config.algorithm](energy_fn, optimizer, dynamics)
    return _Model(energy_fn, params, ground, one_move, algorithm)


def _network(config: Config, base: GaussianBase) -> nnx.Module:
    shape, rngs = base.mean.shape, nnx.Rngs(config.seed)
    network: nnx.Module
    if config.network == "mlp":
        network = MLP(math.prod(shape), config.hidden, rngs=rngs)
    else:
        network = ConvNet(shape, thesis_mnist_layers(), config.hidden, rngs=rngs)
    return Standardized(base, network) if config.standardize else network


def _first_state(config: Config, model: _Model, train: np.ndarray) -> TrainingState:
    keys = _keys(config)

    def exact_start(key: PRNGKey, num_walkers: int) -> tuple[Array, Array]:
        base = model.ground.base
        return gaussian.exact_start(key, base, model.energy_fn, model.params, num_walkers)

    positions, log_z = exact_start(keys.walkers, config.walkers)
    held_out, _ = exact_start(keys.held_out, config.held_out)
    init = jax.jit(model.algorithm.init)  # op by op it would compile a hundred small programs
    data = model.ground.to_positions(train)
    return init(keys.init, model.params, positions, data, log_z, held_out)


def start(
    folder: RunFolder,
    config: Config,
    data: Split,
    overwrite: bool,
    mesh: Mesh | None = None,
) -> bool:
    """Start a run in a new folder and train.

    Parameters
    ----------
    folder
        Where its files go.
    config
        From :func:`make_config`.
    data
        What the configuration was made for.
    overwrite
        Whether an earlier run in that folder may be replaced.
    mesh
        Devices to spread walkers and data over; None for one.

    Returns
    -------
    bool
        Whether it was trained to the end; False after Ctrl-C.

    Raises
    ------
    ValueError
        If the folder is there, and not to be replaced or not a run; or the mesh does not
        divide the walkers.
    jarzynski_jax.training.TrainingDiverged
        If training went wrong.
    """
    model = _build(config, _find_ground(config.source, data.train, vars(config)))
    state = _first_state(config, model, data.train)
    if mesh is not None:
        state = spread_state(state, mesh)
    arrays = model.ground.base._asdict()
    if model.ground.axes is not None:
        arrays |= {f"axes_{name}": part for name, part in model.ground.axes._asdict().items()}
    if model.ground.coordinates is not None:
        coordinates = model.ground.coordinates._asdict()
        arrays |= {f"standard_{name}": part for name, part in coordinates.items()}
    # Nothing is touched before everything that can be checked has been.
    with interruption.shielded():
        _make_room(folder, overwrite)
        write_whole(folder.base, lambda path: np.savez(path, **arrays))
        write_json(folder.config, dataclasses.asdict(config))
    return _fit(folder, config, model, state, data.train, mesh)


def resume(
    folder: RunFolder, mesh: Mesh | None = None, checkpoint_every: int | None = None
) -> bool:
    """Go on with a run from its last checkpoint.

    Parameters
    ----------
    folder
        Of the run.
    mesh
        As of :func:`start`; it need not be that of the first part.
    checkpoint_every
        Updates between checkpoints; None for what the run was started with.

    Returns
    -------
    bool
        As :func:`start`.

    Raises
    ------
    ValueError
        If the folder holds no run, or its data or its checkpoint are not those of its
        configuration.
    jarzynski_jax.training.TrainingDiverged
        If training went wrong.
    """
    config, (data, _), model, state = _restore(folder)
    if checkpoint_every is not None:
        config = dataclasses.replace(config, checkpoint_every=checkpoint_every)
    return _fit(folder, config, model, state, data.train, mesh)


def _fit(
    folder: RunFolder,
    config: Config,
    model: _Model,
    state: TrainingState,
    train: np.ndarray,
    mesh: Mesh | None,
) -> bool:
    floor = None
    if config.noise > 0:
        floor = noise.noise_entropy(model.ground.base.mean.size, config.noise)
    try:
        result = training.fit(
            _keys(config).training,
            model.algorithm,
            state,
            model.ground.to_positions(train),
            num_steps=config.steps,
            batch_size=config.batch_size,
            noise_scale=config.noise,
            watch=training.Watch(
                num_features=model.ground.base.mean.size,
                entropy_floor=floor,
                is_weighted=config.algorithm == "jarzynski",
                num_walkers=config.touched or config.walkers,
                step_quality=training.step_quality(model.energy_fn, model.annealing),
            ),
            folder=folder.path,
            config=_of_training(config),
            checkpoint_every=config.checkpoint_every,
            progress=True,
            mesh=mesh,
            refresh=_refresh(config, model),
        )
    except training.TrainingDiverged as error:
        _draw_curves(folder, model)
        error.add_note(f"The curves up to there are in {folder.curves}.")
        raise
    if int(result.state.step) > 0:  # it may be interrupted before
        _draw_curves(folder, model)
    return not result.is_interrupted


def _draw_curves(folder: RunFolder, model: _Model) -> None:
    units = "nats" if model.ground.coordinates is None else "nats, in standard coordinates"
    with interruption.shielded():
        plotting.plot_curves(checkpoint.read_metrics(folder.metrics), folder.curves, units)


def _refresh(config: Config, model: _Model) -> training.Refresh | None:
    if config.refresh_every == 0:
        return None
    return training.refresh_from_base(
        model.energy_fn,
        model.ground.base,
        model.annealing,
        config.refresh_steps,
        config.refresh_every,
    )


class Moves(NamedTuple):
    """How walkers that are annealed move: once a step, with the options of training."""

    dynamics: DynamicsName
    step_size: float
    friction: float | None


def _moves(config: Config) -> Moves:
    return Moves(config.dynamics, config.step_size, config.friction)


def settings_of(
    folder: RunFolder,
    steps: int | None = None,
    walkers: int | None = None,
    replicates: int | None = None,
) -> Annealing:
    """Return how log Z of a run is bounded.

    Parameters
    ----------
    folder
        Of the run.
    steps
        None for what the run was started with; so are the others.
    walkers
        In each of the replicates.
    replicates
        How many.

    Returns
    -------
    Annealing
        For :func:`evaluate` and :func:`sample`.

    Raises
    ------
    ValueError
        If the folder holds no run, or a setting is not positive.
    """
    given = {"steps": steps, "walkers": walkers, "replicates": replicates}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = _read_config(folder).annealing._replace(**changes)
    check_annealing(settings)
    return settings


class Report(NamedTuple):
    """Cross entropies of the test data in their own units, in nats.

    model
        The energy-based model's bracket.
    gaussian
        One Gaussian with full covariance.
    mixture
        The best mixture of Gaussians with full covariances.
    num_components
        Of that mixture, chosen on a validation split.
    most_components
        The largest number tried. If it was chosen, larger mixtures may be better.
    mixture_difference
        The mixture's value less the model's upper bound, and its standard error over test
        samples (paired, so much smaller than that of either).
    noise
        Entropy of the noise, the floor; None without noise.
    num_test
        How many test samples.
    updates
        How many updates the model was trained for.
    log_volume
        Sum of the logs of the columns' standard deviations. By so much the values here, in the
        units of the data, exceed those of ``metrics.csv``, in standard coordinates. 0 where
        these are the same: for digits and images.
    annealing
        With how many steps, walkers and replicates log Z was bounded.
    moves
        How the walkers moved.
    shares
        Of the classes among the model's annealed samples; None without at least two classes, or
        without samples.
    """

    model: free_energy.Bracket
    gaussian: float
    mixture: float
    num_components: int
    most_components: int
    mixture_difference: tuple[float, float]
    noise: float | None
    num_test: int
    updates: int
    log_volume: float
    annealing: Annealing
    moves: Moves
    shares: Shares | None = None


class Evaluation(NamedTuple):
    """A report, and where it is.

    report
        The table.
    files
        The report as JSON; and a picture of data beside samples, which is not there if all
        walkers that were annealed forward died.
    """

    report: Report
    files: ResultFiles


def read_report(folder: RunFolder) -> Report | None:
    """Read the report that a run ended with.

    Parameters
    ----------
    folder
        Of the run.

    Returns
    -------
    Report | None
        None if there is none yet.

    Raises
    ------
    ValueError
        If the file is no report.
    """
    if not folder.report.is_file():
        return None
    values = read_json(folder.report)
    try:
        return from_plain(Report, values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{folder.report} is not the report of a run: {error}") from error


def finish(folder: RunFolder, annealing_steps: int | None = None) -> Evaluation:
    """Bound the likelihood of a run that was trained to its end, once.

    Parameters
    ----------
    folder
        Of the run.
    annealing_steps
        Steps of the annealing run; None for what the run was started with.

    Returns
    -------
    Evaluation
        The run's own, in ``report.json``. If it is there already it is read, unless other
        steps are asked for: then this is one more evaluation, as by :func:`evaluate`.

    Raises
    ------
    ValueError
        As :func:`evaluate`, or if ``report.json`` is no report.
    """
    files = ResultFiles(folder.report, folder.samples)
    report = read_report(folder)
    settings = settings_of(folder, annealing_steps)
    if report is None:
        return _evaluate(folder, settings, None, lambda: files)
    if annealing_steps in (None, report.annealing.steps):
        return Evaluation(report, files)
    return evaluate(folder, settings)


def evaluate(folder: RunFolder, settings: Annealing, update: int | None = None) -> Evaluation:
    """Bound the likelihood of a run's model, compare, and write report and picture.

    Parameters
    ----------
    folder
        Of the run.
    settings
        How log Z is bounded.
    update
        Of which kept checkpoint; None for the last one.

    Returns
    -------
    Evaluation
        In new files beside those of the run: ``evaluation-1.json`` and ``evaluation-1.png``, or
        with the next number that is free.

    Raises
    ------
    ValueError
        As :func:`resume`, or if a setting is not positive or no such checkpoint is kept.
    """
    return _evaluate(folder, settings, update, folder.new_evaluation)


def _evaluate(
    folder: RunFolder,
    settings: Annealing,
    update: int | None,
    choose_files: Callable[[], ResultFiles],
) -> Evaluation:
    check_annealing(settings)
    config, (parts, labels), model, state = _restore(folder, update)
    # Forward, backward and backward from relaxed samples.
    num_steps = 3 * settings.replicates * settings.steps
    with show_fraction("bounding log Z", num_steps) as progress:
        bounds = bound_from_base(
            _keys(config).evaluation,
            model.ground.base,
            model.energy_fn,
            state.params,
            model.ground.to_positions(parts.train),
            config.noise,
            model.annealing,
            settings,
            progress=progress,
        ).bounds

    standard = Split(*map(model.ground.to_standard, parts))
    test = noise.add_noise(standard.test, config.noise, _NUM_NOISE_COPIES, config.seed)
    # In the units of the data a density is less by this volume, and an energy more, with
    # log Z as it was.
    log_volume = data_lib.log_volume(model.ground.coordinates)
    energies = jax.jit(jax.vmap(jax.vmap(model.energy_fn, (None, 0)), (None, 0)))
    positions = model.ground.rotate(test)
    test_energies = np.asarray(energies(state.params, positions)).mean(axis=1) + log_volume
    floor = None
    if config.noise > 0:
        floor = noise.noise_entropy(model.ground.base.mean.size, config.noise)
        floor += log_volume
    bracket = free_energy.bracket(test_energies, bounds, floor)

    flat_train = standard.train.reshape(len(standard.train), -1)
    flat_test = test.reshape(*test.shape[:2], -1)
    # Full covariances of many features take long to fit, and many data.
    candidates = _MANY_COMPONENTS if flat_train.shape[1] <= 100 else _FEW_COMPONENTS
    print("fitting mixtures of Gaussians, to compare ...", flush=True)
    mixture, num_components = baselines.mixture_cross_entropy(
        flat_train, flat_test, config.noise, candidates, config.seed
    )
    mixture = mixture + log_volume
    one_gaussian = baselines.gaussian_cross_entropy(flat_train, flat_test, config.noise)
    paired = mixture - test_energies
    log_z = bracket.upper - float(np.mean(test_energies))
    # End points of a replicate whose walkers all died are copies of one point.
    end_points = bounds.end_points[np.isfinite(bounds.forward)]
    shares = None
    if labels is not None and len(np.unique(labels.train)) > 1 and len(end_points):
        samples = data_lib.from_principal_axes(model.ground.axes, end_points)
        shares = find_shares(
            *(standard.train, labels.train, test, labels.test),
            samples,
            config.noise,
            config.seed,
        )
    report = Report(
        bracket,
        float(one_gaussian.mean()) + log_volume,
        float(mixture.mean()),
        num_components,
        max(candidates),
        (
            float(paired.mean()) - log_z,
            float(np.std(paired, ddof=1) / math.sqrt(len(paired))),
        ),
        floor,
        len(test),
        int(state.step),
        log_volume,
        settings,
        _moves(config),
        shares,
    )
    # Chosen at the end, for another evaluation may have ended in the meantime.
    files = choose_files()
    if len(end_points):
        samples = model.ground.to_samples(_flatten_replicates(end_points))
        plotting.plot_samples(
            model.ground.from_standard(test[:, 0]),
            samples,
            files.picture,
            _denoiser(config, model, state.params),
        )
    write_json(files.report, report)
    return Evaluation(report, files)


class Sampling(NamedTuple):
    """What :func:`sample` did.

    samples
        Path of the ``.npz`` file.
    picture
        Its path.
    updates
        How many updates the model was trained for.
    num_walkers
        How many were annealed.
    num_alive
        How many of them were alive at the end.
    num_steps
        How many steps they made.
    moves
        How they moved.
    """

    samples: Path
    picture: Path
    updates: int
    num_walkers: int
    num_alive: int
    num_steps: int
    moves: Moves


def sample(
    folder: RunFolder,
    num_samples: int,
    settings: Annealing,
    out: Path | None = None,
    overwrite: bool = False,
    update: int | None = None,
) -> Sampling:
    """Draw samples of a run's model by annealing walkers from its base.

    Parameters
    ----------
    folder
        Of the run.
    num_samples
        How many; drawn from as many walkers, or from ``settings.walkers`` if these are more.
    settings
        Steps and walkers of the annealing run.
    out
        The ``.npz`` file to write: ``samples``, shape ``(num_samples, ...)``, of equal
        weight, in the units of the data. The picture goes beside it. If None,
        ``samples-1.npz`` in the folder of the run, or with the next number that is free.
    overwrite
        Whether ``out`` and its picture may be replaced.
    update
        Of which kept checkpoint; None for the last one.

    Returns
    -------
    Sampling
        With the paths of both files.

    Raises
    ------
    ValueError
        As :func:`resume`, or if a number is not positive, no such checkpoint is kept, or
        ``out`` is no ``.npz`` file, or it or its picture is there and not to be replaced.
    WalkersDied
        If no walker, or fewer than ``num_samples``, were alive at the end. Nothing is written.
    """
    if num_samples < 1:
        raise ValueError(f"the number of samples must be at least 1; got {num_samples}")
    if out is not None:
        _check_out(out, overwrite)
    check_annealing(settings)
    config, (data, _), model, state = _restore(folder, update)
    num_walkers = max(num_samples, settings.walkers)
    samples, num_alive = _anneal_samples(
        config, model, state.params, num_walkers, settings.steps
    )
    if num_alive < num_samples:
        raise WalkersDied(num_walkers - num_alive, num_walkers, num_samples, config.step_size)
    samples = samples[:num_samples]
    # Chosen at the end, for other samples may have been drawn in the meantime.
    out = out or folder.new_samples()
    write_whole(out, lambda path: np.savez(path, samples=samples))

    standard = model.ground.to_standard(data.test)
    noisy = noise.add_noise(standard, config.noise, 1, config.seed)[:, 0]
    picture = out.with_suffix(".png")
    denoise = _denoiser(config, model, state.params)
    plotting.plot_samples(model.ground.from_standard(noisy), samples, picture, denoise)
    moves = _moves(config)
    return Sampling(
        out, picture, int(state.step), num_walkers, num_alive, settings.steps, moves
    )


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix != ".npz" or not out.parent.is_dir():
        raise ValueError(f"samples go to a .npz file in a folder that exists; got {out}")
    taken = [str(path) for path in (out, out.with_suffix(".png")) if path.exists()]
    if taken and not overwrite:
        are = "is" if len(taken) == 1 else "are"
        raise ValueError(
            f"{' and '.join(taken)} {are} there already; replace by --overwrite, or choose "
            "another --out"
        )


def _anneal_samples(
    config: Config, model: _Model, params: Params, num_walkers: int, num_steps: int
) -> tuple[np.ndarray, int]:
    """Anneal walkers and resample them to equal weight, in random order; count the living."""
    # Apart from those of the evaluation.
    keys = jax.random.split(jax.random.fold_in(_keys(config).evaluation, 1), 4)
    path = path_from_base(model.ground.base, model.energy_fn, params)

    @partial(jax.jit, static_argnums=0)
    def run(progress: Callable[[float], None]) -> tuple[Array, Array]:
        positions = gaussian.sample(keys[0], model.ground.base, num_walkers)
        walkers = walkers_lib.init(positions, path(0.0), model.annealing.kernel_init)
        times = jnp.arange(1, num_steps + 1) / num_steps
        walkers, info = annealing.anneal(
            keys[1], walkers, path, times, model.annealing, progress=progress
        )
        draw = resampling.from_log_weights(resampling.systematic)
        ancestors = draw(keys[2], walkers.log_weights, num_walkers)
        samples = walkers.position[jax.random.permutation(keys[3], ancestors)]
        return samples, _count_living(walkers, info)

    with show_fraction("annealing walkers", num_steps) as progress:
        samples, num_alive = jax.device_get(run(progress))
    return model.ground.to_samples(samples), int(num_alive)


def _count_living(walkers: walkers_lib.Walkers, info: annealing.AnnealingInfo) -> Array:
    """How many walkers the last step left alive, before it may have resampled them."""
    resampled_before = jnp.append(info.is_resampled[:-1], False)
    num_later = jnp.cumsum(resampled_before[::-1])[::-1]
    num_dead = jnp.sum(jnp.where(num_later == 0, info.num_dead, 0))
    num_finite = jnp.sum(jnp.isfinite(walkers.log_weights))
    return jnp.minimum(num_finite, walkers.log_weights.shape[0] - num_dead)


def _denoiser(
    config: Config, model: _Model, params: Params
) -> Callable[[np.ndarray], np.ndarray] | None:
    if config.noise == 0:
        return None

    def denoise(samples: np.ndarray) -> np.ndarray:
        positions = np.asarray(model.ground.to_positions(samples))
        mean = denoising.posterior_mean(model.energy_fn, params, positions, config.noise)
        return model.ground.to_samples(mean)

    return denoise


def _flatten_replicates(positions: np.ndarray) -> np.ndarray:
    flat = positions.reshape(-1, *positions.shape[2:])
    return np.random.default_rng(0).permutation(flat)


def _read_data(folder: RunFolder) -> tuple[Config, LabelledSplit]:
    config = _read_config(folder)
    source = Source(
        config.source, config.folder, config.classes, config.proportions, config.shrink
    )
    data = data_lib.load_labelled_split(source)
    if _fingerprint(data.samples) != config.data_fingerprint:
        raise ValueError(f"{config.source} has changed since the run in {folder.path} started")
    return config, data


def _restore(
    folder: RunFolder, update: int | None = None
) -> tuple[Config, LabelledSplit, _Model, TrainingState]:
    config, data = _read_data(folder)
    try:
        with np.load(folder.base) as arrays:
            base = GaussianBase(*(jnp.asarray(arrays[name]) for name in GaussianBase._fields))
            axes = None
            if config.principal_axes:
                axes = PrincipalAxes(*(arrays[f"axes_{n}"] for n in PrincipalAxes._fields))
            coordinates = None
            if data_lib.is_file(config.source):
                names = StandardCoordinates._fields
                coordinates = StandardCoordinates(*(arrays[f"standard_{n}"] for n in names))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder.base} cannot be read: {error}") from error
    train = data.samples.train
    model = _build(config, _Ground(coordinates, axes, base, train.dtype))
    template = jax.eval_shape(lambda: _untested_state(config, model, train))
    state = checkpoint.restore(folder.checkpoints, template, _of_training(config), update)
    return config, data, model, state


def _untested_state(config: Config, model: _Model, train: np.ndarray) -> TrainingState:
    """Return a state of the right shapes, without the check of exactness."""
    keys = _keys(config)
    base = model.ground.base
    positions = gaussian.sample(keys.walkers, base, config.walkers)
    held_out = gaussian.sample(keys.held_out, base, config.held_out)
    log_z = gaussian.log_partition_function(base)
    data = model.ground.to_positions(train)
    return model.algorithm.init(keys.init, model.params, positions, data, log_z, held_out)


def _read_config(folder: RunFolder) -> Config:
    if not folder.path.is_dir():
        raise ValueError(f"there is no run in {folder.path}")
    if not folder.config.is_file():
        raise ValueError(f"{folder.path} holds no run: there is no {folder.config.name} in it")
    values = read_json(folder.config)
    try:
        for name in ("hidden", "classes", "proportions"):
            values[name] = tuple(values[name])
        # Runs that do not tell how log Z is bounded were bounded with the defaults.
        for name, value in _NOT_OF_TRAINING.items():
            values.setdefault(name, value)
        return Config(**values)
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{folder.config} is not the configuration of a run: {error}"
        ) from error


def _make_room(folder: RunFolder, overwrite: bool) -> None:
    path = folder.path
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if not overwrite:
            raise ValueError(
                f"{path} is there already; go on with it by --resume {path}, replace it by "
                "--overwrite, or choose another --out"
            )
        if not folder.config.is_file():
            raise ValueError(f"{path} is not the folder of a run, so it is not overwritten")
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
