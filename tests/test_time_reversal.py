"""Reversals in a field: how many, which go with it, and what they force on correlators.

Statistical tests: z-scores of 4000 walkers, below 4.5.
"""

import os
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jarzynski_jax.kernels import magnetic
from jarzynski_jax.nonequilibrium import (
    correlators,
    kubo,
    linear_langevin,
    pauli,
    polynomial_fields,
    time_reversal,
)

SEED = int(os.environ.get("JARZYNSKI_TEST_SEED", "0"))
TWENTY = time_reversal.reversals(3)
POINTS = np.random.default_rng(SEED).normal(size=(30, 3))
ONE = (0, 0, 0)


def along_z(polynomial):
    return ({}, {}, polynomial)


#: Polynomial, the same as a function, and how many of the 20 and of the 8 diagonal ones go.
FIELDS = {
    "none": (({}, {}, {}), lambda x: 0 * x, 20, 8),
    "z": (along_z({ONE: 1}), lambda x: jnp.array([0.0, 0.0, 1.0]), 8, 4),
    "z (1 + r²)": (
        along_z({ONE: 1, (2, 0, 0): 1, (0, 2, 0): 1}),
        lambda x: jnp.stack([0.0, 0.0, 1 + x[0] ** 2 + x[1] ** 2]),
        8,
        4,
    ),
    "z (1 + x²)": (
        along_z({ONE: 1, (2, 0, 0): 1}),
        lambda x: jnp.stack([0.0, 0.0, 1 + x[0] ** 2]),
        4,
        4,
    ),
    "z (1 + x)": (
        along_z({ONE: 1, (1, 0, 0): 1}),
        lambda x: jnp.stack([0.0, 0.0, 1 + x[0]]),
        2,
        2,
    ),
    "z (1 + x + y)": (
        along_z({ONE: 1, (1, 0, 0): Fraction(1, 3), (0, 1, 0): Fraction(1, 3)}),
        lambda x: jnp.stack([0.0, 0.0, 1 + (x[0] + x[1]) / 3]),
        2,
        0,
    ),
    "z (1 + x + 2y)": (
        along_z({ONE: 1, (1, 0, 0): 1, (0, 1, 0): 2}),
        lambda x: jnp.stack([0.0, 0.0, 1 + x[0] + 2 * x[1]]),
        0,
        0,
    ),
    "(1, 1, 1)": (({ONE: 1}, {ONE: 1}, {ONE: 1}), lambda x: jnp.ones(3), 6, 0),
    "(1, 1, 0)": (({ONE: 1}, {ONE: 1}, {}), lambda x: jnp.array([1.0, 1.0, 0.0]), 4, 2),
    "(1, 2, 3)": (({ONE: 1}, {ONE: 2}, {ONE: 3}), lambda x: jnp.array([1.0, 2.0, 3.0]), 0, 0),
    "radial": (
        ({(1, 0, 0): 1}, {(0, 1, 0): 1}, {(0, 0, 1): 1}),
        lambda x: x,
        10,
        4,
    ),
}


def test_how_many_reversals_there_are():
    for dimension, expected in ((1, 2), (2, 6), (3, 20), (4, 76), (6, 1384)):
        found = time_reversal.reversals(dimension)
        assert len(found) == expected == time_reversal.count_reversals(dimension)
        assert len(np.unique(found, axis=0)) == expected
        squares = np.einsum("nij,njk->nik", found, found)
        assert np.array_equal(squares, np.broadcast_to(np.eye(dimension), squares.shape))
    assert time_reversal.count_reversals(9) == 168992
    for dimension, expected in ((2, 2), (3, 0), (4, 12), (6, 120)):
        found = time_reversal.antisymmetric_reversals(dimension)
        assert len(found) == expected
        assert time_reversal.count_antisymmetric_reversals(dimension) == expected
        squares = np.einsum("nij,njk->nik", found, found)
        assert np.array_equal(squares, np.broadcast_to(-np.eye(dimension), squares.shape))


@pytest.mark.parametrize("name", FIELDS)
def test_which_go_with_a_field(name):
    polynomial, field_fn, number, of_diagonal = FIELDS[name]
    exact = polynomial_fields.is_compatible(TWENTY, polynomial)
    sampled = time_reversal.is_compatible(TWENTY, POINTS, field_fn)
    np.testing.assert_array_equal(exact, sampled)
    assert exact.sum() == number
    assert exact[:8].sum() == of_diagonal


