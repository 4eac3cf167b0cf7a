"""The arguments of the command line: its commands, and their options in groups."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro

from jarzynski_jax.app.coding_arguments import Compress, Decompress, TrainAutoencoder
from jarzynski_jax.app.coding_arguments import argument as _arg
from jarzynski_jax.app.config import OPTIONS, Config, GroupName

__all__ = [
    "ANEW",
    "Command",
    "DataArguments",
    "Evaluate",
    "RunArguments",
    "Sample",
    "Train",
    "parse",
]


#: Options that may be given anew with --resume.
ANEW = ("annealing_steps", "checkpoint_every")


@dataclasses.dataclass(frozen=True)
class DataArguments:
    """Which data, and which of them."""

    source: Annotated[
        tyro.conf.Positional[str],
        _arg("digits, mnist, fashion-mnist, or a .npy or .npz file", "(default: digits)"),
    ] = "digits"
    data: Annotated[
        Path | None, _arg("Folder of IDX files of images; without it they are fetched")
    ] = None
    classes: Annotated[str, _arg("Labels to choose, such as 2,3,6")] = ""
    proportions: Annotated[str, _arg("Of the classes chosen, such as 4:2:1")] = ""
    shrink: Annotated[
        int, _arg("Average images over blocks of so many pixels a side", "(default: 1)")
    ] = 1


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """Where a run is kept, and where it is trained."""

    out: Annotated[
        Path | None, _arg("Folder of the run; else runs/ and the name of the data")
    ] = None
    resume: Annotated[
        Path | None, _arg("Go on with the run in this folder, with its own options")
    ] = None
    overwrite: Annotated[bool, _arg("Replace an earlier run in the folder")] = False
    devices: Annotated[
        int, _arg("Over which walkers and data are spread in training", "(default: 1)")
    ] = 1


class Train(NamedTuple):
    """``jarzynski-jax train``; ``options`` are those of :class:`Config`, None if not given."""

    data: DataArguments
    run: RunArguments
    options: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.run.resume or self.run.out or Path("runs") / Path(self.data.source).stem

    def changed(self) -> list[str]:
        """Names of what is not as if it had been left out."""
        own = [
            entry.name
            for part, kind in ((self.data, DataArguments), (self.run, RunArguments))
            for entry in dataclasses.fields(kind)
            if getattr(part, entry.name) != entry.default
        ]
        return own + [name for name, value in self.options.items() if value != _default(name)]


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Bound the likelihood of a trained model on the test data again, and print the table.

    Writes evaluation-1.json and evaluation-1.png beside the run's files, or the next number
    that is free. Exit status 3 if the result is not to be believed. What is not given is as the
    run was started.
    """

    run: Annotated[tyro.conf.Positional[Path], _arg("Folder of the run", "(required)")]
    annealing_steps: Annotated[
        int | None, _arg("Steps each way; more bring the two bounds together")
    ] = None
    annealing_walkers: Annotated[int | None, _arg("Walkers in each of the replicates")] = None
    replicates: Annotated[
        int | None, _arg("Independent runs, whose spread tells the standard error")
    ] = None
    checkpoint: Annotated[
        int | None, _arg("Update of a kept checkpoint; else of the last one")
    ] = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draw samples of a trained model: a picture and an .npz file.

    Says so if the run's report is not to be believed. The exit status is 0 all the same: the
    samples are what was asked for.
    """

    run: Annotated[tyro.conf.Positional[Path], _arg("Folder of the run", "(required)")]
    num_samples: Annotated[int, _arg("How many", "(default: 512)")] = 512
    annealing_steps: Annotated[
        int | None, _arg("Steps of the annealing; else as the run was started")
    ] = None
    out: Annotated[Path | None, _arg("The .npz file; else RUN/samples-1.npz, or -2, ...")] = (
        None
    )
    overwrite: Annotated[bool, _arg("Replace the files at --out")] = False
    checkpoint: Annotated[
        int | None, _arg("Update of a kept checkpoint; else of the last one")
    ] = None


#: What the command line can do.
Command: TypeAlias = Train | Evaluate | Sample | TrainAutoencoder | Compress | Decompress


def parse(arguments: Sequence[str] | None) -> Command:
    """Parse the command line: what follows the program's name, of the process if None.

    Examples
    --------
    >>> parse(["train", "mnist", "--steps", "9"]).changed()
    ['source', 'steps']
    """
    command: Any = tyro.cli(
        _COMMANDS,
        prog="jarzynski-jax",
        description="Energy-based models trained with Jarzynski-weighted walkers; "
        "autoencoders, and lossless compression by them. "
        "--version prints the version. Exit status: 0 if all went well, 1 if training diverged "
        "or too few walkers lived to be samples, 2 for bad input, 3 if the table of train or "
        "evaluate is not to be believed, 130 after Ctrl-C.",
        args=arguments,
        config=(
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.DisallowNone,
            tyro.conf.OmitArgPrefixes,
        ),
    )
    if isinstance(command, Evaluate | Sample | TrainAutoencoder | Compress | Decompress):
        return command
    groups = [getattr(command, group) for group in get_args(GroupName)]
    values = {name: value for group in groups for name, value in vars(group).items()}
    options = {name: values[name] for name in OPTIONS if name in values}
    return Train(command.data, command.run, options)


def _group(group: GroupName) -> Any:
    """Arguments of a group: those of its own, and the options of :class:`Config` in it."""
    own = {"data": (DataArguments,), "run": (RunArguments,)}.get(group, ())
    kinds = get_type_hints(Config)
    fields = [
        (name, _annotated(name, kinds[name]), dataclasses.field(default=_default(name)))
        for name, option in OPTIONS.items()
        if option.group == group
    ]
    return dataclasses.make_dataclass(group, fields, bases=own, frozen=True)


def _default(name: str) -> Any:
    """None means that an option is not given."""
    return None if name in ANEW else OPTIONS[name].default


def _annotated(name: str, kind: Any) -> Any:
    option = OPTIONS[name]
    hint = "(optional)" if option.default is None else f"(default: {option.default})"
    argument = _arg(option.help, "(by data)" if option.by_data else hint, _metavar(kind))
    if _default(name) is None:
        kind = kind | None
    # A flag --standardize alone could not say no.
    marks = (tyro.conf.FlagConversionOff,) if bool in (kind, *get_args(kind)) else ()
    return Annotated[(kind, argument, *marks)]


def _metavar(kind: Any) -> str | None:
    """In place of what would be too long for one line."""
    if get_origin(kind) is Literal:
        return "NAME"
    return {bool: "BOOL", tuple[int, ...]: "INT [INT ...]"}.get(kind)


_ParsedTrain: Any = dataclasses.make_dataclass(
    "_ParsedTrain",
    [
        (group, Annotated[_group(group), tyro.conf.arg(name=group.replace("_", " "))])
        for group in get_args(GroupName)
    ],
    frozen=True,
)
_ParsedTrain.__doc__ = (
    "Train an energy-based model, bound its likelihood on test data, and draw pictures.\n\n"
    "The model is a neural network on a Gaussian fitted to the data. Energies are in nats.\n\n"
    "Defaults that differ by the data are in a table of docs/command_line.md."
)
_COMMANDS: Any = (
    Annotated[_ParsedTrain, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[TrainAutoencoder, tyro.conf.subcommand("train-autoencoder")]
    | Annotated[Compress, tyro.conf.subcommand("compress")]
    | Annotated[Decompress, tyro.conf.subcommand("decompress")]
)
