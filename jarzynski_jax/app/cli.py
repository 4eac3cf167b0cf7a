"""The command line, ``jarzynski-jax``."""

import math
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

__all__ = ["main"]

try:
    import rich  # noqa: F401
    import tyro  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise SystemExit(
        f"the command line needs the extra 'cli' ({error}): pip install 'jarzynski-jax[cli]'"
    ) from error

from jarzynski_jax import __version__, interruption
from jarzynski_jax import data as data_lib
from jarzynski_jax.app import compression
from jarzynski_jax.app.arguments import (
    ANEW,
    Command,
    DataArguments,
    Evaluate,
    Sample,
    Train,
    parse,
)
from jarzynski_jax.app.coding_arguments import Compress, Decompress, TrainAutoencoder
from jarzynski_jax.app.defaults import make_config
from jarzynski_jax.app.evaluate import evaluate, finish, settings_of
from jarzynski_jax.app.printing import count, describe_moves, print_report
from jarzynski_jax.app.report import Report, read_report
from jarzynski_jax.app.run_folder import RunFolder
from jarzynski_jax.app.sample import WalkersDied, sample
from jarzynski_jax.app.train import resume, start
from jarzynski_jax.data import Source
from jarzynski_jax.formatting import format_with_error
from jarzynski_jax.interruption import Interruption
from jarzynski_jax.training import TrainingDiverged
from jarzynski_jax.walkers import make_mesh

