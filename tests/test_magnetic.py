"""Charges in a magnetic field: exact weights, the turn itself, and work both ways.

How z-scores are taken, their threshold (4.5) and the number of replicates (64): see zscore.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import annealing, free_energy, walkers
from jarzynski_jax.kernels import kinetic, magnetic
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.walkers import Dynamics

TIMES = jnp.linspace(0, 1, 9)[1:]
NEVER = adaptive(systematic, 0.0)


def stiffness(t):
    return jnp.array([1.0, 1.5, 2.0])[:, None] * jnp.array([0.0, 0.4, 1.0])[None] * t + 1.0


def well(dimension):
    """A path of traps that stiffen unevenly and move along x: from 1 to Z = Π k_i^{-1/2}."""

    def path(t):
        k = 1 + t * jnp.array([0.5, 1.0, 2.0])[:dimension]
        centre = 0.6 * t * jnp.eye(dimension)[0]
        return lambda x: -jnp.sum(k * (x - centre) ** 2) / 2

    return path


def bumpy(x):
    return 1.5 * (1 + jnp.sin(x[..., 0]) + x[..., 1] ** 2)


FIELDS = {
    "plane": (2, 2.0),
    "plane, uneven": (2, bumpy),
    "space": (3, jnp.array([0.5, -1.0, 2.0])),
    "space, uneven": (3, lambda x: jnp.stack([x[1], bumpy(x), x[0] * x[2]])),
}


def moments(name, dynamics_of):
    dimension, field = FIELDS[name]
    path = well(dimension)

    def run(key, is_wrong):
        key_start, key_path = jax.random.split(key)
        x = jax.random.normal(key_start, (1000, dimension))
        dynamics = dynamics_of(field, is_wrong)
        start = walkers.init(x, path(0.0), dynamics.kernel_init)
        end, _ = annealing.anneal(key_path, start, path, TIMES, dynamics)
        weight = jnp.exp(end.log_weights)[:, None]
        x = end.position
        return jnp.concatenate(
            [jnp.mean(weight * value, axis=0) for value in (jnp.ones((1000, 1)), x, x**2)]
        )

    return run


def weighed_or_not(field, is_wrong):
    """The kernel; or, if it is said, with a turn that also stretches, as Boris' by a slip."""
    move = magnetic.as_move(0.5, 1.0, field)

    def kernel(key, state, logdensity_fn, *args):
        def drift(x, v):
            moved = magnetic._drift(magnetic.Charges(x, v), field, 0.5)
            return moved[0], jnp.where(is_wrong, 1.05, 1.0) * moved[1]

        return kinetic.split_step(key, state, logdensity_fn, 0.5, 1.0, drift)

    return Dynamics(move._replace(kernel=kernel, args=()), resampler=NEVER)


def exact(name):
    dimension, _ = FIELDS[name]
    k = 1 + np.array([0.5, 1.0, 2.0])[:dimension]
    mean = 0.6 * np.eye(dimension)[0]
    ratio = np.prod(k) ** -0.5
    return ratio * np.concatenate([[1], mean, mean**2 + 1 / k])


@pytest.mark.parametrize("name", FIELDS)
def test_weights_are_exact_in_any_field(name):
    run = moments(name, weighed_or_not)
    assert_unbiased(replicate(name, run, jnp.array(False)), exact(name))


def test_canary_a_turn_that_stretches():
    run = moments("plane", weighed_or_not)
    assert_biased(replicate("plane", run, jnp.array(True)), exact("plane"))


def without_memory(key, field):
    """At infinite friction: Z, x² by weights, and x² without them."""
    key_start, key_path = jax.random.split(key)
    x, path = jax.random.normal(key_start, (1000, 2)), well(2)
    dynamics = Dynamics(magnetic.as_move(0.5, jnp.inf, field), resampler=NEVER)
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    end, _ = annealing.anneal(key_path, start, path, TIMES, dynamics)
    weight, squares = jnp.exp(end.log_weights), end.position**2
    averages = jnp.mean(weight), *jnp.mean(weight[:, None] * squares, axis=0)
    return jnp.stack([*averages, *jnp.mean(squares, axis=0)])


