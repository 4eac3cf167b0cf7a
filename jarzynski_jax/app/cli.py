"""The command line, ``jarzynski-jax``."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypeVar

__all__ = ["main"]

try:
    import tyro
    from rich.console import Console
    from rich.table import Table
except ImportError as error:  # pragma: no cover
    raise SystemExit(
        f"the command line needs the extra 'cli' ({error}): pip install 'jarzynski-jax[cli]'"
    ) from error

from jarzynski_jax import __version__, interruption
from jarzynski_jax import data as data_lib
from jarzynski_jax.app import config as job
from jarzynski_jax.app.shares import Shares
from jarzynski_jax.data import Source
from jarzynski_jax.energies.gaussian_base import Covariance
from jarzynski_jax.formatting import format_with_error, two_digits
from jarzynski_jax.interruption import Interruption
from jarzynski_jax.training import TrainingDiverged
from jarzynski_jax.walkers.sharding import make_mesh

_NOT_BELIEVED = 3
_Options = TypeVar("_Options", bound=type)


def _with_whole_help(options: _Options) -> _Options:
    """Hand the strings under the fields to tyro as paragraphs; it would keep line breaks."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(options))).body
    for field, text in pairwise(definition.body):  # type: ignore[attr-defined]
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            name = field.target.id  # type: ignore[union-attr]
            kind, words = options.__annotations__[name], ast.literal_eval(text.value).split()
            described = tyro.conf.arg(
                help=" ".join(words),
                help_behavior_hint=_default_hint,
                metavar="INT [INT ...]" if kind == tuple[int, ...] | None else None,
            )
            options.__annotations__[name] = Annotated[kind, described]
    return options


def _default_hint(default: str) -> str:
    return "(optional)" if default in ("None", "''") else f"(default: {default})"