def test_which_go_with_a_potential():
    # Hartmann's: the eight diagonal ones and the swaps of x and y.
    def hartmann(x):
        return -1 / jnp.linalg.norm(x) + 0.5 / (x[0] ** 2 + x[1] ** 2)

    assert time_reversal.is_compatible(TWENTY, POINTS, None, hartmann).sum() == 12
    # Pairs of charges: all of them; in a trap that is not round the diagonal ones.
    pairs = np.random.default_rng(1).normal(size=(20, 2, 3))
    central = lambda x: jnp.exp(-jnp.sum((x[0] - x[1]) ** 2))  # noqa: E731
    assert time_reversal.is_compatible(TWENTY, pairs, None, central).all()
    trap = lambda x: jnp.sum(x**2 * jnp.array([1.0, 2.0, 3.0]))  # noqa: E731
    assert time_reversal.is_compatible(TWENTY, pairs, None, trap).sum() == 8
    # In the plane a field is one number.
    six, points = time_reversal.reversals(2), POINTS[:, :2]
    assert time_reversal.is_compatible(six, points, lambda x: 1.0 + 0 * x[0]).sum() == 4
    assert polynomial_fields.is_compatible(six, ({(0, 0): 1, (1, 0): 1},)).sum() == 1


def test_a_uniform_field_has_two_circles():
    field = np.array([1.0, 2.0, 3.0])
    for angle in (0.0, 1.0, 4.0):
        pair = time_reversal.uniform_field_reversals(field, angle)
        np.testing.assert_allclose(np.linalg.det(pair), [1, -1])
        assert time_reversal.is_compatible(pair, POINTS, lambda x: jnp.array(field)).all()
    # The entry at zz of a field along z is 1 or -1.
    along = time_reversal.uniform_field_reversals([0, 0, 2.0], 0.7)
    np.testing.assert_allclose(along[:, 2, 2], [-1, 1])


def test_angular_momentum_is_not_always_reversed():
    rng = np.random.default_rng(2)
    x, p = rng.normal(size=(2, 3))
    for matrix in TWENTY:
        expected = np.cross(matrix @ x, -matrix @ p)
        found = time_reversal.reverse_angular_momentum(matrix, np.cross(x, p))
        np.testing.assert_allclose(found, expected, atol=1e-14)
    kept = time_reversal.reverse_angular_momentum(np.diag([1, -1, 1]), [0.0, 0.0, 1.0])
    np.testing.assert_allclose(kept, [0, 0, 1])


@pytest.mark.parametrize("name", ["z (1 + r²)", "z (1 + x)", "z (1 + x + 2y)"])
def test_trajectories_are_reversed_if_and_only_if_it_goes(name, x64):
    _, field_fn, *_ = FIELDS[name]
    start = magnetic.Charges(jnp.array([0.4, -0.2, 0.3]), jnp.array([0.7, 1.0, -0.5]))
    flow = jax.jit(magnetic.flow(lambda x: -jnp.sum(x**2) / 2, 0.1, field_fn, 60))
    goes = time_reversal.is_compatible(TWENTY, POINTS, field_fn)
    for matrix, is_right in zip(TWENTY, goes, strict=True):
        error = float(time_reversal.trajectory_error(matrix, flow, start))
        assert (error < 1e-12) if is_right else (error > 1e-3)


def test_what_is_no_field_or_reversal_is_refused():
    with pytest.raises(ValueError, match="own inverse"):
        time_reversal.is_compatible([2 * np.eye(3)], POINTS, None)
    with pytest.raises(ValueError, match=r"must have shape \(3,\); got \(2,\)"):
        time_reversal.is_compatible(TWENTY, POINTS, lambda x: x[:2])
    with pytest.raises(ValueError, match="must be finite; at"):
        time_reversal.is_compatible(TWENTY, POINTS, lambda x: x / 0)
    with pytest.raises(ValueError, match="a potential must be finite"):
        time_reversal.is_compatible(TWENTY, 0 * POINTS, None, lambda x: 1 / jnp.sum(x**2))
    with pytest.raises(ValueError, match="points must have shape"):
        time_reversal.is_compatible(TWENTY, np.zeros((3, 4)))
    with pytest.raises(ValueError, match="signed permutations"):
        polynomial_fields.is_compatible([0.5 * np.eye(3)])
    with pytest.raises(ValueError, match="3 exponents"):
        polynomial_fields.is_compatible(TWENTY, ({}, {}, {(1, 0): 1}))
    for bad in (np.nan, -np.inf):
        with pytest.raises(ValueError, match=f"must be finite; got {bad} of the term"):
            polynomial_fields.is_compatible(TWENTY, along_z({ONE: 1, (1, 0, 0): bad}))
        with pytest.raises(ValueError, match="must be finite"):
            polynomial_fields.is_compatible(TWENTY, None, {ONE: np.float32(bad)})
    with pytest.raises(ValueError, match="1 components; got 3"):
        polynomial_fields.is_compatible(time_reversal.reversals(2), ({}, {}, {}))
    with pytest.raises(ValueError, match="not 0"):
        time_reversal.uniform_field_reversals([0, 0, 0], 0.1)