@pytest.mark.parametrize("field", [0.0, 2.0])
def test_infinite_friction_forgets_velocities_and_not_the_potential(field):
    """|z| < 4.5 on Z and on x²; kinetic steps are at no field, and in test_kernels too.

    The canary, x² without weights, lags behind the trap.
    """
    found = replicate("no memory", without_memory, jnp.float32(field))
    expected = exact("plane")[[0, 3, 4]]
    assert_unbiased(found[:, :3], expected)
    assert_biased(found[:, 3:], expected[1:] / expected[0])


def test_the_kernel_is_what_the_canary_was_compared_with():
    field, target = FIELDS["plane, uneven"][1], well(2)(0.5)
    state = magnetic.init(jnp.array([0.3, -0.2]), target)
    key = test_key("same")
    one = magnetic.build_kernel()(key, state, target, 0.5, 1.0, field)
    other = weighed_or_not(field, jnp.array(False)).move.kernel(key, state, target)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_without_a_field_it_is_kinetic(dtype):
    target, x = well(3)(1.0), jnp.array([0.3, -0.2, 1.0], dtype)
    key, state = test_key("no field"), kinetic.init(x, target)
    for _ in range(3):
        expected, info = kinetic.build_kernel()(key, state, target, 0.4, 1.0)
        field = jnp.zeros(3)
        found, other = magnetic.build_kernel()(key, state, target, 0.4, 1.0, field)
        # The drift is made in two halves.
        np.testing.assert_allclose(found.position, expected.position, rtol=1e-5)
        np.testing.assert_allclose(
            other.log_weight_increment, info.log_weight_increment, rtol=1e-4, atol=1e-5
        )
        assert found.position.dtype == dtype
        assert other.log_weight_increment.dtype == dtype
        state = expected


def test_the_turn_is_exact_and_clockwise(x64):
    flow = magnetic.flow(lambda x: 0.0 * jnp.sum(x), 0.1, jnp.array([0.0, 0.0, 2.0]), 1000)
    start = magnetic.Charges(jnp.zeros(3), jnp.array([1.0, 0.0, 0.5]))
    one, _ = magnetic.flow(lambda x: 0.0 * jnp.sum(x), 0.1, jnp.array([0.0, 0.0, 2.0]))(start)
    # By 0.2, where Boris' rotation turns by 2 atan(0.1) = 0.1993.
    np.testing.assert_allclose(one.velocity, [np.cos(0.2), -np.sin(0.2), 0.5], atol=1e-15)
    end, log_determinant = flow(start)
    assert abs(jnp.linalg.norm(end.velocity) - jnp.sqrt(1.25)) < 1e-13
    assert float(log_determinant) == 0
    oblique = jnp.array([0.3, -1.0, 2.0])
    charges = magnetic.Charges(jnp.zeros(3), jnp.array([1.0, 0.2, 0.5]))
    one, _ = magnetic.flow(lambda x: 0.0 * jnp.sum(x), 0.1, oblique)(charges)
    generator = -np.array([[0, -oblique[2], oblique[1]], [oblique[2], 0, -oblique[0]],
                           [-oblique[1], oblique[0], 0]])  # fmt: skip
    turn = jax.scipy.linalg.expm(0.1 * jnp.array(generator))
    np.testing.assert_allclose(one.velocity, turn @ charges.velocity, atol=1e-15)


def orbit(h, num_steps, speed=1.3, omega=2.0):
    """Positions, relative to the centre of their circle, and velocities of a free charge.

    Chords of h v cos(ωh/2) each span the angle ωh, so that the circle has the radius
    (hv/2) cot(ωh/2).
    """
    flow = magnetic.flow(lambda x: 0.0 * x[0], h, omega)

    def step(charges, _):
        charges, _ = flow(charges)
        return charges, charges

    start = magnetic.Charges(jnp.zeros(2), jnp.array([speed, 0.0]))
    _, (x, v) = jax.jit(lambda start: jax.lax.scan(step, start, length=num_steps))(start)
    radius = h * speed / 2 / np.tan(omega * h / 2)
    # The force on a positive charge that goes along +x is along -y.
    return np.asarray(x) - np.array([0, -radius]), np.asarray(v), radius


