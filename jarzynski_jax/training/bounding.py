r"""Log Z of a model, bounded from both sides by replicates of walkers.

Walkers go along a path that ends at the model, on a Gaussian base along
:math:`\ell_t = (1 - t)\, \ell_{\rm base} - t\, U_\theta`: forward from exact samples of where
it starts, backward from where they arrive, and backward from data that were relaxed under the
model, which never were on the forward path.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax

from jarzynski_jax import annealing
from jarzynski_jax.annealing import LogPartitionBounds, Path, geometric_path
from jarzynski_jax.data import as_samples, draw_batch
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.energies import gaussian_base
from jarzynski_jax.energies.functional import logdensity
from jarzynski_jax.energies.gaussian_base import GaussianBase
from jarzynski_jax.types import Array, EnergyFn, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics

__all__ = [
    "Annealing",
    "Bounding",
    "bound_along_path",
    "bound_from_base",
    "check_annealing",
    "path_from_base",
]


class Annealing(NamedTuple):
    """How log Z is bounded: ``replicates`` runs of ``walkers`` walkers and ``steps`` steps.

    Data are relaxed for a quarter of the steps.
    """

    steps: int = 4000
    walkers: int = 512
    replicates: int = 4


class Bounding(NamedTuple):
    """What bounding found, of R replicates of N walkers.

    bounds
        On log Z, and the end points of the forward runs.
    starts
        Data with their noise, from which walkers were relaxed, shape ``(R, N, ...)``.
    relaxed
        The same walkers, relaxed.
    acceptance_rate
        Of their Metropolis-adjusted moves. Where it is low they have not moved far from the
        data.
    """

    bounds: LogPartitionBounds
    starts: Array
    relaxed: Array
    acceptance_rate: Array


def check_annealing(settings: Annealing) -> None:
    """Raise a ``ValueError`` if a setting is not positive.

    Parameters
    ----------
    settings
        How log Z is bounded.

    Raises
    ------
    ValueError
        With the setting's name.

    Examples
    --------
    >>> check_annealing(Annealing(steps=100))
    """
    for name, value in settings._asdict().items():
        if value < 1:
            raise ValueError(f"annealing {name} must be at least 1; got {value}")


def path_from_base(base: GaussianBase, energy_fn: EnergyFn, params: Params) -> Path:
    """Interpolate between the Gaussian and the model that sits on it.

    Parameters
    ----------
    base
        The Gaussian, at t = 0.
    energy_fn
        ``(params, x) -> scalar``.
    params
        Of the model at t = 1.

    Returns
    -------
    Path
        ``path(t) -> logdensity_fn``.

    Raises
    ------
    ValueError
        If the energy is a module of Flax, or no function.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> base = GaussianBase(jnp.zeros(1), jnp.array(1.0), jnp.array(1.0))
    >>> path = path_from_base(base, lambda params, x: params * jnp.sum(x**2) / 2, 3.0)
    >>> float(path(0.5)(jnp.ones(1)))
    -1.0
    """
    to_model = logdensity(energy_fn, params)
    return geometric_path(lambda x: -gaussian_base.energy(base, x), to_model)


def bound_along_path(
    rng_key: PRNGKey,
    base: Density,
    path: Path,
    data: Array,
    noise_scale: float,
    dynamics: Dynamics,
    settings: Annealing,
    *,
    progress: Callable[[float], None] | None = None,
) -> Bounding:
    """Bound log Z at the end of any path, by walkers that took no part in training.

    ValueError if a setting is not positive, data or noise are not finite, or the kernel cannot
    be Metropolis-adjusted.

    Parameters
    ----------
    base
        Where the path starts, with exact samples and an exact log Z.
    path
        At t = 1 it is the model.
    data
        Clean training data, shape ``(n, ...)``.
    noise_scale
        σ of the noise added to them before they are relaxed.
    dynamics
        How walkers move; Metropolis-adjusted where they relax.
    progress
        Called on the way with the share of all steps that were made since the call before.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax.walkers import langevin
    >>> from jarzynski_jax.targets import gaussian
    >>> base = gaussian([1.0])
    >>> path = geometric_path(base.logdensity_fn, lambda x: -2 * jnp.sum(x**2))
    >>> data, settings = base.sample(jax.random.key(0), 100) / 2, Annealing(200)
    >>> key = jax.random.key(1)
    >>> found = bound_along_path(key, base, path, data, 0.0, langevin(0.05), settings)
    >>> exact = jnp.log(2 * jnp.pi / 4) / 2
    >>> bool(jnp.all(jnp.abs(found.bounds.backward - exact) < 0.1))
    True
    """
    check_annealing(settings)
    data = as_samples(data)
    if not 0 <= noise_scale < math.inf:
        raise ValueError(f"noise_scale must be at least 0 and finite; got {noise_scale}")
    sample, log_z = check_exact(base)
    num_walkers = settings.replicates * settings.walkers
    num_relaxing = math.ceil(settings.steps / 4)
    share = num_relaxing / (num_relaxing + 3 * settings.steps)  # of forward and two backward

    def by_replicate(positions: Array) -> Array:
        return positions.reshape(settings.replicates, settings.walkers, *positions.shape[1:])

    def run(data: Array) -> Bounding:
        keys = jax.random.split(rng_key, 4)
        noisy = draw_batch(keys[0], data, num_walkers, noise_scale)
        relaxed, acceptance_rate = annealing.relax(
            keys[1],
            noisy,
            path(1.0),
            dynamics,
            num_relaxing,
            progress=annealing.part_of(progress, share),
        )
        positions = sample(keys[3], num_walkers)
        bounds = annealing.log_partition_bounds(
            keys[2],
            positions,
            path,
            log_z,
            dynamics,
            settings.steps,
            relaxed,
            num_replicates=settings.replicates,
            progress=annealing.part_of(progress, 1 - share),
        )
        return Bounding(bounds, by_replicate(noisy), by_replicate(relaxed), acceptance_rate)

    return jax.device_get(jax.jit(run)(data))


def bound_from_base(
    rng_key: PRNGKey,
    base: GaussianBase,
    energy_fn: EnergyFn,
    params: Params,
    data: Array,
    noise_scale: float,
    dynamics: Dynamics,
    settings: Annealing,
    *,
    progress: Callable[[float], None] | None = None,
) -> Bounding:
    """Bound log Z by walkers that took no part in training.

    As :func:`bound_along_path`, along the path of :func:`path_from_base`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax.walkers import langevin
    >>> base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    >>> energy_fn = lambda params, x: params * jnp.sum(x**2) / 2
    >>> data = jax.random.normal(jax.random.key(0), (100, 2)) / 2
    >>> found = bound_from_base(
    ...     jax.random.key(1), base, energy_fn, 4.0, data, 0.0, langevin(0.05), Annealing(200)
    ... )
    >>> exact = jnp.log(2 * jnp.pi / 4)
    >>> bool(jnp.all(jnp.abs(found.bounds.forward - exact) < 0.1))
    True
    >>> found.relaxed.shape  # beside found.starts, the noisy data they came from
    (4, 512, 2)
    """
    path = path_from_base(base, energy_fn, params)
    return bound_along_path(
        rng_key,
        gaussian_base.density(base),
        path,
        data,
        noise_scale,
        dynamics,
        settings,
        progress=progress,
    )