# ---------------------------------------------------------------- correlators

MIRROR = np.diag([1, -1])


def trap(x):
    return -jnp.sum(x**2) / 2


def uneven(x):
    return 1 + 0.5 * x[0] + 0.8 * x[1]


def round_field(x):
    return 1 + 0.5 * jnp.sum(x**2)


@pytest.fixture(scope="module")
def start():
    noise = jax.random.normal(jax.random.key(SEED), (2, 4000, 2))
    return magnetic.Charges(*noise)


@pytest.fixture(scope="module")
def seen(start):
    free = magnetic.flow(lambda x: 0 * x[0], 0.2, 1.0, 5)
    return {
        "free": correlators.along_trajectories(free, start, 4),
        "round": correlators.along_trajectories(
            magnetic.flow(trap, 0.1, round_field, 10), start, 4
        ),
        "uneven": correlators.along_trajectories(
            magnetic.flow(trap, 0.1, uneven, 10), start, 4
        ),
    }


def test_a_free_charge(seen):
    t = np.arange(4.0)
    expected = np.stack(
        [np.stack([np.cos(t), -np.sin(t)]), np.stack([np.sin(t), np.cos(t)])]
    ).transpose(2, 0, 1)
    scores = (seen["free"].mean - expected) / seen["free"].standard_error
    assert np.abs(scores).max() < 4.5


def test_the_same_field_forces_a_sign_and_a_control_does_not_obey(seen):
    assert jnp.abs(correlators.z_scores(seen["round"], MIRROR)).max() < 4.5
    assert jnp.abs(seen["round"].mean[1, 0, 1] / seen["round"].standard_error[1, 0, 1]) > 10
    assert jnp.abs(correlators.z_scores(seen["uneven"], MIRROR)).max() > 4.5


def test_onsager_and_casimir_link_two_fields(seen, start):
    """The other field's correlators are the transposes, for any field."""
    turned = magnetic.flow(trap, 0.1, lambda x: -uneven(x), 10)
    other = correlators.along_trajectories(turned, start, 4)
    gap = seen["uneven"].samples - jnp.swapaxes(other.samples, -1, -2)
    scores = correlators.Correlators(gap)
    error = jnp.where(scores.standard_error > 0, scores.standard_error, 1)
    assert jnp.abs(scores.mean / error).max() < 4.5


def test_charges_of_a_gas_repel_and_obey(seen):
    """Three charges with a soft repulsion in a round trap, weighed to it by their start."""

    def gas(x):
        gaps = jnp.sum((x[:, None] - x[None]) ** 2, axis=-1)[jnp.triu_indices(3, 1)]
        return -jnp.sum(x**2) / 2 - jnp.sum(jnp.exp(-gaps))

    keys = jax.random.split(jax.random.key(SEED + 1), 3)
    x = jax.random.normal(keys[0], (8000, 3, 2))
    # The repulsion is bounded: exact samples by rejection.
    excess = jax.vmap(gas)(x) + jnp.sum(x**2, axis=(1, 2)) / 2
    x = x[jnp.log(jax.random.uniform(keys[1], (8000,))) < excess]
    charges = magnetic.Charges(x, jax.random.normal(keys[2], x.shape))
    assert len(x) > 1500
    found = correlators.along_trajectories(magnetic.flow(gas, 0.1, 1.5, 10), charges, 3)
    assert jnp.abs(correlators.z_scores(found, MIRROR)).max() < 4.5
    assert jnp.abs(found.mean[1, 0, 1]) > 10 * found.standard_error[1, 0, 1]