def test_a_free_charge_goes_in_a_circle_in_phase(x64):
    """At any step: three turns, where Boris' rotation at ωh = 0.2 would be late by 0.06."""
    phase = 0.2 * np.arange(1, 96)
    x, v, radius = orbit(0.1, 95)
    on_circle = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    along_it = np.stack([np.cos(phase), -np.sin(phase)], axis=1)
    np.testing.assert_allclose(x, radius * on_circle, atol=1e-13)
    np.testing.assert_allclose(v, 1.3 * along_it, atol=1e-13)


def test_the_radius_of_the_orbit_tends_to_its_limit_quadratically(x64):
    """To v/ω; measured as half of what an orbit of n points, one turn, spans."""

    def error(n):
        x, _, _ = orbit(np.pi / n, n)
        return 1 - np.linalg.norm(x - x[-1], axis=1).max() / 2 / 0.65

    errors = [error(n) for n in (20, 40, 80)]
    np.testing.assert_allclose(errors[0], (2 * np.pi / 20) ** 2 / 12, rtol=1e-2)
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=1e-2)


def test_volume_is_kept_and_the_inverse_is_a_step_back(x64):
    flow = magnetic.flow(well(2)(0.5), 0.3, bumpy, 3)
    start = jnp.array([0.3, -0.4, 1.0, 0.5])

    def flat(x):
        charges, _ = flow(magnetic.Charges(x[:2], x[2:]))
        return jnp.concatenate(charges)

    np.testing.assert_allclose(jnp.linalg.det(jax.jacfwd(flat)(start)), 1, atol=1e-13)
    image, _ = flow(magnetic.Charges(start[:2], start[2:]))
    back, _ = magnetic.flow(well(2)(0.5), -0.3, bumpy, 3)(image)
    np.testing.assert_allclose(jnp.concatenate(back), start, atol=1e-14)


def step_without_noise(state, target, field):
    """So little friction that nothing is drawn, in float64."""
    kernel = magnetic.build_kernel()
    state, info = kernel(jax.random.key(0), state, target, 0.3, 1e-30, field)
    return state, info.log_weight_increment


@pytest.mark.parametrize("is_turned", [True, False])
def test_work_of_a_path_is_minus_that_of_the_reversed_path(x64, is_turned):
    path = [well(2)(t) for t in (0.0, 0.3, 0.7, 1.0)]
    start = magnetic.init(jnp.array([0.3, -0.4]), path[0])
    state = start._replace(velocity=jnp.array([1.0, 0.5]), is_at_rest=jnp.array(False))
    forward, backward = [], []
    for target in path[1:]:
        state, increment = step_without_noise(state, target, bumpy)
        forward.append(increment)
    field = (lambda x: -bumpy(x)) if is_turned else bumpy
    state = state._replace(velocity=-state.velocity)
    for target in path[2::-1]:
        state, increment = step_without_noise(state, target, field)
        backward.append(increment)
    gap = np.abs(np.array(forward) + np.array(backward[::-1])).max()
    assert (gap < 1e-13) == is_turned


@jax.jit
def reference_step(x, v, noise, old, new, sign):
    """OBABO with the noise given: x, v, the work -ΔA; the field is ``sign * bumpy``."""
    h, c = 0.3, jnp.exp(-0.3 * 0.8)
    (old_value, old_force), target = jax.value_and_grad(well(2)(old))(x), well(2)(new)
    before = c * v + jnp.sqrt(1 - c**2) * noise
    v = before + h / 2 * old_force
    middle = x + h / 2 * v
    angle = h * sign * bumpy(middle)
    turn = jnp.array([[jnp.cos(angle), jnp.sin(angle)], [-jnp.sin(angle), jnp.cos(angle)]])
    v = turn @ v
    x = middle + h / 2 * v
    new_value, new_force = jax.value_and_grad(target)(x)
    v = v + h / 2 * new_force
    return x, v, old_value - new_value + (v @ v - before @ before) / 2