@dataclass(frozen=True)
@_with_whole_help
class Train:
    """Train an energy-based model, bound its likelihood on test data, and draw pictures.

    The model is a neural network on a Gaussian fitted to the data. Energies and entropies are
    in nats.
    """

    source: tyro.conf.Positional[str] = "digits"
    """What to train on: 'digits' (scikit-learn's 8x8 images), 'mnist', 'fashion-mnist', or the
    path of a .npy or .npz file with an array of shape (n, d), or of images, (n, h, w) or
    (n, h, w, channels). A .npz file holds it alone or as 'data', and may then hold 'labels':
    integers, the class of each sample. Columns of a file are measured from their means in their
    standard deviations (pixels in one for all of them), so that nothing depends on their units;
    samples, pictures and the table are in those of the file."""
    data: Path | None = None
    """Folder of MNIST's or Fashion-MNIST's IDX files, gzipped or not, or of other grey images
    and their labels in files of these names; without it they are fetched from OpenML."""
    classes: str = ""
    """Labels to choose, such as 2,3,6, of MNIST, digits or a file with labels; all samples if
    not given. With two or more of them the report tells their shares among the model's
    samples."""
    proportions: str = ""
    """Of the classes chosen, such as 4:2:1; equal if not given. Samples beyond them are left
    out."""
    shrink: int = 1
    """Average images over blocks of so many pixels a side."""
    out: Path | None = None
    """Folder of the run; runs/ and the name of the data if not given."""
    resume: Path | None = None
    """Go on with the run in this folder, with the options that it was started with. Only
    --annealing-steps, --checkpoint-every and --devices may be given anew. Of a run that is
    finished the report is printed again; with other --annealing-steps than the report's it is
    bounded as by the command evaluate."""
    overwrite: bool = False
    """Replace an earlier run in the folder."""
    algorithm: job.AlgorithmName = "jarzynski"
    """Weighted walkers; or persistent contrastive divergence, contrastive divergence, or the
    weighted walk with its weights left out, to compare."""
    noise: float | None = None
    """Standard deviation of the Gaussian noise added to the data, whose density is learned.
    0.3 for digits and MNIST, if not given. For a file it is in units of each column's standard
    deviation, 0.1 if not given."""
    dynamics: job.DynamicsName | None = None
    """How walkers move: unadjusted Langevin; or kinetic Langevin, whose walkers have velocities
    and whose weights spread less in many dimensions. If not given, kinetic for all but
    digits."""
    step_size: float | None = None
    """Time step h. If not given, for a file the one with which a move keeps 99.8 % of the
    effective sample size of the best mixture of Gaussians, which is as narrow as the data are,
    in the same units as the noise; for digits and MNIST 0.22 times the smallest variance of
    data and noise along any direction for unadjusted Langevin (drift h, noise sqrt(2h)), and
    0.4 times the smallest standard deviation (less above 120 dimensions) for kinetic
    Langevin."""
    friction: float | None = None
    """Of kinetic Langevin, the rate at which velocities are forgotten; one over the largest
    standard deviation, if not given, or on principal axes one over its geometric mean with the
    smallest."""
    walkers: int | None = None
    """Training walkers. The fewer there are, the further the model learns them alone. 4096 for
    digits and 2048 for others, if not given."""
    touched: int | None = None
    """Walkers moved at each step, out of the pool of all; all of them if not given."""
    held_out: int = 1024
    """Walkers that never enter a gradient and tell log Z."""
    steps: int | None = None
    """Updates of the parameters. 10000 for digits and 4000 for others, if not given."""
    batch_size: int = 512
    """Data drawn for each update."""
    moves: int | None = None
    """Langevin moves of each walker for each update. 1 for digits and 4 for others, if not
    given. Walkers that are annealed make one move a step."""
    learning_rate: float | None = None
    """Of Adam at the start; it decays to 2 % by half a cosine. If not given, 1.5e-3 for digits
    and 2e-3 for others; less in proportion to the side of images that are larger than 14x14
    (or the root of the number of columns), and up to 5e-3 for a table of few columns; and less
    if the smallest variance is below 0.16 of the mean one, for there walkers are slow."""
    adam_b1: float | None = None
    """Adam's b1. A gradient pushes the energy up where the walkers stand; spread over 1 / (1 -
    b1) updates it meets walkers that have moved on. 0.9 for digits and 0.99 for others, if not
    given."""
    adam_eps: float | None = None
    """Adam's eps. A small one blows entries of the gradient that are noise up to full size; a
    large one keeps the model on the Gaussian for long. 1e-2 for digits and 1e-3 for others, if
    not given."""
    refresh_every: int = 0
    """Updates after which the walkers are annealed afresh from the Gaussian, so that what the
    model has learned of them alone does not add up; 0 for never."""
    refresh_steps: int = 500
    """Steps of each such annealing."""
    network: job.NetworkName = "mlp"
    """A multilayer perceptron; or, of images, the thesis' four convolutions before it."""
    standardize: tyro.conf.FlagConversionOff[bool | None] = None
    """Whether the network sees samples less their mean, over their standard deviation. On MNIST
    it learns much faster so; it does for all but digits, if not given. On principal axes
    samples have no mean in any case."""
    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers. If not given, two of 128 for digits and tables and of 256
    for images; one of 64 after convolutions."""
    covariance: Covariance = "full"
    """Of the Gaussian under the model."""
    principal_axes: tyro.conf.FlagConversionOff[bool | None] = None
    """Whether samples are rotated into the principal axes of the training data. Their densities
    stay as they are, but a full covariance costs nothing there, Adam scales other entries, and
    kinetic walkers are preconditioned: they go further where the data are wide. (Where that is
    more than 25 times as wide as the narrowest direction, and modes are as narrow, they need a
    smaller step size.) If not given, for all but digits, without
    convolutions and with a full covariance."""
    resampler: job.ResamplerName = "systematic"
    """How ancestors are drawn."""
    ess_threshold: float = 0.5
    """Resample when the effective sample size falls below this fraction of the walkers."""
    seed: int = 0
    """Of all random numbers but the split of the data."""
    annealing_steps: int | None = None
    """Steps of the annealing run that bounds log Z at the end, each way. If not given, 4000, or
    with --resume what the run was started with."""
    checkpoint_every: int | None = None
    """Updates between checkpoints, which are written at the end of each hundred. If not given,
    500, or with --resume what the run was started with. The last three are kept, and the one
    with the lowest held-out cross entropy, averaged since the checkpoint before."""
    devices: int = 1
    """Devices to spread walkers and data over while training; as many must divide the
    walkers. The numbers do not depend on it but for rounding."""


@dataclass(frozen=True)
@_with_whole_help
class Evaluate:
    """Bound the likelihood of a trained model on the test data again, and print the table.

    Writes evaluation-1.json and evaluation-1.png beside the run's files, or the next number
    that is free. Exit status 3 if the result is not to be believed.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    annealing_steps: int | None = None
    """Steps of the annealing run, each way. More bring the two bounds together, unless the step
    size is too large. What the run was started with, if not given."""
    annealing_walkers: int | None = None
    """Walkers in each of the replicates. As the run was started, 512, if not given."""
    replicates: int | None = None
    """Independent runs, whose spread tells the standard error. As the run was started, 4, if
    not given."""
    checkpoint: int | None = None
    """Update of the checkpoint to take, of those that are kept; the last if not given."""