def test_what_reversals_allow():
    eight = TWENTY[polynomial_fields.is_compatible(TWENTY, FIELDS["z"][0])]
    basis = correlators.allowed_by(eight)
    # C_xx = C_yy, C_zz, C_xy = -C_yx.
    assert len(basis) == 3
    for matrix in basis:
        for reversal in eight:
            gap = correlators.reversal_gap(matrix, reversal)
            np.testing.assert_allclose(gap, 0, atol=1e-12)
    with pytest.raises(ValueError, match="one shape"):
        correlators.along_trajectories(None, magnetic.Charges(POINTS, POINTS[:, :2]), 2)


def test_linear_traps_exactly():
    """D_xy + D_yx is 0 if the trap is a mirror image of itself, and known if it is not."""
    angle = np.pi / 6
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    straight, oblique = (
        linear_langevin.trapped_charge(u @ np.diag([1.0, 2.0]) @ u.T, 1.0, 0.3)
        for u in (np.eye(2), turn)
    )
    of_straight, of_oblique = (
        linear_langevin.correlator(one, [0.5, 2.0])[:, 2:, 2:] for one in (straight, oblique)
    )
    np.testing.assert_allclose(of_straight[:, 0, 1] + of_straight[:, 1, 0], 0, atol=1e-14)
    sums = of_oblique[:, 0, 1] + of_oblique[:, 1, 0]
    np.testing.assert_allclose(sums, [0.09006, 0.17540], atol=5e-6)
    along = of_straight[:, 0, 0] - of_straight[:, 1, 1]
    np.testing.assert_allclose(sums, along * np.sin(2 * angle), atol=1e-13)
    # By the convention C[a, b] = <v_a(0) v_b(t)>.
    np.testing.assert_allclose(of_oblique[:, 1, 0], [0.40477, -0.38916], atol=5e-6)
    np.testing.assert_allclose(
        linear_langevin.covariance(oblique)[2:, 2:], np.eye(2), atol=1e-13
    )


#: γ and ω of a charge in space without a trap, its field along z, and its velocities' law.
FRICTION, OMEGA = 1.0, 2.0
FREE = linear_langevin.LinearLangevin(
    np.array([[-FRICTION, OMEGA, 0.0], [-OMEGA, -FRICTION, 0.0], [0.0, 0.0, -FRICTION]]),
    FRICTION * np.eye(3),
)


def correlator_of_free(times):
    """e^{-γt} of the turn by ωt, ``C[k, a, b]``, written down."""
    cos, sin, one = np.cos(OMEGA * times), np.sin(OMEGA * times), np.ones_like(times)
    turn = [[cos, -sin, 0 * one], [sin, cos, 0 * one], [0 * one, 0 * one, one]]
    return np.exp(-FRICTION * times)[:, None, None] * np.moveaxis(np.array(turn), -1, 0)


def test_diffusion_across_a_field_and_along_it():
    """Green and Kubo: (γ, ω)/(γ² + ω²) across, 1/γ along; and the same by D = -L⁻¹."""
    steps = linear_langevin.correlator(FREE, [0.0, 0.001])[1]
    powers = np.stack([np.linalg.matrix_power(steps, k) for k in range(0, 30_001, 10)])
    diffusion = integrate.simpson(powers, x=0.01 * np.arange(3001), axis=0)
    expected = [[0.2, -0.4, 0], [0.4, 0.2, 0], [0, 0, 1]]
    np.testing.assert_allclose(diffusion, expected, atol=1e-6)
    np.testing.assert_allclose(-np.linalg.inv(FREE.drift).T, expected, atol=1e-15)


def test_velocities_of_a_free_charge_forget_and_turn_exactly():
    times = np.array([0.0, 0.3, 1.0, 4.0])
    found = linear_langevin.correlator(FREE, times)
    np.testing.assert_allclose(found, correlator_of_free(times), atol=1e-14)


