"""Seeing when training with walkers goes wrong, from the metrics of its last chunks.

A run that goes wrong rarely stops by itself: its numbers stay finite and look splendid. So
between chunks these signs are looked for:

* the ensemble or a part of it died, or no gradient was finite any more;
* the cross entropy is below the entropy of the noise in the data, which no model can reach;
* the walkers' energy leaves the data's, by more each time: the model pushes its walkers away
  faster than they can follow;
* the effective sample size stays collapsed, though the walkers are resampled;
* the held-out cross entropy stays far above its best.
"""

import math
from collections.abc import Sequence

import numpy as np

from jarzynski_jax.training.chunk_summary import ChunkSummary, believed_cross_entropy
from jarzynski_jax.training.stop_rules import MAX_FAILED, Trouble, count_in_a_row
from jarzynski_jax.training.watch import Watch

__all__ = ["blame_step_size", "diagnose", "is_of_deaths"]

# Of the effective sample size, what a move must leave at a model at rest.
_MIN_STEP_QUALITY = 0.9
# Nats by which the held-out cross entropy may rise, and chunks among which its best is sought.
_MAX_RISE = 5.0
_NUM_REMEMBERED = 1000

_ADVICE_SLOWER = (
    "Take a smaller learning rate, or more walkers or moves an update, so that the walkers "
    "can follow the model."
)
_ADVICE_SUPPORT = (
    "If the density ends at a wall, take Metropolis-adjusted moves (kernels.metropolis in "
    "kernels.invariant), or a bijection to an unbounded space (targets.unbounded); if not, a "
    "smaller step size, well below the smallest variance of the data along any direction, "
    "noise included, or a smaller learning rate."
)
_ADVICE_STEP_SIZE = (
    "Take a smaller step size: it must be well below the smallest variance of the data along "
    "any direction, noise included; or a smaller learning rate."
)


def diagnose(
    chunks: Sequence[ChunkSummary], watch: Watch | None, is_weighted: bool = True
) -> list[Trouble]:
    """Look for trouble in the last chunks.

    Parameters
    ----------
    chunks
        Summaries in order of time, the last one new.
    watch
        What to look for; None for gradients that are not finite, alone.
    is_weighted
        Whether the training walkers carry weights. Without them nobody expects the walkers
        to keep up with the model: then only the death of the walkers is fatal.

    Returns
    -------
    list[Trouble]
        What is wrong; empty if all is well.

    Examples
    --------
    >>> import numpy as np
    >>> from jarzynski_jax.training import Metrics
    >>> from jarzynski_jax.training.chunk_summary import summarize
    >>> metrics = Metrics(*np.zeros((len(Metrics._fields), 50)))
    >>> summary = summarize(metrics, 0)._replace(effective_sample_size=0.9, num_skipped=50)
    >>> [trouble.is_fatal for trouble in diagnose([summary], Watch(num_features=2))]
    [True]
    """
    if watch is None:
        failed = _no_gradient(chunks)
        return [] if failed is None else [failed]
    recent = chunks[-watch.patience :]
    found = (
        _died(recent, watch),
        _some_died(recent, watch),
        _no_gradient(chunks),
        _below_floor(recent, watch),
        _runs_away(recent, watch),
        _collapsed(recent, watch),
        _held_out_collapsed(recent, watch),
    )
    troubles = [trouble for trouble in found if trouble is not None]
    worse = _worse_than_best(chunks[-_NUM_REMEMBERED:], watch)
    if worse is not None:
        troubles.append(worse)
    if is_weighted:
        return troubles
    return [
        trouble._replace(is_fatal=trouble.sign in ("died", "no gradient"))
        for trouble in troubles
    ]


def is_of_deaths(trouble: Trouble) -> bool:
    """Whether moves are blamed already."""
    return trouble.sign in ("died", "some died", "no gradient")


def blame_step_size(trouble: Trouble, quality: float) -> Trouble:
    """Say so if the step size is at fault.

    Parameters
    ----------
    trouble
        What :func:`diagnose` found.
    quality
        What a move leaves of the effective sample size among the data, by
        :func:`~jarzynski_jax.training.step_quality`.

    Returns
    -------
    Trouble
        With other advice, if a move leaves less than nine tenths; as it is if walkers died, for
        then moves are blamed already.

    Examples
    --------
    >>> from jarzynski_jax.training import Trouble
    >>> trouble = Trouble("collapsed", 1, "it is so", "Do it.", is_fatal=True)
    >>> blame_step_size(trouble, 0.98).advice
    'Do it.'
    >>> blame_step_size(trouble, 0.3).advice.split(":")[0]
    'The step size is too large'
    """
    if is_of_deaths(trouble) or not quality < _MIN_STEP_QUALITY:
        return trouble
    advice = (
        "The step size is too large: one move among the data loses "
        f"{100 * (1 - quality):.2g} % of the effective sample size though the model rests, for "
        "the data are narrower in places than they are as a whole. Take a smaller step "
        "size, with which a move loses a per cent or two (tuning.find_step_size)."
    )
    return trouble._replace(advice=advice)


