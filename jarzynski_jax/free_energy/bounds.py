"""Bounds from the average work and from its exponential averages, both ways."""

from typing import NamedTuple

from jarzynski_jax.free_energy.exponential import exponential_average, mean_of_living
from jarzynski_jax.free_energy.work_values import Estimate, as_pair, negative, shift
from jarzynski_jax.types import Array

__all__ = [
    "Bounds",
    "dissipation_bounds",
    "two_sided_bounds",
]


class Bounds(NamedTuple):
    """A lower and an upper bound in expectation, each with its standard error."""

    lower: Estimate
    upper: Estimate


def dissipation_bounds(forward_work: Array, reverse_work: Array) -> Bounds:
    r"""The second law: :math:`-\bar W_R \le \Delta F \le \bar W_F`, in expectation.

    Wide, but the means of work have honest errors however rare the walkers of least work. If
    some died, :math:`\bar W` is the mean of the living, a share s, less :math:`\log s`, which
    is a bound as well. Work and its errors are as of :func:`bennett_acceptance_ratio`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> bounds = dissipation_bounds(jnp.array([1.0, 3.0]), jnp.array([-2.0, 1.0]))
    >>> float(bounds.lower.value), float(bounds.upper.value)
    (0.5, 2.0)
    """
    forward_work, reverse_work, offset = as_pair(forward_work, reverse_work)
    lower = negative(mean_of_living(reverse_work)[0])
    return Bounds(shift(lower, offset), shift(mean_of_living(forward_work)[0], offset))


def two_sided_bounds(forward_work: Array, reverse_work: Array) -> Bounds:
    r"""Jensen: the exponential averages bound :math:`\Delta F` from both sides, in expectation.

    :math:`\log\overline{e^{-W_R}} \le \Delta F \le -\log\overline{e^{-W_F}}`. Much tighter than
    :func:`dissipation_bounds`. If they cross by more than their errors something is wrong,
    above all with the samples that the reverse runs started from. Work and its errors are as of
    :func:`bennett_acceptance_ratio`.

    Examples
    --------
    >>> bounds = two_sided_bounds(jnp.array([1.0, 3.0]), jnp.array([-1.0, 1.0]))
    >>> bool(bounds.lower.value < 1.0 < bounds.upper.value)
    True
    """
    forward_work, reverse_work, offset = as_pair(forward_work, reverse_work)
    lower = negative(exponential_average(reverse_work))
    return Bounds(shift(lower, offset), shift(exponential_average(forward_work), offset))