def free_walkers(omega):
    """The same by walkers of the magnetic kernel, from velocities at equilibrium."""
    key_start, key_steps = jax.random.split(jax.random.key(SEED + 2))
    free, field = (lambda x: 0.0 * x[0]), omega * jnp.array([0.0, 0.0, 1.0])
    kernel = magnetic.build_kernel()

    def of_walker(key, velocity):
        state = magnetic.init(jnp.zeros(3), free)
        state = state._replace(velocity=velocity, is_at_rest=jnp.array(False))

        def step(state, key):
            moved, _ = kernel(key, state, free, 0.2, FRICTION, field)
            return moved, state.velocity

        _, velocities = jax.lax.scan(step, state, jax.random.split(key, 8))
        return jnp.einsum("a,kb->kab", velocity, velocities)

    velocities = jax.random.normal(key_start, (4000, 3))
    return correlators.Correlators(
        jax.jit(jax.vmap(of_walker))(jax.random.split(key_steps, 4000), velocities)
    )


def test_velocities_of_walkers_forget_and_turn_as_exactly():
    """Noise and turn are exact, so that it holds at any step: h = 0.2, the turn by 0.4."""
    found, expected = free_walkers(OMEGA), correlator_of_free(0.2 * np.arange(8))
    assert np.abs((found.mean - expected) / found.standard_error).max() < 4.5
    canary = free_walkers(-OMEGA)
    assert np.abs((canary.mean - expected) / canary.standard_error).max() > 4.5


def test_entropy_is_produced_or_not_as_the_reversal_is_chosen():
    trap = linear_langevin.trapped_charge(np.diag([1.0, 2.0]), 2.0, 1.0)
    other = linear_langevin.trapped_charge(np.diag([1.0, 2.0]), -2.0, 1.0).drift
    plain = np.diag([1.0, 1.0, -1.0, -1.0])
    mirrored = np.diag([1.0, -1.0, -1.0, 1.0])
    assert abs(linear_langevin.entropy_production(trap, 0.3, plain, other)) < 1e-11
    assert abs(linear_langevin.entropy_production(trap, 0.3, mirrored)) < 1e-11
    assert linear_langevin.entropy_production(trap, 0.3, plain) > 0.1
    with pytest.raises(ValueError, match="negative real"):
        linear_langevin.covariance(trap._replace(drift=-trap.drift))
    with pytest.raises(ValueError, match=r"friction=-1\.0"):
        linear_langevin.trapped_charge(np.eye(2), 1.0, -1.0)
    for stiffness in (np.ones(2), np.diag([1.0, np.inf])):
        with pytest.raises(ValueError, match="symmetric matrix"):
            linear_langevin.trapped_charge(stiffness, 1.0, 1.0)
    for frequency in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"frequency must be finite; got {frequency}"):
            linear_langevin.trapped_charge(np.eye(2), frequency, 1.0)
    with pytest.raises(ValueError, match="friction=inf"):
        linear_langevin.trapped_charge(np.eye(2), 1.0, np.inf)


# ---------------------------------------------------------------- quantum mechanics


def potential(x_slope, y_slope, mixed):
    axis = np.arange(6) - 2.5
    x, y = np.meshgrid(axis, axis, indexing="ij")
    return x_slope * x + y_slope * y + mixed * x * y


def test_a_charge_on_a_lattice():
    mirror = kubo.lattice_reflection(6)
    times = np.linspace(0, 4, 9)

    def sums(values):
        hamiltonian = kubo.lattice_hamiltonian(6, 0.4, 0.5, values)
        x, y = kubo.lattice_currents(hamiltonian)
        both = [kubo.kubo_correlator(hamiltonian, a, b, times) for a, b in ((x, y), (y, x))]
        assert np.abs(np.imag(both)).max() < 1e-14
        is_kept = np.abs(mirror @ hamiltonian.conj() @ mirror - hamiltonian).max() < 1e-12
        return np.abs(both[0] + both[1]).max(), np.abs(both[0]).max(), is_kept

    gap, size, is_kept = sums(None)
    assert gap < 1e-15
    assert size > 0.05
    assert is_kept
    even = potential(0.3, 0, 0) + 0.1 * potential(0, 1, 0) ** 2
    assert sums(even)[0] < 1e-15
    gap, _, is_kept = sums(potential(0, 0.3, 0))  # x → -x still helps
    assert gap < 1e-15
    assert not is_kept
    gap, _, is_kept = sums(potential(0.3, 0.2, 0.05))
    assert gap > 0.02
    assert not is_kept