@dataclass(frozen=True)
@_with_whole_help
class Sample:
    """Draw samples of a trained model: a picture and an .npz file.

    Says so if the run's report is not to be believed. The exit status is 0 all the same: the
    samples are what was asked for.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    num_samples: int = 512
    """How many."""
    annealing_steps: int | None = None
    """Steps of the annealing run. What the run was started with, if not given."""
    out: Path | None = None
    """Path of the .npz file; the picture goes beside it. RUN/samples-1.npz if not given, or the
    next number that is free."""
    overwrite: bool = False
    """Replace the files at --out."""
    checkpoint: int | None = None
    """Update of the checkpoint to take, of those that are kept; the last if not given."""


_Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        As after the name of the program; those of the process if None.

    Returns
    -------
    int
        Exit status: 0 if all went well, 1 if training diverged or too few walkers lived to be
        samples, 2 for bad input, 3 if the table of ``train`` or ``evaluate`` is not to be
        believed, 130 after Ctrl-C. ``sample`` says on the standard error that the run's report
        is not to be believed, but that is not a failure of drawing samples: 0. In the main
        thread Ctrl-C may end the process itself: see :func:`jarzynski_jax.interruption.run`.
    """
    if (sys.argv[1:] if arguments is None else list(arguments)) == ["--version"]:
        print(f"jarzynski-jax {__version__}")
        return 0
    command = tyro.cli(
        _Command,
        prog="jarzynski-jax",
        description="Energy-based models trained with Jarzynski-weighted walkers. "
        "--version prints the version. Exit status: 0 if all went well, 1 if training diverged "
        "or too few walkers lived to be samples, 2 for bad input, 3 if the table of train or "
        "evaluate is not to be believed, 130 after Ctrl-C.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )
    return interruption.run(lambda: _try(command), lambda left: _left_behind(command, left))


def _try(command: Train | Evaluate | Sample) -> int:
    try:
        return _run(command)
    except (TrainingDiverged, job.WalkersDied) as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _left_behind(command: Train | Evaluate | Sample, left: Interruption) -> str:
    """Say what is kept when a command is interrupted, and how to go on."""
    if isinstance(command, Train):
        return _left_of_training(command, left)
    if left.written:
        return f"interrupted; wrote no more than {', '.join(map(str, left.written))}"
    return "interrupted; nothing was written"


def _left_of_training(command: Train, left: Interruption) -> str:
    if left.last_saved is None and command.resume is None:
        return "interrupted before training; nothing is kept of it"
    kept = "the run is as it was"
    if left.last_saved is not None:
        lost = f", {_count(left.num_unsaved, 'later update')} lost" if left.num_unsaved else ""
        kept = f"everything up to update {left.last_saved} is saved{lost}"
    return f"interrupted; {kept}. {_how_to_go_on(command)}"


def _how_to_go_on(command: Train) -> str:
    return f"Go on with:\n  jarzynski-jax train --resume {_folder(command)}"


def _folder(command: Train) -> Path:
    return command.resume or command.out or Path("runs") / Path(command.source).stem


def _run(command: Train | Evaluate | Sample) -> int:
    if isinstance(command, Train):
        return _train(command)
    if isinstance(command, Evaluate):
        folder = job.RunFolder(command.run)
        settings = job.settings_of(
            folder, command.annealing_steps, command.annealing_walkers, command.replicates
        )
        done = job.evaluate(folder, settings, command.checkpoint)
        _print_report(done.report)
        print(f"wrote {_listed(*done.files)}")
        return _status(done.report)
    return _sample(command)


def _train(command: Train) -> int:
    mesh = None if command.devices == 1 else make_mesh(command.devices)
    folder = job.RunFolder(_folder(command))
    if command.resume is not None:
        _check_resume(command)
        job.settings_of(folder, command.annealing_steps)  # known to be right before training
        is_done = job.resume(folder, mesh, command.checkpoint_every)
    else:
        source = _source(command)
        data = data_lib.load_split(source)
        options = asdict(command)
        for name in (*Source._fields[1:], *_NOT_OF_THE_CONFIG):
            options.pop(name, None)
        config = job.make_config(data, source, **options)
        is_done = job.start(folder, config, data, command.overwrite, mesh)
    if not is_done:
        how = _how_to_go_on(command)
        print(f"\ninterrupted; everything is saved. {how}", file=sys.stderr)
        return interruption.EXIT_STATUS
    report, files = job.finish(folder, command.annealing_steps)
    _print_report(report)
    print(f"see {_listed(*files, folder.curves)} and the other files in {folder.path}")
    return _status(report)


def _status(report: job.Report) -> int:
    return _NOT_BELIEVED if report.model.doubts else 0


def _listed(*paths: Path) -> str:
    """Those that are there."""
    return ", ".join(str(path) for path in paths if path.is_file())


_KNOWN_DATA = ("digits", "mnist", "fashion-mnist")
#: What is not the model's, or is told by its source.
_NOT_OF_THE_CONFIG = (
    "source",
    "data",
    "out",
    "resume",
    "overwrite",
    "devices",
)


def _source(command: Train) -> Source:
    is_file = data_lib.is_file(command.source)
    if is_file and not Path(command.source).is_file():
        likely = get_close_matches(command.source, _KNOWN_DATA, n=1)
        meant = f"; did you mean {likely[0]}?" if likely else ""
        raise ValueError(f"there is no file {command.source}{meant}")
    return Source(
        str(Path(command.source).resolve()) if is_file else command.source,
        None if command.data is None else str(command.data.resolve()),
        _numbers("classes", command.classes, ","),
        _numbers("proportions", command.proportions, ":"),
        command.shrink,
    )


def _numbers(name: str, text: str, separator: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(separator)) if text else ()
    except ValueError:
        raise ValueError(
            f"{name} must be whole numbers with {separator!r} between them; got {text!r}"
        ) from None


def _check_resume(command: Train) -> None:
    changed = [
        field.name.replace("_", "-")
        for field in fields(Train)
        if getattr(command, field.name) != field.default
        and field.name not in ("resume", "annealing_steps", "checkpoint_every", "devices")
    ]
    if changed:
        raise ValueError(
            f"--resume goes on with the options that the run was started with; "
            f"leave out {', '.join(changed)}"
        )


def _sample(command: Sample) -> int:
    folder = job.RunFolder(command.run)
    settings = job.settings_of(folder, command.annealing_steps)
    done = job.sample(
        folder,
        command.num_samples,
        settings,
        command.out,
        command.overwrite,
        command.checkpoint,
    )
    print(
        f"{command.num_samples} samples from {done.num_walkers} walkers, {done.num_alive} of "
        f"them alive, annealed in {done.num_steps} steps: {_describe(done.moves)}.\n"
        f"wrote {done.samples} and {done.picture}"
    )
    report = job.read_report(folder)
    if report is not None and report.updates == done.updates:
        for doubt in report.model.doubts:
            print(f"NOT TO BE BELIEVED, says {folder.report}: {doubt}.", file=sys.stderr)
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _describe(moves: job.Moves) -> str:
    friction = "" if moves.friction is None else f", friction {moves.friction:g}"
    return f"{moves.dynamics} dynamics, step size {moves.step_size:g}{friction}"


def _print_report(report: job.Report) -> None:
    bracket = report.model
    table = Table(title="Cross entropy of the test data (nats; smaller is better)")
    for name, justify in (
        ("density", "left"),
        ("lower bound", "right"),
        ("upper bound", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    is_believed = not bracket.doubts
    mark = "" if is_believed else " (not to be believed)"
    table.add_row(
        f"energy-based model, {report.updates} updates{mark}",
        format_with_error(bracket.lower, bracket.lower_error),
        format_with_error(bracket.upper, bracket.upper_error),
    )
    largest = ", the most tried" if report.num_components == report.most_components else ""
    table.add_row("one full Gaussian", *2 * [f"{report.gaussian:.2f}"])
    table.add_row(
        f"best mixture of full Gaussians ({report.num_components}{largest})",
        *2 * [f"{report.mixture:.2f}"],
    )
    if report.noise is not None:
        table.add_row("entropy of the noise: the floor", *2 * [f"{report.noise:.2f}"])
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    difference, error = report.mixture_difference
    side = "below" if difference < 0 else "above"
    away = format_with_error(abs(difference), error)
    print(
        f"± is the standard error of log Z. The {report.num_test} test samples add one of "
        f"{two_digits(bracket.test_error)}, common to all rows;\n"
        f"the mixture lies {away} {side} the model's upper bound "
        "(paired over test samples)."
    )
    steps, walkers, replicates = report.annealing
    print(
        f"Bounds from {_count(replicates, 'replicate')} of {_count(walkers, 'walker')} and "
        f"{_count(steps, 'step')} each way: {_describe(report.moves)}."
    )
    if report.log_volume != 0:
        side = "lower" if report.log_volume > 0 else "higher"
        print(
            f"metrics.csv and curves.png are of standard coordinates: {side} by "
            f"{abs(report.log_volume):.2f}."
        )
    if bracket.relaxed is not None:
        print(f"Backward from samples relaxed from data: {bracket.relaxed:.2f}.")
    if is_believed:
        apart = bracket.upper - bracket.lower
        agree = ", within their errors" if apart < 0 else ""
        print(f"The two bounds are {two_digits(abs(apart))} nats apart{agree}.")
    for doubt in bracket.doubts:
        print(f"NOT TO BE BELIEVED: {doubt}.")
    if report.shares is not None:
        _print_shares(report.shares, console)


def _print_shares(shares: Shares, console: Console) -> None:
    table = Table(title="Shares of the classes")
    for name in ("class", "test data", "test data, classified", "model, classified"):
        table.add_column(name, justify="right")
    columns = shares.classes, shares.data, shares.classified, shares.model, shares.error
    for label, data, classified, model, error in zip(*columns, strict=True):
        table.add_row(
            *(f"{label}", f"{data:.3f}", f"{classified:.3f}", format_with_error(model, error))
        )
    console.print(table)
    print(
        f"The classifier is right on {100 * shares.accuracy:.1f} % of the test data with their "
        "noise; ± is over replicates.\n"
        "Total variation between the model and the test data, both as classified: "
        f"{format_with_error(*shares.total_variation)}."
    )


if __name__ == "__main__":
    sys.exit(main())
