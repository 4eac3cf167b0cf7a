r"""Fluctuation theorems of chains: entropy production is work, of a difference of 0.

Along a path :math:`x_0 \dots x_n` of a chain, which may be driven, with a matrix
:math:`P_k` of its own for each step, against a process that runs backwards,

.. math::
    \Sigma = \log\frac{p(x_0) \prod_k P_k(x_{k-1}, x_k)}
        {q(x_n) \prod_k \tilde P_k(x_k, x_{k-1})}

for any first laws p and q. Then :math:`E[e^{-\Sigma}] = 1` if the reverse process goes wherever
the forward one does (the integral theorem), and
:math:`\log\frac{p_F(\Sigma)}{p_R(-\Sigma)} = \Sigma` (the detailed one): those of Jarzynski and
of Crooks, of work :math:`\Sigma`. So :func:`jarzynski_jax.free_energy.estimate` judges it, and
its estimates must be 0. With :math:`\tilde P = P` it is the total entropy production, in the
steady state n times that of
:func:`~jarzynski_jax.nonequilibrium.markov_chains.entropy_production` on average; with
:math:`\tilde P_k = P_k^*`, the time reversal, what is left is the work of driving.

References: Seifert, *Phys. Rev. Lett.* 95 (2005) 040602; Crooks, *Phys. Rev. E* 61 (2000) 2361;
Hatano and Sasa, *Phys. Rev. Lett.* 86 (2001) 3463.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.annealing import Work
from jarzynski_jax.nonequilibrium.markov_chains import check_stochastic
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["path_entropy_production", "sample_entropy_production", "sample_paths"]


def sample_paths(rng_key: PRNGKey, initial: Array, matrices: Array, num_paths: int) -> Array:
    """Draw paths of a chain, int32, shape ``(num_paths, n + 1)``.

    ``initial`` is the law of the first state, shape ``(m,)``, ``matrices`` of shape
    ``(n, m, m)``, one for each step. ValueError if they are no such laws.

    Examples
    --------
    >>> import jax
    >>> swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    >>> paths = sample_paths(jax.random.key(0), jnp.array([1.0, 0.0]), jnp.stack([swap] * 3), 2)
    >>> paths.tolist()
    [[0, 1, 0, 1], [0, 1, 0, 1]]
    """
    initial, matrices = _check(initial, matrices)
    if num_paths < 1:
        raise ValueError(f"num_paths must be at least 1; got {num_paths}")
    key_start, key_steps = jax.random.split(rng_key)
    start = jax.random.categorical(key_start, jnp.log(initial), shape=(num_paths,))

    def step(states: Array, inputs: tuple[PRNGKey, Array]) -> tuple[Array, Array]:
        key, matrix = inputs
        states = jax.random.categorical(key, jnp.log(matrix)[states])
        return states, states

    keys = jax.random.split(key_steps, matrices.shape[0])
    _, states = jax.lax.scan(step, start, (keys, matrices))
    return jnp.concatenate([start[None], states]).T.astype(jnp.int32)


def path_entropy_production(
    paths: Array,
    initial: Array,
    matrices: Array,
    final: Array,
    reverse_matrices: Array | None = None,
) -> Array:
    r"""Entropy production :math:`\Sigma` of paths of a chain, shape ``(..., n + 1)``, in nats.

    ``inf`` of a path that the reverse process cannot make. ``initial`` and ``final`` are p and
    q, shape ``(m,)``; ``matrices`` and ``reverse_matrices``, :math:`\tilde P` in the order of
    the forward steps, of shape ``(n, m, m)``; None for the same ones. States must be
    between 0 and m - 1, else the result is NaN.

    Examples
    --------
    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> law, path = jnp.ones(3) / 3, jnp.array([0, 1, 2, 0])
    >>> round(float(path_entropy_production(path, law, jnp.stack([ring] * 3), law)), 4)
    5.8377
    """
    initial, matrices = _check(initial, matrices)
    backward = matrices if reverse_matrices is None else reverse_matrices
    final, backward = _check(final, backward)
    paths = jnp.asarray(paths)
    if paths.ndim < 1 or paths.shape[-1] != matrices.shape[0] + 1:
        raise ValueError(
            f"paths of {matrices.shape[0]} steps must have shape (..., "
            f"{matrices.shape[0] + 1}); got shape {paths.shape}"
        )
    if backward.shape != matrices.shape:
        raise ValueError(
            f"reverse_matrices must have the shape of matrices, {matrices.shape}; got "
            f"{backward.shape}"
        )
    steps = jnp.arange(matrices.shape[0])
    before, after = paths[..., :-1], paths[..., 1:]

    def log_at(table: Array, *index: Array) -> Array:
        table = jnp.where(table > 0, jnp.log(jnp.where(table > 0, table, 1)), -jnp.inf)
        # JAX takes a negative index from the end.
        index = tuple(jnp.where(of < 0, table.shape[-1], of) for of in index)
        return table.at[index].get(mode="fill", fill_value=jnp.nan)

    forward = log_at(initial, paths[..., 0]) + log_at(matrices, steps, before, after).sum(-1)
    return (
        forward - log_at(final, paths[..., -1]) - log_at(backward, steps, after, before).sum(-1)
    )


def sample_entropy_production(
    rng_key: PRNGKey,
    initial: Array,
    matrices: Array,
    final: Array,
    num_paths: int,
    reverse_matrices: Array | None = None,
) -> Work:
    """Entropy production of sampled paths, forward and of the reverse process.

    For :func:`jarzynski_jax.free_energy.estimate`, with the difference 0. Arguments are those
    of :func:`path_entropy_production`; as many paths start at ``final`` and go back.

    Examples
    --------
    >>> import jax
    >>> from jarzynski_jax import free_energy
    >>> ring = jnp.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    >>> law = jnp.ones(3) / 3
    >>> args = jax.random.key(0), law, jnp.stack([ring] * 4), law, 2000
    >>> bar = free_energy.estimate(*sample_entropy_production(*args)).bar
    >>> bool(abs(bar.value) < 4.5 * bar.standard_error)
    True
    """
    backward = matrices if reverse_matrices is None else reverse_matrices
    key_forward, key_reverse = jax.random.split(rng_key)
    forward = sample_paths(key_forward, initial, matrices, num_paths)
    # What runs backwards begins with the last step.
    turned = sample_paths(key_reverse, final, jnp.asarray(backward)[::-1], num_paths)[:, ::-1]
    laws = initial, matrices, final, backward
    return Work(
        path_entropy_production(forward, *laws), -path_entropy_production(turned, *laws)
    )


def _check(law: Array, matrices: Array) -> tuple[Array, Array]:
    law, matrices = jnp.asarray(law), jnp.asarray(matrices)
    if matrices.ndim != 3 or matrices.shape[0] < 1 or law.shape != matrices.shape[1:2]:
        raise ValueError(
            "a law of shape (m,) and matrices of shape (n, m, m), one for each step, are "
            f"wanted; got shapes {law.shape} and {matrices.shape}"
        )
    if not isinstance(matrices, jax.core.Tracer):
        check_stochastic(np.asarray(matrices, np.float64), matrices.dtype)
    if not isinstance(law, jax.core.Tracer):
        values = np.asarray(law, np.float64)
        if not (np.all(values >= 0) and abs(values.sum() - 1) < 1e-4):
            raise ValueError(f"a law must be of numbers ≥ 0 that sum to 1; got {values}")
    dtype = jnp.promote_types(jnp.result_type(law, matrices), jnp.float32)
    return law.astype(dtype), matrices.astype(dtype)