def _died(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    step = chunks[-1].first_dead_step
    if step is None:
        return None
    return Trouble(
        "died",
        step,
        "no walker has a finite weight any more: energies or gradients are not finite",
        _ADVICE_STEP_SIZE,
        is_fatal=True,
    )


def _some_died(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    last = chunks[-1]
    if last.num_dead == 0 or last.first_dead_step is not None:
        return None
    num_steps = last.last_step - last.first_step
    share = ""
    if watch.num_walkers is not None:
        share = f", {100 * last.num_dead / (num_steps * watch.num_walkers):.2g} % an update,"
    return Trouble(
        "some died",
        last.last_step,
        f"{last.num_dead} walkers{share} came to where the energy or its gradient is not "
        "finite, and died. At a wall of the density those that come back are missing: weights, "
        "gradient and log Z are then wrong, and not only spread out. "
        f"{last.num_skipped} updates were skipped for it",
        _ADVICE_SUPPORT,
        is_fatal=False,
    )


def _no_gradient(chunks: Sequence[ChunkSummary]) -> Trouble | None:
    last = chunks[-1]
    num_steps = [chunk.last_step - chunk.first_step for chunk in reversed(chunks)]
    # Where in a chunk some were skipped is not known: only whole ones count.
    skipped = (
        chunk.num_skipped if chunk.num_skipped >= size else 0
        for chunk, size in zip(reversed(chunks), num_steps, strict=True)
    )
    num_skipped = count_in_a_row(zip(skipped, num_steps, strict=True))
    # A few skipped updates are no trouble, even if the last chunks have only a few.
    if num_skipped < MAX_FAILED:
        return None
    return Trouble(
        "no gradient",
        last.last_step,
        f"the gradient has not been finite for {num_skipped} updates",
        _ADVICE_STEP_SIZE,
        is_fatal=True,
    )


def _below_floor(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    floor = watch.entropy_floor
    # Two chunks, for the held-out estimate is noisy; a NaN is not below.
    recent = [chunk.cross_entropy for chunk in chunks[-2:]]
    if floor is None or len(recent) < 2 or not max(recent) < floor:
        return None
    return Trouble(
        "below floor",
        chunks[-1].last_step,
        f"the held-out cross entropy is {recent[-1]:.1f} nats, below the entropy of the noise "
        f"in the data, {floor:.1f}, which no model can reach: log Z is wrong, the model has "
        "run away from its walkers",
        _ADVICE_SLOWER,
        is_fatal=True,
        is_of_cross_entropy=True,
    )


def _runs_away(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    gaps = np.abs([chunk.energy_gap for chunk in chunks])
    spread = math.sqrt(watch.num_features / 2)
    if len(gaps) < watch.patience or not np.all(np.diff(gaps) > 0) or not gaps[-1] > spread:
        return None
    return Trouble(
        "runs away",
        chunks[-1].last_step,
        f"the energies of data and walkers are {gaps[-1]:.1f} nats apart and drift further "
        f"apart; they should agree, and one sample's energy spreads by about {spread:.1f}",
        _ADVICE_SLOWER,
        is_fatal=bool(gaps[-1] > 5 * spread),
    )


def _stays_collapsed(fractions: Sequence[float], watch: Watch) -> bool:
    threshold = watch.min_effective_sample_size
    return len(fractions) >= watch.patience and max(fractions) < threshold


def _collapsed(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    fractions = [chunk.effective_sample_size for chunk in chunks]
    if not _stays_collapsed(fractions, watch):
        return None
    return Trouble(
        "collapsed",
        chunks[-1].last_step,
        f"the effective sample size of the training walkers stays collapsed, at "
        f"{100 * fractions[-1]:.2g} % of them",
        _ADVICE_SLOWER + " Or a smaller step size.",
        is_fatal=True,
    )


def _held_out_collapsed(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    fractions = [chunk.held_out_effective_sample_size for chunk in chunks]
    if not _stays_collapsed(fractions, watch):
        return None
    return Trouble(
        "held-out collapsed",
        chunks[-1].last_step,
        f"the effective sample size of the held-out walkers stays collapsed, at "
        f"{100 * fractions[-1]:.2g} % of them: do not believe the cross entropy shown",
        _ADVICE_SLOWER,
        is_fatal=False,
    )


def _worse_than_best(chunks: Sequence[ChunkSummary], watch: Watch) -> Trouble | None:
    values = np.array([believed_cross_entropy(chunk, watch) for chunk in chunks], np.float64)
    if len(values) < 2 * watch.patience:
        return None
    # The highest of some chunks in a row, and the lowest of the last: no single chunk that is
    # lucky or unlucky makes the difference.
    highest = np.lib.stride_tricks.sliding_window_view(values, watch.patience).max(axis=1)
    best = float(np.nanmin(highest, initial=np.inf))
    last = float(np.min(values[-watch.patience :]))
    if not last > best + _MAX_RISE:  # nor is NaN
        return None
    return Trouble(
        "worse than best",
        chunks[-1].last_step,
        f"the held-out cross entropy is {last:.1f} nats or more, and was {best:.1f} or less: "
        "the model has become worse",
        _ADVICE_SLOWER,
        is_fatal=False,
    )
