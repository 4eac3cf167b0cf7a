"""A continuous flow on phi^4, trained by total and by path gradients, with what follows it."""

import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, above, below, is_true, within
from benchmarks.harness.tables import Results
from benchmarks.studies.flows.settings import Settings
from jarzynski_jax import annealing, generators, training, walkers
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.generators import ContinuousFlow
from jarzynski_jax.kernels import generalized_hmc
from jarzynski_jax.resampling import adaptive, systematic
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import effective_sample_size, log_mean_exp, normalize, relative_error

MASS_SQUARED = -4.0
GRADIENTS = ("total", "path")
#: Path gradients of a velocity that varies in time faster than the steps tell: what goes wrong
#: is shown, at the first length. It begins at white noise, from where a flow has far to go.
ALIASED = "aliased"
_ALIASED_FEATURES = (20, 20, 49, 10)
_SEEDS = {"total": 5, "path": 4, ALIASED: 4, "annealing": 9}


def names(settings: Settings) -> list[str]:
    """Of all jobs: a flow for each gradient, and annealing, of each length."""
    found = [
        f"continuous-{length}-{kind}"
        for length in settings.lengths
        for kind in (*GRADIENTS, "annealing")
    ]
    return [*found, _aliased(settings)] if settings.has_aliased_flow else found


