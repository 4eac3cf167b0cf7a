r"""A velocity for fields on a square torus, with its symmetries and an exact divergence.

.. math:: f(t, \phi)_x = \sum_{y,j,k} W_{o(x-y)\,jk}\,K_k(t)\,H_j(\phi_y), \qquad
    H = S\,(\phi, \sin\omega_1\phi, \dots), \quad K(t) = R\,(1, \sin 2\pi t, \cos 2\pi t, \dots)

The weights depend on the orbit o of a displacement under rotations and reflections alone, and
the features are odd: so the field commutes with translations, with the eight symmetries of the
square and with :math:`\phi\to-\phi`, and so does the density. Each site is moved by its own
features through :math:`W_0` alone, so the divergence is a sum over sites,
:math:`\sum_x W_0\cdot K\,H'(\phi_x)`.

The sum over y is one dense product with a matrix over the torus, made once for a whole batch.

Reference: de Haan, Rainone, Cheng and Bondesan, *Scaling up machine learning for quantum field
theory with equivariant continuous flows*, 2021; Gerdes, de Haan, Rainone, Bondesan and Cheng,
*SciPost Phys.* 15 (2023) 238.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jarzynski_jax.sine import sine_and_cosine
from jarzynski_jax.types import Array, PRNGKey

__all__ = ["LatticeParams", "init_lattice_velocity", "lattice_velocity"]


class LatticeParams(NamedTuple):
    """What is trained of a velocity on a torus; all zero in ``weights`` is no velocity at all.

    weights
        W, shape ``(orbits, features, times)``.
    mixing
        S, shape ``(features, 1 + frequencies)``.
    time_mixing
        R, shape ``(times, 1 + 2 harmonics)``.
    frequencies
        ω, shape ``(frequencies,)``.
    """

    weights: Array
    mixing: Array
    time_mixing: Array
    frequencies: Array


def init_lattice_velocity(
    rng_key: PRNGKey,
    length: int,
    num_features: int = 20,
    num_times: int = 20,
    num_frequencies: int = 49,
    num_harmonics: int = 10,
) -> LatticeParams:
    """Draw parameters of a velocity that is zero: the flow begins as the identity.

    On a torus of ``length`` times ``length`` sites; frequencies are uniform in (0, 5), mixing
    matrices orthogonal. ValueError if a number is below one.

    A flow needs five steps for each of the harmonics. Where they are fewer, it learns in
    training what lies between its steps, and its weights are wrong:
    :func:`~jarzynski_jax.generators.step_doubts` tells.

    Examples
    --------
    >>> init_lattice_velocity(jax.random.key(0), 6).weights.shape  # ten orbits
    (10, 20, 20)
    """
    sizes = length, num_features, num_times, num_frequencies, num_harmonics
    if min(sizes) < 1:
        raise ValueError(f"all sizes must be at least 1; got {sizes}")
    key_mixing, key_time, key_frequencies = jax.random.split(rng_key, 3)
    orthogonal = jax.nn.initializers.orthogonal()
    num_orbits = int(_orbits(length).max()) + 1
    return LatticeParams(
        weights=jnp.zeros((num_orbits, num_features, num_times)),
        mixing=orthogonal(key_mixing, (num_features, 1 + num_frequencies)),
        time_mixing=orthogonal(key_time, (num_times, 1 + 2 * num_harmonics)),
        frequencies=jax.random.uniform(key_frequencies, (num_frequencies,), maxval=5.0),
    )


def lattice_velocity(params: LatticeParams, t: Array, x: Array) -> tuple[Array, Array]:
    """Velocity at one field, shape ``(L, L)``, and its divergence; of a continuous flow.

    ValueError if the field is no square, or of another L than the parameters are for.

    Examples
    --------
    >>> params = init_lattice_velocity(jax.random.key(0), 4)
    >>> params = params._replace(weights=params.weights + 0.1)
    >>> velocity, _ = lattice_velocity(params, 0.3, jnp.ones((4, 4)))
    >>> turned, _ = lattice_velocity(params, 0.3, -jnp.ones((4, 4)))
    >>> bool(jnp.allclose(velocity, -turned))
    True
    """
    orbits = _check(params, x)
    embedded = _embed(params, jnp.asarray(t, x.dtype))
    # One weight a bond and feature, at this time: nothing here belongs to one field.
    bonds = jnp.einsum("ojk,k->oj", params.weights, embedded)
    matrix = bonds[orbits]  # (V, V, features)
    scale = params.mixing / params.mixing.shape[1]
    sites = x.reshape(-1)
    angles = sites[:, None] * params.frequencies
    sines, cosines = sine_and_cosine(angles)
    features = jnp.concatenate([sites[:, None], sines], axis=1) @ scale.T
    velocity = jnp.einsum("xyj,yj->x", matrix, features)
    own = bonds[0] @ scale  # one number for each of φ, sin ω₁φ, ...
    slopes = own[0] + cosines @ (params.frequencies * own[1:])
    return velocity.reshape(x.shape), jnp.sum(slopes)


def _embed(params: LatticeParams, t: Array) -> Array:
    num_harmonics = (params.time_mixing.shape[1] - 1) // 2
    angles = 2 * jnp.pi * t * jnp.arange(1, num_harmonics + 1, dtype=t.dtype)
    waves = jnp.concatenate([jnp.ones(1, t.dtype), jnp.sin(angles), jnp.cos(angles)])
    return params.time_mixing @ waves / params.time_mixing.shape[1]


def _check(params: LatticeParams, x: Array) -> np.ndarray:
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"a field must have shape (L, L); got {x.shape}")
    orbits = _orbits(x.shape[0])
    if params.weights.shape[0] != int(orbits.max()) + 1:
        raise ValueError(
            f"a field of shape {x.shape} has {int(orbits.max()) + 1} orbits of displacements; "
            f"the parameters are for {params.weights.shape[0]}"
        )
    return orbits


def _orbits(length: int) -> np.ndarray:
    """Orbit of the displacement between each two sites, shape ``(V, V)``; 0 is no displacement.

    Under the square's symmetries a displacement is known by its two distances round the torus,
    the shorter one first.
    """
    number = np.arange(length)
    distance = np.minimum(number, length - number)
    near = distance[(number[:, None] - number) % length]
    first = near[:, None, :, None]  # (x₀, x₁, y₀, y₁)
    second = near[None, :, None, :]
    low, high = np.minimum(first, second), np.maximum(first, second)
    _, orbits = np.unique(low * length + high, return_inverse=True)
    return orbits.reshape(length**2, length**2)
