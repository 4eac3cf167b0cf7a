"""What decides how a run goes: every option once, with what the command line says of it."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from jarzynski_jax.app.run_folder import RunFolder, read_json
from jarzynski_jax.energies.gaussian_fit import Covariance
from jarzynski_jax.training.bounding import Annealing, check_annealing

__all__ = [
    "OPTIONS",
    "AlgorithmName",
    "Config",
    "DynamicsName",
    "GroupName",
    "NetworkName",
    "Option",
    "ResamplerName",
    "can_be_rotated",
    "check_options",
    "read_config",
    "settings_of_training",
]

DynamicsName: TypeAlias = Literal["langevin", "kinetic"]
AlgorithmName: TypeAlias = Literal["jarzynski", "pcd", "cd", "unweighted"]
NetworkName: TypeAlias = Literal["mlp", "conv"]
ResamplerName: TypeAlias = Literal["systematic", "stratified", "multinomial", "residual"]
GroupName: TypeAlias = Literal["data", "model", "walkers", "training", "log_z", "run"]


class Option(NamedTuple):
    """A field of :class:`Config` that can be chosen.

    group
        Where the command line lists it; None where only scripts can choose it.
    help
        What it says of it, in one line.
    default
        For all data; None where it depends on them, or where nothing is chosen.
    by_data
        Whether it depends on them.
    """

    group: GroupName | None
    help: str
    default: Any = None
    by_data: bool = False


def _option(group: GroupName | None, help: str, default: Any = None) -> dict[str, Option]:
    return {"option": Option(group, help, default)}


def _by_data(group: GroupName, help: str) -> dict[str, Option]:
    return {"option": Option(group, help, by_data=True)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides how a run goes.

    The first six fields tell the data; the others are options, as their metadata say. For a
    file noise and step size are in units of each column's standard deviation.
    """

    source: str
    folder: str | None
    classes: tuple[int, ...]
    proportions: tuple[int, ...]
    shrink: int
    data_fingerprint: str
    algorithm: AlgorithmName = field(
        metadata=_option(
            "training", "jarzynski; or, to compare, pcd, cd, unweighted", "jarzynski"
        )
    )
    noise: float = field(
        metadata=_by_data("data", "Standard deviation of the Gaussian noise added to the data")
    )
    dynamics: DynamicsName = field(
        metadata=_by_data(
            "walkers", "langevin, unadjusted; or kinetic, Langevin's with velocities"
        )
    )
    step_size: float = field(
        metadata=_by_data("walkers", "Time step h; of langevin, drift h and noise sqrt(2h)")
    )
    friction: float | None = field(
        metadata=_by_data("walkers", "Rate at which kinetic walkers forget their velocities")
    )
    walkers: int = field(metadata=_by_data("walkers", "How many in training"))
    touched: int | None = field(
        metadata=_option("walkers", "So many move at an update, of a pool; else all")
    )
    held_out: int = field(
        metadata=_option("walkers", "More that never enter a gradient and tell log Z", 1024)
    )
    steps: int = field(metadata=_by_data("training", "Updates of the parameters"))
    batch_size: int = field(metadata=_option("training", "Data drawn for each update", 512))
    moves: int = field(metadata=_by_data("walkers", "Moves of each walker for each update"))
    learning_rate: float = field(
        metadata=_by_data("training", "Adam's at the start; it decays to 2 % by half a cosine")
    )
    adam_b1: float = field(
        metadata=_by_data(
            "training", "Adam's b1: gradients are averaged over 1 / (1 - b1) updates"
        )
    )
    adam_eps: float = field(
        metadata=_by_data("training", "Adam's eps: a large one keeps mere noise small")
    )
    refresh_every: int = field(
        metadata=_option("walkers", "Updates until all are annealed afresh; 0 for never", 0)
    )
    refresh_steps: int = field(metadata=_option("walkers", "Steps of each such annealing", 500))
    network: NetworkName = field(
        metadata=_option("model", "mlp; or, of images, conv: convolutions before it", "mlp")
    )
    standardize: bool = field(
        metadata=_by_data("model", "Whether the network sees standardized samples")
    )
    hidden: tuple[int, ...] = field(metadata=_by_data("model", "Widths of the hidden layers"))
    covariance: Covariance = field(
        metadata=_option("model", "Of the Gaussian base: full, diagonal or isotropic", "full")
    )
    principal_axes: bool = field(
        metadata=_by_data("model", "Whether samples are rotated into those of the data")
    )
    resampler: ResamplerName = field(
        metadata=_option(
            "walkers", "systematic, stratified, multinomial, residual", "systematic"
        )
    )
    ess_threshold: float = field(
        metadata=_option("walkers", "Resample below this fraction of the walkers", 0.5)
    )
    seed: int = field(
        metadata=_option("run", "Of all random numbers but the split of the data", 0)
    )
    annealing_steps: int = field(
        metadata=_option(
            "log_z", "Of the annealing that bounds log Z, each way", Annealing().steps
        )
    )
    annealing_walkers: int = field(
        metadata=_option("log_z", "Walkers of each of its replicates", Annealing().walkers)
    )
    annealing_replicates: int = field(
        metadata=_option(None, "Independent runs", Annealing().replicates)
    )
    checkpoint_every: int = field(metadata=_option("run", "Updates between checkpoints", 500))

    @property
    def annealing(self) -> Annealing:
        """How log Z is bounded at the end."""
        return _annealing(vars(self))