def _aliased(settings: Settings) -> str:
    return f"continuous-{settings.lengths[0]}-{ALIASED}"


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Train a flow, and look at it now and then; or anneal."""
    _, length, kind = name.split("-")
    number = settings.lengths.index(int(length))
    target = _target(settings, number)
    key = jax.random.fold_in(jax.random.key(number), _SEEDS[kind])
    if kind == "annealing":
        return _annealed(key, settings, number)
    return _trained(key, kind, settings, number, target)


def _target(settings: Settings, number: int) -> Density:
    length = settings.lengths[number]
    return lattice.phi4_mass((length, length), MASS_SQUARED, settings.quartics[number])


def _base(settings: Settings, number: int) -> Density:
    """The best Gaussian, of the field of a mass: from white noise a flow learns far slower."""
    length = settings.lengths[number]
    couplings = lattice.from_mass(MASS_SQUARED, settings.quartics[number], 2)
    scale = math.sqrt(couplings.kappa)
    gaussian = lattice.best_gaussian((length, length), *couplings)
    sample, log_z = check_exact(gaussian)
    return Density(
        lambda x: gaussian.logdensity_fn(x / scale),
        log_z + length**2 * math.log(scale),
        lambda key, n: scale * sample(key, n),
    )


def _white_noise(length: int) -> Density:
    constant = length**2 * math.log(2 * math.pi) / 2
    return Density(
        lambda x: -jnp.sum(jnp.square(x)) / 2 - constant,
        0.0,
        lambda key, n: jax.random.normal(key, (n, length, length)),
    )


def _trained(
    key: PRNGKey, kind: str, settings: Settings, number: int, target: Density
) -> dict[str, np.ndarray]:
    key_params, key_fit, key_look, key_end = jax.random.split(key, 4)
    length = settings.lengths[number]
    if kind == ALIASED:
        base, features = _white_noise(length), _ALIASED_FEATURES
        num_updates = settings.num_aliased_updates
    else:
        base, features = _base(settings, number), settings.flow_features
        num_updates = settings.num_flow_updates[number]
    flow = ContinuousFlow(base, generators.lattice_velocity, settings.num_flow_steps)
    params = generators.init_lattice_velocity(key_params, length, *features)
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, num_updates, 0.02), b1=0.8, b2=0.9)
    objective = (
        training.reverse_kl(flow.sample_and_logdensity, target, optimizer, settings.flow_batch)
        if kind == "total"
        else training.path_gradient(
            flow.sample_with_score, target, optimizer, settings.flow_batch
        )
    )
    state = objective.init(key_params, params)

    @jax.jit
    def log_weights(key: PRNGKey, params: Params) -> Array:
        """Of many samples, a batch after the other."""

        def one_batch(key: PRNGKey) -> Array:
            keys = jax.random.split(key, 128)
            x, log_q = jax.vmap(flow.sample_and_logdensity, (0, None))(keys, params)
            return jax.vmap(target.logdensity_fn)(x) - log_q

        return jax.lax.map(one_batch, jax.random.split(key, settings.num_flow_samples // 128))

    stride = num_updates // settings.num_looks
    looks, seconds = [], [0.0]
    for look in range(settings.num_looks + 1):
        looks.append(log_weights(jax.random.fold_in(key_look, look), state.params).ravel())
        if look == settings.num_looks:
            break
        start = time.process_time()
        state = training.fit(
            key_fit, objective, state, num_steps=(look + 1) * stride, chunk_size=stride
        ).state
        seconds.append(seconds[-1] + time.process_time() - start)
    weights = jnp.stack(looks)
    shares = jax.vmap(normalize)(weights)
    behind = {}
    if kind == "path":
        behind = _langevin_behind(key_end, flow, state.params, target, settings)
    doubts = generators.step_doubts(key_end, flow, state.params, target).doubts
    return {
        "num_step_doubts": np.array(len(doubts)),
        "updates": np.arange(settings.num_looks + 1) * stride,
        "cpu_seconds": np.array(seconds),
        "seconds_an_update": np.array((seconds[-1] - seconds[1]) / (num_updates - stride)),
        "ess": np.asarray(jax.vmap(effective_sample_size)(weights)),
        "log_z": np.asarray(jax.vmap(log_mean_exp)(weights)),
        "log_z_error": np.asarray(jax.vmap(relative_error)(shares)),
        **behind,
    }


def _langevin_behind(
    key: PRNGKey, flow: ContinuousFlow, params: Params, target: Density, settings: Settings
) -> dict[str, np.ndarray]:
    """Anneal from the flow to the target by a few weighted Langevin steps, not resampled."""
    key_start, key_path = jax.random.split(key)
    model = flow.density(params)
    path = annealing.geometric_path(model.logdensity_fn, target.logdensity_fn)
    # Langevin steps that are accepted or rejected: those of 0.1 carry no error of their own.
    move = generalized_hmc.as_move(1, 0.1, 1.0)
    dynamics = Dynamics(move, resampler=adaptive(systematic, 0.0))
    assert model.sample is not None
    x = model.sample(key_start, settings.num_walkers)
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    times = jnp.linspace(0, 1, settings.num_langevin_steps + 1)[1:]
    end, _ = annealing.anneal(key_path, start, path, times, dynamics)
    before = jax.vmap(target.logdensity_fn)(x) - jax.vmap(model.logdensity_fn)(x)
    return {
        "ess_of_walkers": np.asarray(effective_sample_size(before)),
        "ess_behind": np.asarray(effective_sample_size(end.log_weights)),
        "log_z_behind": np.asarray(log_mean_exp(end.log_weights)),
        "log_z_behind_error": np.asarray(relative_error(normalize(end.log_weights))),
    }


def _annealed(key: PRNGKey, settings: Settings, number: int) -> dict[str, np.ndarray]:
    """From exact samples without couplings between sites, without any flow."""
    length, quartic = settings.lengths[number], settings.quartics[number]
    couplings = lattice.from_mass(MASS_SQUARED, quartic)
    shape = (length, length)
    base, target = (lattice.phi4(shape, k, couplings.quartic) for k in (0.0, couplings.kappa))
    # The field of the mass convention is sqrt(κ) times this one.
    moved = length**2 / 2 * math.log(couplings.kappa)
    path = annealing.geometric_path(base.logdensity_fn, target.logdensity_fn)
    dynamics = Dynamics(
        generalized_hmc.as_move(3, 0.1, 1.0), resampler=adaptive(systematic, 0.0)
    )
    assert base.sample is not None
    assert base.log_partition_function is not None
    rows, seconds = [], []
    for num_steps in settings.annealing_steps:
        keys = jax.random.split(jax.random.fold_in(key, num_steps))
        begin = time.process_time()
        x = base.sample(keys[0], settings.num_walkers)
        start = walkers.init(x, path(0.0), dynamics.kernel_init)
        times = jnp.linspace(0, 1, num_steps + 1)[1:]
        end, _ = annealing.anneal(keys[1], start, path, times, dynamics)
        error = relative_error(normalize(end.log_weights))
        log_z = log_mean_exp(end.log_weights) + base.log_partition_function + moved
        rows.append([effective_sample_size(end.log_weights), log_z, error])
        seconds.append(time.process_time() - begin)
    ess, log_z, error = np.asarray(rows).T
    return {"ess": ess, "log_z": log_z, "log_z_error": error, "cpu_seconds": np.array(seconds)}


def claims(results: Results, settings: Settings) -> list[Claim]:
    """Of each length; what the study found, whether it was hoped for or not."""
    found = [of for length in settings.lengths for of in _claims_of(length, results, settings)]
    return found + (_claims_of_aliased(results, settings) if settings.has_aliased_flow else [])


def _claims_of(length: int, results: Results, settings: Settings) -> list[Claim]:
    total, path, plain = (
        results[f"continuous-{length}-{kind}"] for kind in (*GRADIENTS, "annealing")
    )
    where = f"phi^4 {length}x{length}"
    found = [
        above(f"{where}: ESS after training by {kind} gradients", flow["ess"][-1], 0.5)
        for kind, flow in (("total", total), ("path", path))
    ]
    # What lies between steps tempts the total gradient alone, which has it in its loss.
    is_told = total["num_step_doubts"] > 0 or _num_errors(total, plain) < 4
    found += [
        is_true(
            f"{where}: log Z of the flow trained by total gradients is within 4 errors of "
            "annealing's, or its steps are doubted",
            bool(is_told),
            "so",
        ),
        within(
            f"{where}: log Z of the flow trained by path gradients, annealing's",
            path["log_z"][-1],
            math.hypot(path["log_z_error"][-1], plain["log_z_error"][-1]),
            plain["log_z"][-1],
            4,
        ),
        below(
            f"{where}: doubts about the steps of the flow of path gradients",
            float(path["num_step_doubts"]),
            0.5,
        ),
    ]
    return [
        *found,
        above(
            f"{where}: ESS lost by the total gradient over that lost by the path gradient",
            float((1 - total["ess"][-1]) / (1 - path["ess"][-1])),
            1.0,
        ),
        above(
            f"{where}: ESS with {settings.num_langevin_steps} Langevin steps behind the "
            "flow of path gradients, over that without",
            float(path["ess_behind"] / path["ess_of_walkers"]),
            1.0,
        ),
        within(
            f"{where}: log Z with these steps, annealing's",
            float(path["log_z_behind"]),
            math.hypot(path["log_z_behind_error"], plain["log_z_error"][-1]),
            plain["log_z"][-1],
            4,
        ),
    ]


def _num_errors(flow: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> float:
    """By how many errors the last log Z of two methods differ."""
    error = math.hypot(flow["log_z_error"][-1], plain["log_z_error"][-1])
    return float(abs(flow["log_z"][-1] - plain["log_z"][-1]) / error)


def _claims_of_aliased(results: Results, settings: Settings) -> list[Claim]:
    flow, length = results[_aliased(settings)], settings.lengths[0]
    plain = results[f"continuous-{length}-annealing"]
    where = (
        f"phi^4 {length}x{length}, a velocity of {_ALIASED_FEATURES[-1]} harmonics in "
        f"{settings.num_flow_steps} steps"
    )
    return [
        above(f"{where}: ESS after training", flow["ess"][-1], 0.5),
        above(
            f"{where}: log Z from annealing's, in errors: what lies between steps was learned",
            _num_errors(flow, plain),
            4.0,
        ),
        above(f"{where}: doubts about its steps", float(flow["num_step_doubts"]), 0.5),
    ]


def draw(results: Results, folder: Path) -> None:
    """ESS against training time, for each length, with the levels of plain annealing."""
    lengths = sorted(
        {int(name.split("-")[1]) for name in results if name.startswith("continuous-")}
    )
    figure, axes = drawing.panels(len(lengths), squeeze=False)
    for axis, length in zip(axes[0], lengths, strict=True):
        for style, kind in zip(drawing.STYLES, GRADIENTS, strict=False):
            found = results[f"continuous-{length}-{kind}"]
            axis.plot(found["cpu_seconds"], 1 - found["ess"], **style, label=f"{kind} gradient")
        plain = results[f"continuous-{length}-annealing"]
        axis.plot(
            plain["cpu_seconds"],
            1 - plain["ess"],
            **(drawing.STYLES[3] | {"marker": "o"}),
            label="annealing, no training",
        )
        path = results[f"continuous-{length}-path"]
        axis.axhline(
            1 - path["ess_behind"], **drawing.STYLES[4], label="path flow, then Langevin"
        )
        axis.set(
            title=f"{length} x {length}", xlabel="CPU seconds", ylabel="1 - ESS", yscale="log"
        )
    axes[0][0].legend(fontsize=8)
    drawing.save(figure, folder, "continuous")
