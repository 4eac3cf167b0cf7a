r"""Score matching, to compare with (thesis, §2.2.2 and §4.2).

It descends the Fisher divergence of the data from the model instead of the cross entropy,
and needs neither walkers nor log Z. In whatever does not show in the gradient of the energy
where the data are, such as the masses of modes far apart, it learns nothing.

References: Hyvärinen, *JMLR* 6 (2005) 695; Hutchinson, *Commun. Stat. Simul.* 18 (1989) 1059;
Song, Garg, Shi and Ermon, *Sliced score matching*, UAI 2019.
"""

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jarzynski_jax.training.energy_based import build_objective
from jarzynski_jax.training.objective import Objective
from jarzynski_jax.training.watch import Watch
from jarzynski_jax.types import Array, EnergyFn, LogDensityFn, Params, Position, PRNGKey
from jarzynski_jax.walkers import Dynamics

__all__ = ["score_matching"]


def score_matching(
    energy_fn: EnergyFn,
    optimizer: optax.GradientTransformation,
    dynamics: Dynamics,
    num_probes: int | None = None,
    watch: Watch | None = None,
) -> Objective:
    r"""Train on the Fisher divergence (thesis, eq. 3.1.7; its eq. 2.2.38 lacks a half).

    .. math:: L(\theta) = E_*\left[\tfrac12 |\nabla U_\theta|^2 - \Delta U_\theta\right]
              = \tfrac12 E_* |\nabla U_\theta + \nabla \log\rho_*|^2 - {\rm const}

    The Laplacian is exact, at the cost of d gradients a sample and update, or estimated
    without bias by :math:`v \cdot \nabla(v \cdot \nabla U)` with random signs v, at the
    cost of one gradient a probe.

    Other arguments, errors and ``init`` are those of :func:`~jarzynski_jax.training.jarzynski`;
    ``state.walkers`` is None, and metrics of training walkers are NaN.

    Parameters
    ----------
    energy_fn
        ``(params, x) -> scalar``, for one sample, twice differentiable in x.
    dynamics
        How the held-out ensemble moves, which is weighted and tells the truth about the
        model; there are no other walkers.
    num_probes
        Vectors v a sample, at least one; None for the exact Laplacian.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, optax
    >>> from jarzynski_jax.walkers import langevin
    >>> energy_fn = lambda params, x: jnp.sum((x - params) ** 2) / 2
    >>> objective = score_matching(energy_fn, optax.sgd(0.1), langevin(0.1))
    >>> x = jax.random.normal(jax.random.key(0), (500, 2))
    >>> state = objective.init(jax.random.key(1), jnp.zeros(2), x, x, jnp.log(2 * jnp.pi))
    >>> step = jax.jit(objective.step)
    >>> for key in jax.random.split(jax.random.key(2), 50):
    ...     state, metrics = step(key, state, x + 1)
    >>> bool(jnp.all(jnp.abs(state.params - 1) < 0.2))
    True
    """
    if num_probes is not None and num_probes < 1:
        raise ValueError(f"num_probes must be at least 1, or None; got {num_probes}")

    def loss(params: Params, rng_key: PRNGKey, batch: Position) -> tuple[Array, Array]:
        num_samples = jax.tree.leaves(batch)[0].shape[0]

        def of_one(key: PRNGKey, x: Position) -> tuple[Array, Array]:
            energy, square, laplacian = _derivatives(
                key, lambda x: energy_fn(params, x), x, num_probes
            )
            return energy, square / 2 - laplacian

        keys = jax.random.split(rng_key, num_samples)
        energies, losses = jax.vmap(of_one)(keys, batch)
        return jnp.mean(losses), jnp.mean(energies)

    def data_gradient(
        rng_key: PRNGKey, params: Params, batch: Position
    ) -> tuple[Params, Array]:
        return jax.grad(loss, has_aux=True)(params, rng_key, batch)

    return build_objective(energy_fn, optimizer, dynamics, data_gradient, None, watch)


def _derivatives(
    rng_key: PRNGKey, energy_fn: LogDensityFn, x: Position, num_probes: int | None
) -> tuple[Array, Array, Array]:
    """Return U, |∇U|² and ΔU, or an unbiased estimate of it, at one sample."""
    flat, unravel = ravel_pytree(x)
    if num_probes is None:
        probes = jnp.eye(flat.size, dtype=flat.dtype)
    else:
        signs = jax.random.rademacher(rng_key, (num_probes, flat.size), flat.dtype)
        probes = signs / jnp.sqrt(jnp.asarray(num_probes, flat.dtype))
    value_and_grad = jax.value_and_grad(lambda flat: energy_fn(unravel(flat)))
    (energy, grad), push = jax.linearize(value_and_grad, flat)
    curvatures = jax.vmap(lambda v: jnp.vdot(v, push(v)[1]))(probes)
    return energy, jnp.vdot(grad, grad), jnp.sum(curvatures)
