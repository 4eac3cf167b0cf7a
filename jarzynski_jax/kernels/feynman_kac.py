r"""Feynman and Kac's formula with a guide: the mean weight decays as :math:`e^{-E_0 t}`.

Of the Hamiltonian :math:`H = -\frac12\nabla\cdot C\nabla + V` (:math:`\hbar = 1`, C the
inverse masses) a step of imaginary time h is

.. math:: x' = x + h\,v(x) + \sqrt h\, C^{1/2}\xi, \qquad \xi \sim N(0, 1)

and whatever the drift v is, it is taken out of the weight again. Three forms of it, with
:math:`dB = x' - x - hv` and v, V, :math:`\psi` primed at x':

.. math::
    \Delta A &= -\tfrac h2 (V + V') & (v = 0) \\
    \Delta A &= -\tfrac h2 (V + V') - v\cdot C^{-1}dB - \tfrac h2\, v\cdot C^{-1}v
        & (\text{any } v) \\
    \Delta A &= -\tfrac h2 (E_L + E_L') + 2\log\frac{\psi'}\psi
        - (x' - x)\cdot C^{-1}(v + v') - \tfrac h2 (v'\cdot C^{-1}v' - v\cdot C^{-1}v)
        & (v = C\nabla\log\psi)

The first two are Girsanov's identity between Gaussian steps: at every h the mean weight is that
of the propagator :math:`e^{-hV/2}e^{-hK}e^{-hV/2}`, exactly. It is symmetric, so that energies
are wrong by :math:`O(h^2)`, and by the same for all drifts. Weighted walkers are then
distributed as the ground state :math:`\phi_0` of this propagator. The third is the step of
:mod:`jarzynski_jax.kernels.ula` for the density :math:`\psi^2` with its exact weight, and the
local energy :math:`E_L = H\psi/\psi` as a rate: walkers are distributed as :math:`\psi\phi_0`
but for O(h). If :math:`\psi = \phi_0` the local energy is constant, and the energy exact at any
h.

An attractive Coulomb potential has no mean weight in the first two forms:
:math:`e^{h/r}` cannot be integrated at r = 0. The third is right where :math:`\psi` has the
cusp, :math:`\partial_r\log\psi = -Z`, for then :math:`E_L` is bounded.

References: Kac, *Trans. Amer. Math. Soc.* 65 (1949) 1; Reynolds, Ceperley, Alder and Lester,
*J. Chem. Phys.* 77 (1982) 5593; Barr, Gispen and Lamacraft, MSML 2020.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.kernels.arithmetic import (
    all_finite,
    bound_endpoint,
    check_floating,
    check_step_size,
    draw_noise,
    drop_non_finite,
    keep_finite,
    lift,
    lower,
    scalar_product,
    subtract,
)
from jarzynski_jax.kernels.binding import bind
from jarzynski_jax.kernels.guides import FREE, Evaluated, Guide
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.kernels.preconditioning import Preconditioner, apply_factor, solve
from jarzynski_jax.kernels.step_info import WeightInfo
from jarzynski_jax.types import (
    Array,
    ArrayTree,
    Kernel,
    LogDensityFn,
    Position,
    PRNGKey,
    SamplingAlgorithm,
    Scalar,
)

__all__ = [
    "FeynmanKacState",
    "as_move",
    "as_top_level_api",
    "build_kernel",
    "init",
]


class FeynmanKacState(NamedTuple):
    r"""One walker, and what its next step needs.

    logdensity
        -V(x), the rate at which the weight grows without a guide; ``-inf`` where the guide
        has no value, such as at a node.
    energy
        V(x), or with a wave :math:`E_L(x)`: its weighted mean is an estimate of the energy.
    drift, log_wave
        v(x) and :math:`\log\psi(x)`.
    log_endpoint
        With a wave :math:`-\frac h2 v\cdot C^{-1}v`, at least -d/2 - 3; else 0.
    """

    position: ArrayTree
    logdensity: Array
    energy: Array
    drift: ArrayTree
    log_wave: Array
    log_endpoint: Array


def init(
    position: Position,
    logdensity_fn: LogDensityFn,
    guide: Guide = FREE,
    inverse_masses: Preconditioner | None = None,
) -> FeynmanKacState:
    """Weigh one walker for the first time; ``logdensity_fn`` is -V.

    ValueError if a leaf of the position is not of floating point, -V or log ψ no scalar, or the
    drift of another shape.

    Examples
    --------
    >>> float(init(jnp.array([2.0]), lambda x: -jnp.sum(x**2) / 2).energy)
    2.0
    """
    check_floating(position)
    rate, at = _evaluate(position, logdensity_fn, guide, inverse_masses)
    dtype = jnp.promote_types(rate.dtype, jnp.float32)
    return FeynmanKacState(
        position, rate, at.energy, at.drift, at.log_wave, jnp.zeros((), dtype)
    )


def _evaluate(
    position: Position,
    logdensity_fn: LogDensityFn,
    guide: Guide,
    inverse_masses: Preconditioner | None,
) -> tuple[Array, Evaluated]:
    lifted = lift(position)
    rate = lift(jnp.asarray(logdensity_fn(lifted)))
    if rate.shape != ():
        raise ValueError(
            "logdensity_fn, minus the potential, must return a scalar for one walker; it "
            f"returned shape {rate.shape}"
        )
    at = guide.evaluate(lifted, -rate, inverse_masses)
    at = Evaluated(at.drift, lift(at.energy), lift(at.log_wave))
    # Where the potential is infinite, or the wave has a node, a walker has no weight.
    is_finite = jnp.isfinite(rate) & jnp.isfinite(at.energy) & jnp.isfinite(at.log_wave)
    return jnp.where(is_finite & all_finite(at.drift), rate, -jnp.inf), at


@cache  # one function, so that what was compiled with it is found again
def build_kernel() -> Kernel:
    """Build the kernel for one walker.

    It is ``kernel(rng_key, state, logdensity_fn, guide, step_size, inverse_masses=None)``, with
    ``logdensity_fn`` minus the potential, the step h of imaginary time (noise sqrt(h)), and the
    inverse masses a :func:`~jarzynski_jax.kernels.preconditioning.preconditioner`. ValueError
    if h is a number that is not positive.

    Examples
    --------
    An oscillator, guided by its own ground state:

    >>> from jarzynski_jax.kernels.guides import wave_guide
    >>> rate, guide = (lambda x: -(x**2) / 2), wave_guide(lambda x: -(x**2) / 2)
    >>> state = init(jnp.array(1.0), rate, guide)
    >>> state, info = build_kernel()(jax.random.key(0), state, rate, guide, 0.01)
    >>> float(state.energy), bool(info.is_finite)
    (0.5, True)
    """

    def kernel(
        rng_key: PRNGKey,
        state: FeynmanKacState,
        logdensity_fn: LogDensityFn,
        guide: Guide,
        step_size: Scalar,
        inverse_masses: Preconditioner | None = None,
    ) -> tuple[FeynmanKacState, WeightInfo]:
        check_step_size(step_size)
        proposed = _guided_step(rng_key, state, step_size, inverse_masses)
        position = keep_finite(proposed, state.position)
        rate, at = _evaluate(position, logdensity_fn, guide, inverse_masses)

        dtype = jnp.promote_types(rate.dtype, jnp.float32)
        h = jnp.asarray(step_size, dtype)
        displacement = subtract(proposed, state.position)
        force, new_force = solve(inverse_masses, state.drift), solve(inverse_masses, at.drift)

        def dot(left: ArrayTree, right: ArrayTree) -> Array:
            return scalar_product(left, right, dtype)

        square = dot(state.drift, force)
        log_endpoint = jnp.zeros((), dtype)
        if guide.is_wave:
            log_endpoint = -h / 2 * dot(at.drift, new_force)
            of_guide = (
                2 * (at.log_wave.astype(dtype) - state.log_wave.astype(dtype))
                - dot(displacement, force)
                - dot(displacement, new_force)
                + log_endpoint
                + h / 2 * square
            )
        else:  # -v.dB - h v.v/2, of dB = x' - x - h v
            of_guide = -dot(displacement, force) + h / 2 * square
        energies = state.energy.astype(dtype) + at.energy.astype(dtype)
        increment = -h / 2 * energies + of_guide
        is_finite = jnp.isfinite(increment) & jnp.isfinite(rate) & all_finite(proposed)
        bounded = jnp.where(is_finite, bound_endpoint(log_endpoint, position), 0)
        new_state = FeynmanKacState(position, rate, at.energy, at.drift, at.log_wave, bounded)
        return new_state, WeightInfo(jnp.where(is_finite, increment, -jnp.inf), is_finite)

    return kernel


def as_move(
    guide: Guide, step_size: Scalar, inverse_masses: Preconditioner | None = None
) -> Move:
    """Make a move of the kernel; its weight is of no reversed process, so it has no reverse."""
    # A pytree, so that a guide with other parameters is no other program.
    start = jax.tree_util.Partial(init, guide=guide, inverse_masses=inverse_masses)
    return Move(start, build_kernel(), (guide, step_size, inverse_masses))


def as_top_level_api(
    logdensity_fn: LogDensityFn,
    guide: Guide,
    step_size: Scalar,
    inverse_masses: Preconditioner | None = None,
) -> SamplingAlgorithm:
    """Bind the kernel to one potential, ``logdensity_fn`` being -V; h > 0."""
    start = partial(init, guide=guide, inverse_masses=inverse_masses)
    args: tuple[Any, ...] = (guide, step_size, inverse_masses)
    return bind(start, build_kernel(), logdensity_fn, *args)


def _guided_step(
    rng_key: PRNGKey, state: FeynmanKacState, step_size: Scalar, masses: Preconditioner | None
) -> Position:
    noise = apply_factor(masses, draw_noise(rng_key, state.position))

    def step(x: Array, drift: Array, noise: Array) -> Array:
        h = jnp.asarray(step_size, jnp.result_type(x))
        return x + h * drift + jnp.sqrt(h) * noise

    moved = jax.tree.map(step, lift(state.position), drop_non_finite(state.drift), noise)
    return lower(moved, state.position)
