"""A NumPyro model on the unit cube, as nested samplers want it: of its prior, u is uniform.

With F the distribution function of a latent site given those before it, x = F⁻¹(u), coordinate
by coordinate. Nothing here is of jarzynski_jax: what a rival is given has passed through no
code of ours.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro import distributions, handlers
from numpyro.infer.util import compute_log_probs

from benchmarks.studies.evidence.models import Model

__all__ = ["Cube", "on_the_cube"]


class Cube(NamedTuple):
    """The log-likelihood of a point of the unit cube, in nats; its dimension."""

    log_likelihood: Callable[[jax.Array], jax.Array]
    dimension: int


def on_the_cube(model: Model) -> Cube:
    """Of latent sites whose distributions have inverse distribution functions.

    Data are in the precision of this moment.
    """
    args = jax.tree.map(jnp.asarray, model.args)
    sites = handlers.trace(handlers.seed(model.model, 0)).get_trace(*args)
    shapes = {
        name: site["value"].shape
        for name, site in sites.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    sizes = [math.prod(shape) for shape in shapes.values()]
    ends = dict(zip(shapes, itertools.accumulate(sizes), strict=True))

    def log_likelihood(u: jax.Array) -> jax.Array:
        """A coordinate that is 0 or 1 by rounding is moved inside by one more."""
        rounding = jnp.finfo(u.dtype).eps
        inside = jnp.clip(u, rounding, 1 - rounding)

        def value(site: dict[str, Any]) -> jax.Array | None:
            if site["type"] != "sample" or site["name"] not in shapes:
                return None
            shape, end = shapes[site["name"]], ends[site["name"]]
            return _inverse(site["fn"])(inside[end - math.prod(shape) : end].reshape(shape))

        drawn = handlers.substitute(model.model, substitute_fn=value)
        log_probs, _ = compute_log_probs(drawn, args, {}, {})
        return jnp.asarray(sum(log_probs[name] for name in log_probs if name not in shapes))

    return Cube(log_likelihood, sum(sizes))


def _inverse(distribution: Any) -> Callable[[jax.Array], jax.Array]:
    """NumPyro gives a distribution that was expanded no inverse: its base's broadcasts."""
    while isinstance(distribution, distributions.ExpandedDistribution):
        distribution = distribution.base_dist
    return distribution.icdf