# Kernel, the field there and the field back in units of ``bumpy``, and whether it is undone.
@pytest.mark.parametrize(
    ("name", "there", "back", "is_undone"),
    [
        ("kinetic", 0.0, 0.0, True),
        ("magnetic", 1.0, -1.0, True),
        ("magnetic", 1.0, 1.0, False),
    ],
)
def test_work_of_a_noisy_path_is_minus_that_of_the_reversed_one(
    x64, name, there, back, is_undone
):
    """With the noise by which the reversed path would have been drawn."""
    kernel, args = {
        "kinetic": (kinetic.build_kernel(), ()),
        "magnetic": (magnetic.build_kernel(), (bumpy,)),
    }[name]
    times, c = (0.0, 0.2, 0.5, 0.6, 0.9, 1.0), np.exp(-0.3 * 0.8)
    states = [magnetic.init(jnp.array([0.3, -0.4]), well(2)(0.0))]
    drawn, work = [], []
    for number, time in enumerate(times[1:]):
        key = jax.random.fold_in(test_key("noise"), number)
        state, info = kernel(key, states[-1], well(2)(time), 0.3, 0.8, *args)
        states.append(state)
        drawn.append(info.drawn_velocity)
        work.append(-info.log_weight_increment)

    def noise_from(velocity, to):
        return (to - c * velocity) / np.sqrt(1 - c**2)

    # The reference, driven by the kernel's own noise, is the kernel.
    for number in range(1, 5):
        state = states[number]
        noise = noise_from(state.velocity, drawn[number])
        found = reference_step(
            state.position, state.velocity, noise, *times[number : number + 2], there
        )
        expected = states[number + 1].position, states[number + 1].velocity, work[number]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13), found, expected)

    # Backwards the velocities before and after a refreshment change places.
    x, v = states[-1].position, -states[-1].velocity
    of_work, of_position = [], []
    noise = noise_from(v, v)
    for number in range(4, -1, -1):
        x, v, of_step = reference_step(x, v, noise, times[number + 1], times[number], back)
        of_work.append(float(abs(of_step + work[number])))
        of_position.append(float(jnp.abs(x - states[number].position).max()))
        noise = noise_from(v, -states[number].velocity)
    if is_undone:
        assert max(of_work + of_position) < 1e-12
    else:  # the control: off by hundredths a step
        assert min(of_work) > 1e-4


# ---------------------------------------------------------------- work both ways


def around(t):
    """A trap whose centre goes round: its way back in the same field is another."""
    centre = 1.5 * jnp.stack([jnp.sin(2.5 * t), 1 - jnp.cos(2.5 * t)])
    return lambda x: -(1 + t) * jnp.sum((x - centre) ** 2) / 2


def along(t):
    """One that is its own mirror image in the x axis."""
    return lambda x: (
        -(1 + t) * (x[0] - 2 * t) ** 2 / 2 - (1 + 2 * t) * x[1] ** 2 / 2 - t * x[1] ** 4 / 10
    )


def work_of(path, move, last_positions):
    x = jax.random.normal(test_key("first"), (4000, 2))
    times = jnp.linspace(0, 1, 21)[1:]
    dynamics = Dynamics(move)
    return annealing.work(test_key("work"), x, last_positions, path, times, dynamics)


def last_of_around():
    centre = 1.5 * jnp.array([jnp.sin(2.5), 1 - jnp.cos(2.5)])
    return centre + jax.random.normal(test_key("last"), (4000, 2)) / jnp.sqrt(2)


def test_crooks_with_the_field_turned():
    work = work_of(around, magnetic.as_move(0.25, 0.3, 2.0), last_of_around())
    found = free_energy.estimate(*work)
    assert found.doubts == ()
    assert abs(found.bar.value - jnp.log(2)) < 4.5 * found.bar.standard_error
    assert abs(found.slope.value - 1) < 4.5 * found.slope.standard_error


def test_canary_the_same_field_without_a_reversal_that_goes_with_it():
    move = magnetic.as_move(0.25, 0.3, 2.0, reversal=np.eye(2))
    found = free_energy.estimate(*work_of(around, move, last_of_around()))
    is_off = abs(found.bar.value - jnp.log(2)) > 4.5 * found.bar.standard_error
    assert is_off or found.doubts


