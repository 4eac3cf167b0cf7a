r"""Free energies of regions, by a model whose density is known: a flow, trained or not.

With samples x of a normalised model q and :math:`A = \log\tilde p(x) - \log q(x) = -W`,

.. math:: Z_B = \int_B\tilde p = E_q[1_B\,e^{A}], \qquad F_B = -\log Z_B, \qquad
    F_2 - F_1 = -\log\frac{\overline{1_{B_2} e^A}}{\overline{1_{B_1} e^A}},

whatever q is, if only it has samples all over B. Free energies are absolute, so those of two
regions may come from two models.

Where there are samples of the target in B, too, Bennett's acceptance ratio joins both: between
q and the target, both restricted to B, :math:`F_B = \Delta F_{\rm BAR} - \log P_q(B)`.

References: Noé, Olsson, Köhler and Wu, *Science* 365 (2019) eaaw1147; Jarzynski, *Phys. Rev. E*
65 (2002) 046122; Wirnsberger et al., *J. Chem. Phys.* 153 (2020) 144112.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jarzynski_jax.checks import check_known
from jarzynski_jax.formatting import disbelief, format_with_error
from jarzynski_jax.free_energy.doubts import doubts_of_macrostate
from jarzynski_jax.free_energy.estimators import FreeEnergy, estimate
from jarzynski_jax.free_energy.importance import ImportanceEstimate, importance_estimate
from jarzynski_jax.free_energy.work_values import Estimate
from jarzynski_jax.types import Array

__all__ = ["Macrostate", "Macrostates", "macrostates"]


class Macrostate(NamedTuple):
    r"""What is known of one region.

    free_energy
        :math:`F_B = -\log Z_B` in nats: by BAR, where there are samples of the target in the
        region, else by the model's samples alone. Infinite if none of these is in it.
    num_samples
        Of the model's samples, in the region.
    share
        Of the model, in the region, with the error of its logarithm.
    importance
        Of the target restricted to the region, by the model's samples there, without the error
        of its share, and what of it the model covers; None without two samples there.
    work
        All that work in both directions tells; None without samples of the target.
    doubts
        Why the free energy is not to be believed; empty if there is no reason.
    """

    free_energy: Estimate
    num_samples: int
    share: Estimate
    importance: ImportanceEstimate | None
    work: FreeEnergy | None
    doubts: tuple[str, ...]


class Macrostates(NamedTuple):
    """Regions by name, from the same samples; ``print`` shows them.

    num_samples
        Of the model, in all.
    """

    regions: dict[str, Macrostate]
    num_samples: int

    def difference(self, first: str, second: str) -> Estimate:
        """:math:`F_{second} - F_{first}`, with its standard error.

        A sample that is in one region is not in the other: so the errors add to more than those
        of two independent numbers. ValueError for a name that is no region.
        """
        for name in (first, second):
            if name not in self.regions:
                raise ValueError(
                    f"there is no region {name!r}; the regions are {sorted(self.regions)}"
                )
        one, other = self.regions[first].free_energy, self.regions[second].free_energy
        # Means of e^A over disjoint regions have the relative covariance -1/n.
        squares = jnp.square(one.standard_error) + jnp.square(other.standard_error)
        return Estimate(other.value - one.value, jnp.sqrt(squares + 2 / self.num_samples))

    def __str__(self) -> str:
        """Each free energy with its error, and a line for each doubt."""
        lines = []
        for name, found in self.regions.items():
            value, error = (float(number) for number in found.free_energy)
            shown = format_with_error(value, error) if math.isfinite(value) else str(value)
            lines += [f"{name}: F = {shown} nats", *map(disbelief, found.doubts)]
        return "\n".join(lines)


def macrostates(
    log_weights: Array,
    regions: Mapping[str, Array],
    target_log_weights: Mapping[str, Array] | None = None,
) -> Macrostates:
    r"""Estimate the free energies of disjoint regions by samples of a normalised model.

    Parameters
    ----------
    log_weights
        :math:`\log\tilde p - \log q` of the model's samples, shape ``(n,)``, n ≥ 2.
    regions
        By name, which of these samples are in the region: booleans of shape ``(n,)``.
    target_log_weights
        By the same names, the same of independent samples of the target that are all in the
        region, m ≥ 2; of any of the regions.

    Returns
    -------
    Macrostates
        With doubts: no sample or fewer than a hundred in the region; all that is doubted of
        importance sampling there; and of work, where there are samples of the target.

    Raises
    ------
    ValueError
        If there is no region, two of them overlap, shapes do not fit, or samples of the target
        are of no region; or inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> import jax
    >>> from jax.scipy.stats import norm
    >>> x = 2 * jax.random.normal(jax.random.key(0), (4000,))  # of N(0, 1) by N(0, 2²)
    >>> found = macrostates(
    ...     norm.logpdf(x) - norm.logpdf(x, 0.0, 2.0), {"left": x < 1, "right": x >= 1}
    ... )
    >>> difference = found.difference("left", "right")
    >>> exact = norm.logcdf(1.0) - norm.logcdf(-1.0)
    >>> bool(abs(difference.value - exact) < 4 * difference.standard_error)
    True
    """
    check_known("free_energy.macrostates", (log_weights, regions, target_log_weights))
    values = np.asarray(log_weights)
    if values.ndim != 1 or values.shape[0] < 2:
        raise ValueError(f"log_weights must have shape (n,) with n ≥ 2; got {values.shape}")
    masks = _checked(regions, values.shape[0])
    reverse = dict(target_log_weights or {})
    if not set(reverse) <= set(masks):
        raise ValueError(
            f"target_log_weights are given for {sorted(reverse)}; the regions are "
            f"{sorted(masks)}"
        )
    found = {name: _region(values, mask, reverse.get(name)) for name, mask in masks.items()}
    return Macrostates(found, values.shape[0])


def _region(values: Any, is_inside: np.ndarray, of_target: Any) -> Macrostate:
    size, num_inside = values.shape[0], int(np.sum(is_inside))
    if num_inside < 2:
        nothing = Estimate(jnp.asarray(jnp.inf), jnp.asarray(jnp.inf))
        share = Estimate(jnp.asarray(num_inside / size), jnp.asarray(jnp.inf))
        found = Macrostate(nothing, num_inside, share, None, None, ())
        return found._replace(doubts=tuple(doubts_of_macrostate(found)))
    log_share = math.log(num_inside / size)
    share = Estimate(
        jnp.asarray(num_inside / size), jnp.asarray(math.sqrt(1 / num_inside - 1 / size))
    )
    # Against the model restricted to the region, q/P_q(B), for samples of the target in it.
    normalised = None if of_target is None else np.asarray(of_target, np.float64) + log_share
    inside = np.asarray(values, np.float64)[is_inside]
    importance = importance_estimate(inside + log_share, normalised)
    log_z, work = importance.log_partition_function, None
    error = jnp.hypot(log_z.standard_error, share.standard_error)
    free_energy = Estimate(-log_z.value, error)
    if of_target is not None:
        work = estimate(-values[is_inside], of_target)
        error = jnp.hypot(work.bar.standard_error, share.standard_error)
        free_energy = Estimate(work.bar.value - log_share, error)
    found = Macrostate(free_energy, num_inside, share, importance, work, ())
    return found._replace(doubts=tuple(doubts_of_macrostate(found)))


def _checked(regions: Mapping[str, Array], size: int) -> dict[str, np.ndarray]:
    if not regions:
        raise ValueError("there must be at least one region; got none")
    masks = {name: np.asarray(mask) for name, mask in regions.items()}
    for name, mask in masks.items():
        if mask.shape != (size,) or mask.dtype != np.bool_:
            raise ValueError(
                f"region {name!r} must be booleans of shape ({size},), one a sample; got "
                f"{mask.dtype} of shape {mask.shape}"
            )
    names = list(masks)
    for number, name in enumerate(names):
        for other in names[:number]:
            if np.any(masks[name] & masks[other]):
                raise ValueError(
                    f"regions must be disjoint; {other!r} and {name!r} have "
                    f"{int(np.sum(masks[name] & masks[other]))} samples in common"
                )
    return masks
