"""What a NumPyro model must be for its evidence to be defined; every error names the site."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpyro import distributions, handlers
from numpyro.primitives import Messenger

from jarzynski_jax.targets.unbounded import bijection
from jarzynski_jax.types import Array, Position

__all__ = ["check_model", "check_values", "is_latent"]

#: Draws of the prior at which densities are looked at.
_NUM_DRAWS = 128


def is_latent(site: Mapping[str, Any]) -> bool:
    """Whether a site of a trace is drawn."""
    return site["type"] == "sample" and not site["is_observed"]


def check_model(model: Any, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Check a model's sites on one run of it, with draws of its prior."""
    if not callable(model):
        raise ValueError(f"a NumPyro model must be a function; got {type(model).__name__}")
    on_the_way = _OnTheWay(model)
    seeded = handlers.seed(on_the_way, jax.random.key(0))
    try:
        sites = handlers.trace(seeded).get_trace(*args, **kwargs)
    except AssertionError as error:
        if "unique names" in str(error):
            raise ValueError(str(error)) from error
        raise
    except NotImplementedError as error:
        raise ValueError(
            f"site {on_the_way.last!r} cannot be drawn: its prior has no method sample"
        ) from error
    latent = {name: site for name, site in sites.items() if is_latent(site)}
    observed = {
        name: site
        for name, site in sites.items()
        if site["type"] == "sample" and site["is_observed"]
    }
    for site in latent.values():
        _check_latent(site)
    for site in observed.values():
        _check_observed(site)
    if not latent:
        raise ValueError(f"the model has no latent site; its sites are {list(sites)}")
    if not observed:
        raise ValueError(
            "the model has no observed site and no factor, so that its evidence is 1: were its "
            f"data handed in? Latent are {list(latent)}"
        )


class _OnTheWay(Messenger):
    """Looks at sites behind all handlers of the model's own, before they are drawn."""

    last: str = ""

    def process_message(self, msg: Any) -> None:
        name, kind = msg.get("name", "of a scan"), msg["type"]
        self.last = name
        if msg.get("_control_flow_done"):
            return
        if kind in ("param", "mutable") and (kind == "mutable" or msg["value"] is None):
            raise ValueError(
                f"site {name!r} is a numpyro.{kind}, which has no prior: give it one "
                "(handlers.lift), or a value (handlers.substitute)"
            )
        if kind == "prng_key":
            raise ValueError(
                "the model draws a random key of its own (numpyro.prng_key), so that its "
                "density is random"
            )
        if kind == "plate" and msg["args"][1] not in (None, msg["args"][0]):
            raise ValueError(
                f"plate {name!r} is subsampled, {msg['args'][1]} of {msg['args'][0]}, so that "
                "the density is random: the evidence needs all data"
            )
        if kind == "sample" and not msg["is_observed"]:
            _check_proper(name, msg["fn"])
            if msg["value"] is not None:
                raise ValueError(
                    f"site {name!r} is latent and has a value (handlers.substitute): to "
                    "observe it use handlers.condition"
                )
            if msg["kwargs"].get("rng_key") is not None:
                raise ValueError(
                    f"site {name!r} has a random key of its own, so that all draws of the "
                    "prior would be the same: leave handlers.seed and rng_key out"
                )


def _check_proper(name: str, prior: Any) -> None:
    if any(isinstance(fn, distributions.ImproperUniform) for fn in _family(prior)):
        raise ValueError(
            f"site {name!r} has an improper prior, ImproperUniform: the evidence needs priors "
            "that are normalised"
        )


def _check_latent(site: Mapping[str, Any]) -> None:
    name, family = site["name"], list(_family(site["fn"]))
    for fn in family:
        if isinstance(fn, distributions.Delta):
            raise ValueError(
                f"site {name!r} has a Delta prior, which has no density: use "
                "numpyro.deterministic"
            )
        if isinstance(fn, distributions.MaskedDistribution) and not np.all(fn._mask):
            raise ValueError(
                f"site {name!r} is latent and masked (handlers.mask, or obs_mask), so that its "
                "prior is improper"
            )
    if not _is_one(site["scale"]):
        raise ValueError(
            f"site {name!r} is latent and scaled (handlers.scale, or a subsampled plate): a "
            "power of its prior is not normalised"
        )
    support = site["fn"].support
    if support.is_discrete:
        raise ValueError(
            f"site {name!r} is latent and discrete, {type(family[-1]).__name__}: sum it out by "
            "hand, as MixtureSameFamily does; it is not enumerated"
        )
    try:
        bijection(support)
    except ValueError as error:
        raise ValueError(f"site {name!r}: {error}") from error


def _family(fn: Any) -> Any:
    """A distribution and those that it is made of."""
    while fn is not None:
        yield fn
        fn = getattr(fn, "base_dist", None)


def _is_one(scale: Any) -> bool:
    return scale is None or bool(np.all(np.asarray(scale) == 1))


def _check_observed(site: Mapping[str, Any]) -> None:
    """Each number is counted once: values may repeat a distribution, and not the reverse."""
    fn, shape = site["fn"], np.shape(site["value"])
    batch, event = shape[: len(shape) - fn.event_dim], shape[len(shape) - fn.event_dim :]
    try:
        fits = np.broadcast_shapes(batch, tuple(fn.batch_shape)) == batch
    except ValueError:
        fits = False
    if not fits or event != tuple(fn.event_shape) or len(shape) < fn.event_dim:
        raise ValueError(
            f"site {site['name']!r} is observed with shape {shape}, and its distribution has "
            f"shape {tuple(fn.shape())}, plates included: the value must have that shape, or "
            "more axes in front"
        )


def check_values(
    sample: Callable[[Array, int], Position],
    log_probs: Callable[[Position], tuple[dict[str, Array], dict[str, Array]]],
) -> None:
    """Check draws of the prior, and log-probabilities of all sites at them."""
    draws = sample(jax.random.key(0), _NUM_DRAWS)
    latent, others = jax.jit(jax.vmap(log_probs))(draws)
    for name, y in draws.items():
        is_finite = np.isfinite(y).reshape(_NUM_DRAWS, -1).all(axis=1)
        is_finite &= np.isfinite(latent[name])
        if not np.all(is_finite):
            raise ValueError(
                f"site {name!r} or its prior's log-density is not finite at "
                f"{np.sum(~is_finite)} of {_NUM_DRAWS} of the prior's own draws; if they lie "
                "on the edge of the support to this precision, use 64 bits"
            )
    for name, values in others.items():
        is_wrong = np.isnan(values) | np.isposinf(values)
        if np.any(is_wrong):
            raise ValueError(
                f"site {name!r} has a log-likelihood that is NaN or +inf at {np.sum(is_wrong)} "
                f"of {_NUM_DRAWS} draws of the prior"
            )
        if np.all(np.isneginf(values)):
            raise ValueError(
                f"site {name!r} has likelihood 0 at all of {_NUM_DRAWS} draws of the prior: "
                "its value may be NaN, or outside the distribution's support"
            )
    if np.all(np.isneginf(sum(np.asarray(values) for values in others.values()))):
        raise ValueError(
            f"the likelihood of {list(others)} together is 0 at all of {_NUM_DRAWS} draws of "
            "the prior"
        )
