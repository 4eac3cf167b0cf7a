"""How the training of an energy-based model is watched: the monitor of its objectives."""

from collections.abc import Callable, Sequence

import numpy as np
from jax import random

from jarzynski_jax.training import trouble
from jarzynski_jax.training.chunk_summary import ChunkSummary, mean_cross_entropy, summarize
from jarzynski_jax.training.metrics import Metrics
from jarzynski_jax.training.objective import Monitor
from jarzynski_jax.training.step_quality import StepQuality
from jarzynski_jax.training.stop_rules import Trouble
from jarzynski_jax.training.watch import Watch
from jarzynski_jax.types import Array, Params, PRNGKey

__all__ = ["monitor_walkers"]

# Data among which a move is measured when there is trouble.
_NUM_MEASURED = 500


def monitor_walkers(watch: Watch | None, is_weighted: bool, quality: StepQuality) -> Monitor:
    """Make the monitor of an energy-based model.

    Parameters
    ----------
    watch
        What to look for; None for gradients that are not finite, alone.
    is_weighted
        Whether the training walkers carry weights.
    quality
        From :func:`~jarzynski_jax.training.step_quality`, to tell a step size that is too large
        from a model that is too fast.

    Returns
    -------
    Monitor
        The best checkpoint is that of the lowest held-out cross entropy.
    """

    def diagnose(chunks: Sequence[ChunkSummary], is_whole: bool) -> list[Trouble]:
        found = trouble.diagnose(chunks, watch, is_weighted)
        # A few updates are too few to tell anything but a death from their noise.
        return [each for each in found if is_whole or each.sign == "died"]

    def explain(
        troubles: list[Trouble],
        rng_key: PRNGKey,
        params: Params,
        draw: Callable[[PRNGKey, int], Array],
    ) -> list[Trouble]:
        if all(trouble.is_of_deaths(each) for each in troubles):
            return troubles
        key_batch, key_move = random.split(rng_key)
        measured = float(quality(key_move, params, draw(key_batch, _NUM_MEASURED)))
        return [trouble.blame_step_size(each, measured) for each in troubles]

    return Monitor(
        summarize=summarize,
        diagnose=diagnose,
        explain=explain,
        cross_entropy=lambda chunks: mean_cross_entropy(chunks, watch),
        describe=_describe,
    )


def _describe(metrics: Metrics) -> str:
    return (
        f"ESS {np.median(metrics.effective_sample_size):.2f}, "
        f"cross entropy {np.mean(metrics.cross_entropy):.2f} nats"
    )
