"""What is often handed over in place of a kernel, a resampler or an energy is refused."""

import blackjax
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen, nnx

from jarzynski_jax import annealing, energies, training, walkers
from jarzynski_jax.annealing import geometric_path, schedules, tuning
from jarzynski_jax.interop import blackjax as adapters
from jarzynski_jax.kernels import binding, invariant, metropolis, sequence, ula
from jarzynski_jax.kernels.move import Move
from jarzynski_jax.resampling import adaptive, stratified, systematic
from jarzynski_jax.walkers import Dynamics, kinetic_langevin, langevin

KEY = jax.random.key(0)
X = jnp.arange(8.0)
TIMES = jnp.array([0.5, 1.0])
RESAMPLER = adaptive(systematic, 0.5)


def target(x):
    return -(x**2) / 2


PATH = geometric_path(target, lambda x: -(x**2))
ENSEMBLE = walkers.init(X, target, ula.init)

KERNEL_TAKERS = {
    "move": lambda kernel: walkers.move(KEY, ENSEMBLE, target, kernel, 0.1),
    "find_step_size": lambda kernel: tuning.find_step_size(
        KEY, X, target, Move(ula.init, kernel), target=0.9
    ),
    "adjust": metropolis.adjust,
    "invariant": lambda kernel: invariant.build_kernel(ula.init, kernel),
    "sequence": lambda kernel: sequence.build_kernel([Move(ula.init, kernel)]),
    "bind": lambda kernel: binding.bind(ula.init, kernel, target),
    "weighted_update": lambda kernel: adapters.weighted_update(ula.init, kernel, RESAMPLER),
}
NO_KERNELS = {
    "module": (ula, r"got the module .*write ula\.build_kernel\(\)"),
    "builder": (ula.build_kernel, r"got the builder: write ula\.build_kernel\(\)"),
    "sampler": (blackjax.hmc, r"a sampler: write .*invariant_kernel"),
    "number": (0.1, "a kernel must be a function .*got float"),
}


@pytest.mark.parametrize("taker", KERNEL_TAKERS)
@pytest.mark.parametrize("name", NO_KERNELS)
def test_what_is_no_kernel_is_refused(name, taker):
    kernel, message = NO_KERNELS[name]
    with pytest.raises(ValueError, match=message):
        KERNEL_TAKERS[taker](kernel)


def test_a_module_is_no_init_of_a_kernel():
    with pytest.raises(ValueError, match=r"got the module .*write ula\.init"):
        walkers.init(X, target, ula)


DYNAMICS_TAKERS = {
    "anneal": lambda dynamics: annealing.anneal(KEY, ENSEMBLE, PATH, TIMES, dynamics),
    "relax": lambda dynamics: annealing.relax(KEY, X, target, dynamics, 2),
    "work": lambda dynamics: annealing.work(KEY, X, X, PATH, TIMES, dynamics),
    "bounds": lambda dynamics: annealing.log_partition_bounds(
        KEY, X, PATH, 0.0, dynamics, 2, num_replicates=2
    ),
    "adaptively": lambda dynamics: schedules.anneal_adaptively(
        KEY, ENSEMBLE, PATH, dynamics, 0.9, 2
    ),
    "training": lambda dynamics: training.jarzynski(_energy, optax.sgd(0.1), dynamics),
    "refresh": lambda dynamics: training.refresh_along_path(
        None, None, dynamics, num_steps=1, every=1
    ),
}
NO_DYNAMICS = {
    "uncalled": (langevin, "must be a Dynamics.*got function"),
    "init": (Dynamics(Move(ula, ula.build_kernel(), (0.1,)), 1, RESAMPLER), r"write ula\.init"),
    "kernel": (Dynamics(Move(ula.init, ula, (0.1,)), 1, RESAMPLER), r"write ula\.build_kernel"),
    "resampler": (
        Dynamics(ula.as_move(0.1), 1, systematic),
        r"takes \(rng_key, weights, num_samples\): write resampling\.adaptive\(systematic",
    ),
}


def _energy(params, x):
    return jnp.sum((x - params) ** 2) / 2


@pytest.mark.parametrize("taker", DYNAMICS_TAKERS)
@pytest.mark.parametrize("name", NO_DYNAMICS)
def test_what_are_no_dynamics_is_refused(name, taker):
    dynamics, message = NO_DYNAMICS[name]
    with pytest.raises(ValueError, match=message):
        DYNAMICS_TAKERS[taker](dynamics)


@pytest.mark.parametrize(
    "take",
    [
        lambda resampler: walkers.resample(KEY, ENSEMBLE, resampler),
        lambda resampler: langevin(0.1, resampler=resampler),
        lambda resampler: kinetic_langevin(0.1, 1.0, resampler=resampler),
        lambda resampler: adapters.weighted_update(ula.init, ula.build_kernel(), resampler),
    ],
)
@pytest.mark.parametrize("scheme", [stratified, blackjax.smc.resampling.stratified])
def test_a_scheme_alone_is_no_resampler_of_walkers(take, scheme):
    with pytest.raises(ValueError, match=r"write resampling\.adaptive\(stratified"):
        take(scheme)


ENERGY_TAKERS = {
    **{
        build.__name__: lambda energy, build=build: build(energy, optax.sgd(0.1), langevin(0.1))
        for build in (
            training.jarzynski,
            training.persistent_contrastive_divergence,
            training.contrastive_divergence,
            training.unweighted,
            training.score_matching,
        )
    },
    "pool": lambda energy: training.jarzynski_pool(energy, optax.sgd(0.1), langevin(0.1), 4),
    "path": lambda energy: training.path_from_base(None, energy, None),
    "start": lambda energy: energies.gaussian_base.exact_start(KEY, None, energy, None, 4),
}
NO_ENERGIES = {
    "nnx": (energies.MLP(2, rngs=nnx.Rngs(0)), r"module MLP: write .*energies\.functional"),
    "linen": (linen.Dense(1), r"module Dense: write module\.apply"),
    "pair": ((_energy, jnp.zeros(2)), "must be a function .*got tuple"),
}


@pytest.mark.parametrize("taker", ENERGY_TAKERS)
@pytest.mark.parametrize("name", NO_ENERGIES)
def test_what_is_no_energy_is_refused(name, taker):
    energy, message = NO_ENERGIES[name]
    with pytest.raises(ValueError, match=message):
        ENERGY_TAKERS[taker](energy)
