r"""NumPyro models: their evidence, with a bracket, and weighted draws of their sites.

A model and its data become two densities on the unconstrained space in which NumPyro's own
samplers move, one real array a latent site. With x = T(y) the constrained sites:

.. math:: \log\pi(y) = \log p(T(y)) + \log|\det \partial T/\partial y|, \qquad
          \log\rho(y) = \log\pi(y) + \log L(T(y))

The prior π is normalised and samples; log Z of ρ is the log evidence, in nats. L is the product
of all observed sites and of all ``numpyro.factor`` statements.

This is the only module that knows how a NumPyro model is traced; written against 0.22.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.annealing.paths import Path, tempering_path
from jarzynski_jax.density import Density
from jarzynski_jax.resampling import from_log_weights, systematic
from jarzynski_jax.targets.unbounded import bijection, log_abs_det
from jarzynski_jax.types import Array, LogDensityFn, Position, PRNGKey
from jarzynski_jax.weights import as_log_weights

try:
    from numpyro import handlers
    from numpyro.infer.util import compute_log_probs

    from jarzynski_jax.interop import numpyro_checks as checks
except ImportError as error:
    raise ImportError(
        "jarzynski_jax.interop.numpyro needs the extra 'numpyro': "
        "pip install 'jarzynski-jax[numpyro]'"
    ) from error

__all__ = ["Problem", "from_model", "posterior_draws"]


#: Draws of the prior that are made at once.
_BLOCK = 512


class Problem(NamedTuple):
    """A model with its data; positions are dicts of unconstrained latent sites, by name.

    prior
        Normalised, with exact samples: log Z is 0.
    posterior
        The joint density of latent sites and data: log Z is the log evidence.
    loglikelihood_fn
        ``position -> scalar``: posterior less prior.
    path
        From prior to posterior, evaluating the prior once; for ``annealing.estimate``.
    constrain
        ``positions -> sites``, any number of leading axes: the values of all latent and
        deterministic sites.
    """

    prior: Density
    posterior: Density
    loglikelihood_fn: LogDensityFn
    path: Path
    constrain: Callable[[Position], dict[str, Array]]


def from_model(model: Callable, *args: Any, **kwargs: Any) -> Problem:
    """Make the densities of a NumPyro model, called with these arguments, its data among them.

    Right for priors and supports that depend on other sites, plates, scans, reparameterised
    sites, and masks and scales of observed sites. A ValueError, which names the site: latent
    sites that are discrete, improper, masked or scaled, or have no bijection onto their support
    or a value of their own; subsampled plates; parameters; two sites of a name; observations
    that do not fit, or of which none is there; densities that are NaN or infinite, or a
    likelihood that is 0, at all of 128 draws of the prior.

    A distribution is believed: that its ``log_prob`` is normalised, and that of its ``sample``.
    What the model reads is part of the compiled program, so keep the problem, and call this
    anew for new data.

    Examples
    --------
    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from jarzynski_jax import annealing, interop
    >>> def coin(heads, tosses):
    ...     bias = numpyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     numpyro.sample("heads", dist.Binomial(tosses, bias), obs=heads)
    >>> problem = from_model(coin, 3, tosses=10)
    >>> found = annealing.estimate(
    ...     jax.random.key(0), problem.prior, path=problem.path, num_gradients=100_000
    ... )
    >>> bool(abs(found.log_partition_function + jnp.log(11.0)) < 0.05), found.doubts
    (True, ())
    >>> draws = posterior_draws(jax.random.key(1), problem, found.samples, found.log_weights)
    >>> draws["bias"].shape, bool(abs(draws["bias"].mean() - 4 / 12) < 0.05)
    ((1, 512), True)
    """
    checks.check_model(model, args, kwargs)

    def constrained(position: Position) -> Callable:
        def value(site: Mapping[str, Any]) -> Array | None:
            if site["type"] != "sample" or site["name"] not in position:
                return None
            return _constrain(site, position[site["name"]])

        return handlers.substitute(model, substitute_fn=value)

    def log_probs(position: Position) -> tuple[dict[str, Array], dict[str, Array]]:
        """Of latent sites, with their Jacobians, and of the others, by name."""
        of_sites, sites = compute_log_probs(constrained(position), args, kwargs, {})
        latent = {name: of_sites.pop(name) for name in position}
        for name, y in position.items():
            site = sites[name]
            latent[name] += log_abs_det(bijection(site["fn"].support), y, site["value"])
        return latent, of_sites

    def draw(rng_key: PRNGKey) -> Position:
        sites = handlers.trace(handlers.seed(model, rng_key)).get_trace(*args, **kwargs)
        latent = {name: site for name, site in sites.items() if checks.is_latent(site)}
        return {
            name: bijection(site["fn"].support).inv(jnp.asarray(site["value"]))
            for name, site in latent.items()
        }

    def constrain(position: Position) -> dict[str, Array]:
        sites = handlers.trace(constrained(position)).get_trace(*args, **kwargs)
        return {
            name: jnp.asarray(site["value"])
            for name, site in sites.items()
            if name in position or site["type"] == "deterministic"
        }

    def log_prior(position: Position) -> Array:
        return _sum(log_probs(position)[0])

    def log_likelihood(position: Position) -> Array:
        return _sum(log_probs(position)[1])

    def log_joint(position: Position) -> Array:
        latent, others = log_probs(position)
        return _sum(latent) + _sum(others)

    draws = jax.jit(jax.vmap(draw))

    def sample(rng_key: PRNGKey, num_samples: int) -> Position:
        """In blocks of one size: samplers of gamma variables take seconds to compile."""
        num_blocks = -(-num_samples // _BLOCK)
        keys = jax.random.split(rng_key, (num_blocks, _BLOCK))
        blocks = [draws(keys[block]) for block in range(num_blocks)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:num_samples], *blocks)

    checks.check_values(sample, log_probs)
    return Problem(
        Density(log_prior, 0.0, sample),
        Density(log_joint),
        log_likelihood,
        tempering_path(log_prior, log_likelihood),
        _over_leading_axes(constrain, jax.eval_shape(draw, jax.random.key(0))),
    )


def posterior_draws(
    rng_key: PRNGKey,
    problem: Problem,
    positions: Position,
    log_weights: Array,
    num_draws: int | None = None,
) -> dict[str, Array]:
    """Resample weighted positions, as ``annealing.estimate`` returns, to draws of all sites.

    Shape ``(1, num_draws, ...)`` each, one chain, which ArviZ reads: ``from_dict({"posterior":
    draws})``, or ``from_dict(posterior=draws)`` before its version 1. Copies of a walker stand
    side by side, and so do walkers of one replicate, so that its diagnostics see them. Of the
    length of the positions unless ``num_draws`` is given. ValueError if the weights are not one
    a position, or all are 0.
    """
    log_weights = as_log_weights(log_weights)
    sizes = {name: leaf.shape[0] for name, leaf in positions.items()}
    if set(sizes.values()) != {log_weights.shape[0]}:
        raise ValueError(
            f"log_weights must be one a position; got {log_weights.shape[0]} and positions "
            f"with the leading axes {sizes}"
        )
    if not bool(jnp.any(log_weights > -jnp.inf)):
        raise ValueError("all weights are 0: there is nothing to draw from")
    ancestors = from_log_weights(systematic)(
        rng_key, log_weights, log_weights.shape[0] if num_draws is None else num_draws
    )
    return problem.constrain({name: leaf[ancestors][None] for name, leaf in positions.items()})


def _constrain(site: Mapping[str, Any], y: Array) -> Array:
    transform = bijection(site["fn"].support)
    index = site["infer"].get("_scan_current_index")
    # Inside a scan the site is that of one step, and the position that of all.
    if index is not None:
        y = y[index]
    return transform(y)


def _sum(log_probs: Mapping[str, Array]) -> Array:
    return jnp.asarray(sum(log_probs.values(), start=0.0))


def _over_leading_axes(
    constrain: Callable[[Position], dict[str, Array]], shapes: Mapping[str, Any]
) -> Callable[[Position], dict[str, Array]]:
    of_many = jax.jit(jax.vmap(constrain))

    def over_leading_axes(positions: Position) -> dict[str, Array]:
        if not isinstance(positions, Mapping) or set(positions) != set(shapes):
            names = sorted(positions) if isinstance(positions, Mapping) else positions
            raise ValueError(f"positions must be a dict of {sorted(shapes)}; got {names}")
        leading = {
            name: jnp.shape(leaf)[: jnp.ndim(leaf) - shapes[name].ndim]
            for name, leaf in positions.items()
        }
        axes = next(iter(leading.values()))
        for name, leaf in positions.items():
            if jnp.shape(leaf) != axes + shapes[name].shape:
                raise ValueError(
                    f"site {name!r} has unconstrained shape {shapes[name].shape}, behind "
                    f"leading axes that all sites share; got {jnp.shape(leaf)} beside {leading}"
                )
        sites = of_many(
            {name: leaf.reshape(-1, *shapes[name].shape) for name, leaf in positions.items()}
        )
        return {name: leaf.reshape(*axes, *leaf.shape[1:]) for name, leaf in sites.items()}

    return over_leading_axes