#: By the name of the field.
OPTIONS: dict[str, Option] = {
    entry.name: entry.metadata["option"]
    for entry in dataclasses.fields(Config)
    if "option" in entry.metadata
}
_NAMES = {
    name: get_args(kind)
    for name, kind in get_type_hints(Config).items()
    if get_origin(kind) is Literal
}
#: What a training state does not depend on. Runs from before these were recorded had the
#: defaults.
_NOT_OF_TRAINING = (
    *("annealing_steps", "annealing_walkers", "annealing_replicates"),
    "checkpoint_every",
)


def settings_of_training(config: Config) -> dict[str, Any]:
    """Return what a checkpoint belongs to: bounds and checkpoints may be made otherwise."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if name not in _NOT_OF_TRAINING}


def read_config(folder: RunFolder) -> Config:
    """Read the configuration of a run.

    ValueError if the folder holds no run, or its configuration is none.
    """
    if not folder.path.is_dir():
        raise ValueError(f"there is no run in {folder.path}")
    if not folder.config.is_file():
        raise ValueError(f"{folder.path} holds no run: there is no {folder.config.name} in it")
    values = read_json(folder.config)
    try:
        for name in ("hidden", "classes", "proportions"):
            values[name] = tuple(values[name])
        for name in _NOT_OF_TRAINING:
            values.setdefault(name, OPTIONS[name].default)
        return Config(**values)
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{folder.config} is not the configuration of a run: {error}"
        ) from error


def can_be_rotated(options: Mapping[str, Any]) -> bool:
    """Whether principal axes make sense.

    Convolutions need neighbours, and only a full covariance has axes of its own.
    """
    return options["network"] == "mlp" and options["covariance"] == "full"


def check_options(options: Mapping[str, Any]) -> None:
    """Check what can be checked without data; None stands for what is yet to be found.

    ValueError if one makes no sense, alone or beside the others.
    """
    _check_names(options)
    _check_counts(options)
    check_annealing(_annealing(options))
    _check_numbers(options)
    _check_combinations(options)


def _annealing(options: Mapping[str, Any]) -> Annealing:
    return Annealing(*(options[f"annealing_{name}"] for name in Annealing._fields))


def _check_names(options: Mapping[str, Any]) -> None:
    for name, known in _NAMES.items():
        if options[name] not in known:
            raise ValueError(f"{name} must be one of {known}; got {options[name]!r}")


def _check_counts(options: Mapping[str, Any]) -> None:
    for name in (
        *("walkers", "held_out", "steps", "batch_size", "moves", "refresh_steps"),
        "checkpoint_every",
    ):
        if options[name] < 1:
            raise ValueError(f"{name} must be at least 1; got {options[name]}")
    if options["refresh_every"] < 0:
        raise ValueError(
            "refresh_every must be a number of updates, or 0 for never; "
            f"got {options['refresh_every']}"
        )
    touched, walkers = options["touched"], options["walkers"]
    if touched is not None and not 1 <= touched <= walkers:
        raise ValueError(
            f"touched, the walkers moved at a step, must be between 1 and the number of "
            f"walkers, {walkers}; got {touched}"
        )
    if not 0 <= options["seed"] < 2**32:
        raise ValueError(f"seed must be at least 0 and less than 2**32; got {options['seed']}")


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name in ("learning_rate", "adam_eps", "step_size", "friction"):
        value = options[name]
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}")
    if not 0 <= options["adam_b1"] < 1:
        raise ValueError(
            f"adam_b1 must be at least 0 and less than 1; got {options['adam_b1']}"
        )
    if not 0 <= options["noise"] < math.inf:
        raise ValueError(f"noise must be finite and not negative; got {options['noise']}")


def _check_combinations(options: Mapping[str, Any]) -> None:
    algorithm, touched = options["algorithm"], options["touched"]
    if options["friction"] is not None and options["dynamics"] != "kinetic":
        raise ValueError(
            f"only kinetic walkers feel friction; got friction={options['friction']} with "
            f"dynamics {options['dynamics']!r}"
        )
    if options["refresh_every"] > 0 and algorithm != "jarzynski":
        raise ValueError(
            f"only weighted walkers can be fresh ones; got refresh_every="
            f"{options['refresh_every']} with {algorithm!r}"
        )
    if options["principal_axes"] and not can_be_rotated(options):
        raise ValueError(
            "principal axes are for a network 'mlp' on a Gaussian of covariance 'full'; "
            f"got {options['network']!r} and {options['covariance']!r}"
        )
    if touched is not None and algorithm != "jarzynski":
        raise ValueError(
            f"only the algorithm 'jarzynski' can leave walkers untouched; "
            f"got touched={touched} with {algorithm!r}"
        )