@pytest.fixture(scope="module")
def last_of_along():
    """Exact samples by rejection of y, and log Z."""
    noise = jax.random.normal(test_key("last, along"), (3, 12_000))
    y = noise[1] / jnp.sqrt(3.0)
    accepted = jnp.log(jax.random.uniform(test_key("reject"), (12_000,))) < -(y**4) / 10
    y = y[accepted][:4000]
    grid = np.linspace(-8, 8, 20_001)
    density = np.exp(-3 * grid**2 / 2 - grid**4 / 10)
    log_z = np.log(np.sqrt(2 * np.pi / 2) * np.trapezoid(density, grid)) - np.log(2 * np.pi)
    return jnp.stack([2 + noise[0, :4000] / jnp.sqrt(2.0), y], axis=1), log_z


def test_crooks_at_the_same_field(last_of_along):
    last, log_z = last_of_along
    move = magnetic.as_move(0.25, 0.3, lambda x: 1 + x[1] ** 2, reversal=np.diag([1, -1]))
    found = free_energy.estimate(*work_of(along, move, last))
    assert found.doubts == ()
    assert abs(found.bar.value + log_z) < 4.5 * found.bar.standard_error
    assert abs(found.slope.value - 1) < 4.5 * found.slope.standard_error
    assert move.reverse(move).reverse(None) is move


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (jnp.ones(3), r"shape \(\); got \(3,\)"),
        (lambda x: x, r"shape \(\); got \(2,\)"),
        (jnp.nan, "must be finite; got nan"),
    ],
)
def test_fields_that_are_none_are_refused(field, words):
    target = well(2)(0.0)
    state = magnetic.init(jnp.ones(2), target)
    with pytest.raises(ValueError, match=words):
        magnetic.build_kernel()(jax.random.key(0), state, target, 0.1, 1.0, field)


def test_numbers_that_make_no_sense_are_refused():
    target = well(2)(0.0)
    state = magnetic.init(jnp.ones(2), target)
    for args, words in (((0.1, -1.0, 1.0), "friction"), ((-0.1, 1.0, 1.0), "step_size")):
        with pytest.raises(ValueError, match=words):
            magnetic.build_kernel()(jax.random.key(0), state, target, *args)
    with pytest.raises(ValueError, match=r"2 or 3 dimensions.*\(4,\)"):
        magnetic.init(jnp.ones(4), lambda x: -jnp.sum(x**2))
    with pytest.raises(ValueError, match="own inverse"):
        magnetic.as_move(0.1, 1.0, 1.0, reversal=[[0, 1], [-1, 0]])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((-0.1, 1.0, 1.0), "step_size"),
        ((0.1, 0.0, 1.0), "friction"),
        ((0.1, 1.0, jnp.array([0.0, jnp.inf, 0.0])), "magnetic field must be finite"),
    ],
)
@pytest.mark.parametrize("reversal", [None, np.diag([1.0, -1.0])])
def test_a_move_of_bad_numbers_is_refused_at_once(args, words, reversal):
    with pytest.raises(ValueError, match=words):
        magnetic.as_move(*args, reversal)


def test_a_field_that_is_not_finite_on_the_way_is_death():
    target = well(2)(0.0)
    state = magnetic.init(jnp.ones(2), target)
    _, info = magnetic.build_kernel()(
        jax.random.key(0), state, target, 0.1, 1.0, lambda x: jnp.nan * x[0]
    )
    assert jnp.isneginf(info.log_weight_increment)


def test_a_field_that_is_not_finite_shows_in_the_image():
    flow = magnetic.flow(lambda x: 0.0 * x[0], 0.1, lambda x: jnp.nan * x[0])
    image, _ = flow(magnetic.Charges(jnp.ones(2), jnp.ones(2)))
    assert bool(jnp.all(jnp.isnan(jnp.concatenate(image))))


def test_many_charges_each_in_the_field_where_it_is():
    target = lambda x: -jnp.sum(x**2) / 2  # noqa: E731
    state = magnetic.init(jnp.ones((5, 2)), target)
    kernel = magnetic.build_kernel()
    _, info = kernel(jax.random.key(0), state, target, 0.1, 1.0, bumpy)
    assert bool(info.is_finite)
    assert isinstance(magnetic.as_move(0.1, 1.0, bumpy), Move)
