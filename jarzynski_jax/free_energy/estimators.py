r"""Free-energy differences from work, forward and reverse, with errors that deserve the name.

The work of a walker is minus its log-weight, :math:`W = -A`, in nats. Forward, from samples of
the first density along the path, :math:`E[e^{-W}] = Z_1/Z_0 = e^{-\Delta F}`; in reverse, from
samples of the last one along the reversed path, :math:`E[e^{-W}] = e^{\Delta F}`. So
:math:`\log(Z_1/Z_0) = -\Delta F`. The walkers must be independent: not resampled on the way.

The exponential averages need no more than that. BAR, Crooks' crossing and the overlap need,
too, that reverse runs are forward runs turned round in time: the same targets in reverse order,
the drift -b for b, the inverse of a bijection. :func:`jarzynski_jax.annealing.work` sees to it.

All estimators are pure functions that can be jitted; :func:`estimate` runs all of them and says
whether they can be believed. None depends on an offset c common to all work,
:math:`W_F + c, W_R - c`, but for the value, which moves by c: it is taken off first, of NumPy
arrays and lists in float64, and put back last.

References: Jarzynski, *PRL* 78 (1997) 2690; Crooks, *PRE* 60 (1999) 2721; Bennett, *J. Comput.
Phys.* 22 (1976) 245; Shirts, Bair, Hooker and Pande, *PRL* 91 (2003) 140601; Shirts, *JCTC* 9
(2013) 909; Klimovich, Shirts and Mobley, *JCAMD* 29 (2015) 397.
"""

from typing import NamedTuple

import jax
import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.free_energy.acceptance_ratio import acceptance_ratio, overlap_at
from jarzynski_jax.free_energy.bounds import Bounds, two_sided_bounds
from jarzynski_jax.free_energy.crossing import crossing_near
from jarzynski_jax.free_energy.doubts import doubts_of_rounding, doubts_of_work, precision
from jarzynski_jax.free_energy.exponential import cumulant_expansion
from jarzynski_jax.free_energy.work_values import Estimate, as_pair, shift
from jarzynski_jax.types import Array, Scalar
from jarzynski_jax.weights import effective_sample_size

__all__ = [
    "FreeEnergy",
    "estimate",
]


class FreeEnergy(NamedTuple):
    """All that two sets of work tell about a free-energy difference, in nats; ``print`` it.

    bar
        The estimate to be reported.
    forward, reverse
        Exponential averages, both of ΔF.
    crossing, slope
        Of Crooks' relation: :class:`~jarzynski_jax.free_energy.crossing.Crossing`.
    cumulants
        From forward work.
    bounds
        Jensen's, from both sides.
    overlap
        Between 0 and 1.
    forward_effective_sample_size, reverse_effective_sample_size
        Of the weights e^{-W}, as fractions.
    doubts
        Why the result is not to be believed; empty if there is no reason.
    """

    bar: Estimate
    forward: Estimate
    reverse: Estimate
    crossing: Estimate
    slope: Estimate
    cumulants: Estimate
    bounds: Bounds
    overlap: Array
    forward_effective_sample_size: Array
    reverse_effective_sample_size: Array
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """A table of the estimates, diagnostics, and a line for each doubt."""
        estimates = {
            "BAR": self.bar,
            "average of forward work": self.forward,
            "average of reverse work": self.reverse,
            "cumulants of forward work": self.cumulants,
            "Crooks' crossing": self.crossing,
            "slope there, 1 by theorem": self.slope,
        }
        rows = [f"  {name:26} {_show(found)}" for name, found in estimates.items()]
        sizes = self.forward_effective_sample_size, self.reverse_effective_sample_size
        forward, reverse = (f"{100 * float(size):.2g} %" for size in sizes)
        overlap = (
            f"overlap {float(self.overlap):.2g}; effective sample size {forward} of the "
            f"forward walkers, {reverse} of the reverse ones"
        )
        title = "free-energy difference in nats, with its standard error"
        return "\n".join([title, *rows, overlap, *map(disbelief, self.doubts)])


def _show(estimate: Estimate) -> str:
    return format_with_error(float(estimate.value), float(estimate.standard_error))


def estimate(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    """Estimate a free-energy difference in all ways, and judge whether to believe it.

    Doubted is: work that is NaN or minus infinity; more than a tenth of the walkers dead; an
    overlap below 0.06; a BAR of more digits than its precision holds; and, by more than 4
    standard errors: exponential averages of the two directions that cross; a BAR that differs
    from one that rests on a hundred walkers or more, as both directions see it; a slope of
    Crooks' relation other than 1, if it rests on a hundred. So it shows if the reverse runs did
    not start from samples of the last density, or were not the forward runs turned round, or if
    work is not in nats. (One mode of two, if the forward runs miss the same, shows in nothing.)
    ValueError inside ``jax.jit`` or ``jax.vmap``: it looks at values. Work is as of
    :func:`bennett_acceptance_ratio`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> noise = jax.random.normal(jax.random.key(0), (2, 2000))
    >>> estimate(0.5 + noise[0], 0.5 + noise[1]).doubts
    ()
    >>> poor = estimate(40 + 9 * noise[0], 40 + 9 * noise[1])
    >>> poor.doubts[0][:7]
    'overlap'
    """
    check_known("free_energy.estimate", (forward_work, reverse_work))
    # It looks at values anyway: the offset is taken off in float64 of JAX's arrays too.
    works = np.asarray(forward_work), np.asarray(reverse_work)
    forward, reverse, offset = as_pair(*works)
    found = _estimate_all(forward, reverse)
    rounding = max(precision(work.dtype) for work in works) * abs(float(offset))
    doubts = doubts_of_work(found, np.asarray(forward), np.asarray(reverse), rounding)
    found = _moved(found, offset)
    doubts += doubts_of_rounding("BAR", found.bar)
    return found._replace(doubts=tuple(doubts))


def _moved(found: FreeEnergy, offset: Scalar) -> FreeEnergy:
    lower, upper = (shift(bound, offset) for bound in found.bounds)
    return found._replace(
        bar=shift(found.bar, offset),
        forward=upper,
        reverse=lower,
        crossing=shift(found.crossing, offset),
        cumulants=shift(found.cumulants, offset),
        bounds=Bounds(lower, upper),
    )


@jax.jit
def _estimate_all(forward_work: Array, reverse_work: Array) -> FreeEnergy:
    bar = acceptance_ratio(forward_work, reverse_work)
    bounds = two_sided_bounds(forward_work, reverse_work)
    crossing = crossing_near(bar.value, forward_work, reverse_work)
    return FreeEnergy(
        bar,
        bounds.upper,
        bounds.lower,
        crossing.difference,
        crossing.slope,
        cumulant_expansion(forward_work),
        bounds,
        overlap_at(bar.value, forward_work, reverse_work),
        effective_sample_size(-forward_work),
        effective_sample_size(-reverse_work),
        (),
    )
