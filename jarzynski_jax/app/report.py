"""The report of a run: its model's bracket beside baselines, as JSON."""

from typing import NamedTuple

from jarzynski_jax import free_energy
from jarzynski_jax.app.config import Config, DynamicsName
from jarzynski_jax.app.run_folder import ResultFiles, RunFolder, from_plain, read_json
from jarzynski_jax.app.shares import Shares
from jarzynski_jax.training.bounding import Annealing

__all__ = ["Evaluation", "Moves", "Report", "read_report"]


class Moves(NamedTuple):
    """How walkers that are annealed move: once a step, with the options of training."""

    dynamics: DynamicsName
    step_size: float
    friction: float | None

    @classmethod
    def of(cls, config: Config) -> "Moves":
        """Those of a run."""
        return cls(config.dynamics, config.step_size, config.friction)


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
    """Read the report that a run ended with, None if there is none yet.

    ValueError if the file is no report.
    """
    if not folder.report.is_file():
        return None
    values = read_json(folder.report)
    try:
        return from_plain(Report, values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{folder.report} is not the report of a run: {error}") from error