def test_the_control_of_the_lattice_has_its_values():
    hamiltonian = kubo.lattice_hamiltonian(6, 0.4, 0.5, potential(0.3, 0.2, 0.05))
    x, y = kubo.lattice_currents(hamiltonian)
    there = kubo.kubo_correlator(hamiltonian, x, y, [0.7, 2.0]).real
    back = kubo.kubo_correlator(hamiltonian, y, x, [0.7, 2.0]).real
    np.testing.assert_allclose(there, [-0.03742, -0.08386], atol=5e-6)
    np.testing.assert_allclose(there + back, [-0.0032, -0.0270], atol=5e-5)


def test_the_canonical_correlator_is_the_integral():
    rng = np.random.default_rng(3)
    hamiltonian, a, b = (m + m.conj().T for m in rng.normal(size=(3, 5, 5)) * (1 + 0.3j))
    beta, t = 0.7, 0.9
    energies, states = np.linalg.eigh(hamiltonian)

    def power(z):
        return states @ np.diag(np.exp(z * energies)) @ states.conj().T

    rho = power(-beta) / np.trace(power(-beta))
    later = power(1j * t) @ b @ power(-1j * t)
    lambdas = np.linspace(0, beta, 1601)
    values = [np.trace(rho @ power(s) @ a @ power(-s) @ later) for s in lambdas]
    expected = integrate.simpson(values, x=lambdas) / beta
    found = kubo.kubo_correlator(hamiltonian, a, b, [t], beta)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    with pytest.raises(ValueError, match="Hermitian"):
        kubo.kubo_correlator(hamiltonian, 1j * a, b, [t])
    with pytest.raises(ValueError, match="beta"):
        kubo.kubo_correlator(hamiltonian, a, b, [t], -1.0)
    with pytest.raises(ValueError, match=r"shape \(6, 6\)"):
        kubo.lattice_hamiltonian(6, 0.4, potential=np.ones(6))
    with pytest.raises(ValueError, match="finite; got field=nan"):
        kubo.lattice_hamiltonian(6, np.nan)
    with pytest.raises(ValueError, match="hopping=inf"):
        kubo.lattice_hamiltonian(6, 0.4, np.inf)


def test_spins():
    nine = pauli.spin_reversals()
    assert len(nine) == 9
    minus = [name for name, unitary in nine.items() if pauli.square(unitary) == -1]
    assert minus == ["sigma_y"]
    swaps = sorted(name for name in nine if name.startswith("swap"))
    assert swaps == [
        "swap xy: z + i",
        "swap xy: z - i",
        "swap xz: x + z",
        "swap xz: x - z",
        "swap yz: x + i",
        "swap yz: x - i",
    ]
    for matrix in TWENTY:
        unitary = pauli.spin_operator(matrix)
        turn = np.linalg.det(matrix) * matrix.T
        for i in range(3):
            expected = -np.einsum("j,jkl->kl", turn[i], pauli.SIGMA)
            np.testing.assert_allclose(
                pauli.apply(unitary, pauli.SIGMA[i]), expected, atol=1e-12
            )
        assert abs(pauli.square(unitary)) == 1
    # σ·B is kept if and only if the field at the image is what the orbital A wants.
    field, matrix = np.array([0.0, 0.0, 1.3]), np.diag([1, -1, 1])
    hamiltonian = -np.einsum("i,ikl->kl", field, pauli.SIGMA)
    unitary = pauli.spin_operator(matrix)
    np.testing.assert_allclose(pauli.apply(unitary, hamiltonian), hamiltonian, atol=1e-14)
    times = np.linspace(0, 3, 7)
    x, y, _ = pauli.SIGMA
    there = kubo.kubo_correlator(hamiltonian, x, y, times)
    back = kubo.kubo_correlator(hamiltonian, y, x, times)
    np.testing.assert_allclose(there + back, 0, atol=1e-14)
    assert np.abs(there).max() > 0.1


def test_one_walker_of_nan_is_no_reversal():
    noise = jax.random.normal(jax.random.key(0), (50, 3, 2, 2)).at[7].set(jnp.nan)
    scores = correlators.z_scores(correlators.Correlators(noise), np.diag([1, -1]))
    assert bool(jnp.all(jnp.isnan(scores[:, 0, 1])))


def test_times_go_forward():
    free = linear_langevin.LinearLangevin(-np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="at least 0; got -1"):
        linear_langevin.correlator(free, [-1.0])
    for time in (0.0, -0.5):
        with pytest.raises(ValueError, match="must be positive"):
            linear_langevin.entropy_production(free, time, -np.eye(2))