_NOT_BELIEVED = 3
_KNOWN_DATA = ("digits", "mnist", "fashion-mnist")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: what follows the program's name, of the process if None.

    Returns the exit status: 0 if all went well, 1 if training diverged or too few walkers lived
    to be samples, 2 for bad input, 3 if the table of ``train`` or ``evaluate`` is not to be
    believed, 130 after Ctrl-C. ``sample`` says on the standard error that the run's report is
    not to be believed, but that is not a failure of drawing samples: 0. In the main thread
    Ctrl-C may end the process itself: see :func:`jarzynski_jax.interruption.run`.
    """
    if (sys.argv[1:] if arguments is None else list(arguments)) == ["--version"]:
        print(f"jarzynski-jax {__version__}")
        return 0
    command = parse(arguments)
    return interruption.run(lambda: _try(command), lambda left: _left_behind(command, left))


def _try(command: Command) -> int:
    try:
        return _run(command)
    except (TrainingDiverged, WalkersDied) as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _left_behind(command: Command, left: Interruption) -> str:
    """Say what is kept when a command is interrupted, and how to go on."""
    if isinstance(command, Train):
        return _left_of_training(command, left)
    if left.written:
        return f"interrupted; wrote no more than {', '.join(map(str, left.written))}"
    return "interrupted; nothing was written"


def _left_of_training(command: Train, left: Interruption) -> str:
    if left.last_saved is None and command.run.resume is None:
        return "interrupted before training; nothing is kept of it"
    kept = "the run is as it was"
    if left.last_saved is not None:
        lost = f", {count(left.num_unsaved, 'later update')} lost" if left.num_unsaved else ""
        kept = f"everything up to update {left.last_saved} is saved{lost}"
    return f"interrupted; {kept}. {_how_to_go_on(command)}"


def _how_to_go_on(command: Train) -> str:
    return f"Go on with:\n  jarzynski-jax train --resume {command.folder}"


def _run(command: Command) -> int:
    if isinstance(command, Train):
        return _train(command)
    if isinstance(command, Evaluate):
        return _evaluate(command)
    if isinstance(command, TrainAutoencoder):
        return _train_autoencoder(command)
    if isinstance(command, Compress | Decompress):
        return _code(command)
    return _sample(command)


def _train(command: Train) -> int:
    mesh = None if command.run.devices == 1 else make_mesh(command.run.devices)
    folder, annealing_steps = RunFolder(command.folder), command.options["annealing_steps"]
    if command.run.resume is not None:
        _check_resume(command)
        settings_of(folder, annealing_steps)  # known to be right before training
        is_done = resume(folder, mesh, command.options["checkpoint_every"])
    else:
        source = _source(command.data)
        data = data_lib.load_split(source)
        config = make_config(data, source, **command.options)
        is_done = start(folder, config, data, command.run.overwrite, mesh)
    if not is_done:
        how = _how_to_go_on(command)
        print(f"\ninterrupted; everything is saved. {how}", file=sys.stderr)
        return interruption.EXIT_STATUS
    report, files = finish(folder, annealing_steps)
    print_report(report)
    print(f"see {_listed(*files, folder.curves)} and the other files in {folder.path}")
    return _status(report)


def _evaluate(command: Evaluate) -> int:
    folder = RunFolder(command.run)
    settings = settings_of(
        folder, command.annealing_steps, command.annealing_walkers, command.replicates
    )
    done = evaluate(folder, settings, command.checkpoint)
    print_report(done.report)
    print(f"wrote {_listed(*done.files)}")
    return _status(done.report)


def _status(report: Report) -> int:
    return _NOT_BELIEVED if report.model.doubts else 0


def _listed(*paths: Path) -> str:
    """Those that are there."""
    return ", ".join(str(path) for path in paths if path.is_file())


def _source(command: DataArguments) -> Source:
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
    allowed = ("resume", "devices", *ANEW)
    changed = [name.replace("_", "-") for name in command.changed() if name not in allowed]
    if changed:
        raise ValueError(
            f"--resume goes on with the options that the run was started with; "
            f"leave out {', '.join(changed)}"
        )


def _sample(command: Sample) -> int:
    folder = RunFolder(command.run)
    settings = settings_of(folder, command.annealing_steps)
    done = sample(
        folder,
        command.num_samples,
        settings,
        command.out,
        command.overwrite,
        command.checkpoint,
    )
    print(
        f"{command.num_samples} samples from {done.num_walkers} walkers, {done.num_alive} of "
        f"them alive, annealed in {done.num_steps} steps: {describe_moves(done.moves)}.\n"
        f"wrote {done.samples} and {done.picture}"
    )
    report = read_report(folder)
    if report is not None and report.updates == done.updates:
        for doubt in report.model.doubts:
            print(f"NOT TO BE BELIEVED, says {folder.report}: {doubt}.", file=sys.stderr)
    return 0


def _train_autoencoder(command: TrainAutoencoder) -> int:
    images = compression.load_whole_numbers(command.source, command.data, command.levels)
    found = compression.train_autoencoder(
        images,
        command.out,
        latent_dim=command.latent_dim,
        hidden=command.hidden,
        output=command.output,
        is_binary=command.binary,
        num_steps=command.steps,
        batch_size=command.batch_size,
        learning_rate=command.learning_rate,
        seed=command.seed,
        overwrite=command.overwrite,
    )
    if found.is_interrupted:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        return interruption.EXIT_STATUS
    bits = found.negative_elbo / math.log(2) / found.num_pixels
    print(
        f"{found.num_test} test images: minus the evidence lower bound is "
        f"{format_with_error(found.negative_elbo, found.error)} nats an image, {bits:.4f} bits "
        f"a pixel.\nwrote {command.out}"
    )
    return 0


def _code(command: Compress | Decompress) -> int:
    if isinstance(command, Compress):
        images = compression.load_to_compress(command.source, command.data, command.binary)
        done = compression.compress(
            command.model,
            images,
            command.out,
            num_samples=command.num_samples,
            num_latent_bits=command.latent_bits,
            num_annealing_steps=command.annealing_steps,
            overwrite=command.overwrite,
        )
    else:
        done = compression.decompress(
            command.model, command.file, command.out, overwrite=command.overwrite
        )
    num_pixels = done.num_images * done.num_pixels
    print(
        f"{count(done.num_images, 'image')}: {done.num_bits / num_pixels:.4f} bits a pixel, "
        f"and {8 * done.num_bytes / num_pixels:.4f} with seed words and header "
        f"({done.num_bytes} bytes).\nwrote {command.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
