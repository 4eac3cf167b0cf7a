"""A coupling flow of bijx on phi^4: log Z from both sides, what it covers, and a chain."""

import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import drawing
from benchmarks.harness.claims import Claim, above, is_true, within
from benchmarks.harness.tables import Results
from benchmarks.studies.flows.neighbours import coupling_layers
from benchmarks.studies.flows.settings import Settings
from jarzynski_jax import annealing, free_energy, training, walkers
from jarzynski_jax.interop.bijx import layered
from jarzynski_jax.kernels import generalized_hmc, independence
from jarzynski_jax.resampling import systematic
from jarzynski_jax.targets import lattice
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.walkers import Dynamics
from jarzynski_jax.weights import (
    effective_sample_size,
    log_mean_exp,
    normalize,
    relative_error,
)

QUARTIC = 0.022


def names(settings: Settings) -> list[str]:
    """One job for each coupling between neighbours."""
    return [f"coupling-{kappa:g}" for kappa in settings.kappas]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Train, draw from the flow and from the target, and weigh both."""
    kappa = float(name.split("-")[1])
    key = jax.random.key(round(100 * kappa))
    key_fit, key_model, key_target, key_chain = jax.random.split(key, 4)
    target = lattice.phi4(settings.lattice, kappa, QUARTIC)
    gaussian = lattice.fit_gaussian(settings.lattice, kappa, QUARTIC)
    base = lattice.best_gaussian(settings.lattice, kappa, QUARTIC, is_symmetric=False)
    layers = coupling_layers(
        settings.lattice, settings.num_coupling_layers, settings.coupling_width
    )
    flow, params = layered(layers, base)
    optimizer = optax.chain(
        optax.clip_by_global_norm(10.0),
        optax.adam(optax.cosine_decay_schedule(3e-3, settings.num_coupling_updates)),
    )
    objective = training.path_gradient(flow.sample_with_score, target, optimizer, 64)
    begin = time.process_time()
    params = training.fit(
        key_fit,
        objective,
        objective.init(key_fit, params),
        num_steps=settings.num_coupling_updates,
    ).state.params
    seconds = time.process_time() - begin

    def log_weight(x: Array) -> Array:
        return target.logdensity_fn(x) - flow.logdensity(params, x)

    @jax.jit
    def of_model(key: PRNGKey) -> tuple[Array, Array, Array]:
        """Samples, their log-weights, and those by the density of which both signs are."""

        def one(key: PRNGKey) -> tuple[Array, Array, Array]:
            x, log_q = flow.flow.sample_and_logdensity(key, params)
            log_q_of_image = flow.logdensity(params, -x)
            both = jnp.logaddexp(log_q, log_q_of_image) - math.log(2)
            log_p = target.logdensity_fn(x)
            return x, log_p - log_q, log_p - both

        keys = jax.random.split(key, settings.num_coupling_samples)
        return jax.lax.map(one, keys, batch_size=200)

    x, model_weights, symmetrised = of_model(key_model)
    log_z, log_z_error, samples = _annealed(key_target, settings, kappa)
    target_weights = jax.jit(lambda x: jax.lax.map(log_weight, x, batch_size=200))(samples)
    found = free_energy.importance_estimate(model_weights, target_weights)
    share = normalize(symmetrised)
    chain = _chain(key_chain, x.mean(axis=(1, 2)), symmetrised)
    assert found.upper is not None
    assert found.log_coverage is not None
    assert found.forward_effective_sample_size is not None
    return {
        "bound_of_gaussian": np.array(gaussian.bound),
        "mean_of_gaussian": np.array(gaussian.mean),
        "training_seconds": np.array(seconds),
        "bound": np.asarray(jnp.mean(model_weights)),
        "log_z_q": np.asarray(found.log_partition_function),
        "log_z_p": np.asarray(found.upper),
        "coverage": np.exp(np.asarray(found.log_coverage.value)),
        "coverage_error": np.asarray(
            jnp.exp(found.log_coverage.value) * found.log_coverage.standard_error
        ),
        "ess": np.asarray(found.effective_sample_size),
        "ess_symmetrised": np.asarray(effective_sample_size(symmetrised)),
        "forward_ess": np.asarray(found.forward_effective_sample_size),
        "num_doubts": np.array(len(found.doubts)),
        "log_z_symmetrised": np.array([log_mean_exp(symmetrised), relative_error(share)]),
        "log_z_annealed": np.array([log_z, log_z_error]),
        "magnetisation": np.asarray(x.mean(axis=(1, 2))),
        "magnetisation_of_target": np.asarray(samples.mean(axis=(1, 2))),
        **chain,
    }


def _chain(key: PRNGKey, magnetisation: Array, log_weights: Array) -> dict[str, np.ndarray]:
    """Neural Markov chain Monte Carlo by the flow's samples, each with a sign at random."""
    key_sign, key_order = jax.random.split(key)
    signs = jax.random.rademacher(key_sign, magnetisation.shape, magnetisation.dtype)
    chain = independence.accept_in_order(key_order, log_weights)
    along = (signs * magnetisation)[chain.indices]
    signed, absolute = (free_energy.autocorrelation(of) for of in (along, jnp.abs(along)))
    return {
        "acceptance": np.asarray(jnp.mean(chain.is_accepted[1:])),
        "tau": np.asarray(absolute.time),
        "signed_mean": np.asarray(signed.mean),
        "absolute_mean": np.asarray(absolute.mean),
        "num_chain_doubts": np.array(len(signed.doubts) + len(absolute.doubts)),
    }


def _annealed(key: PRNGKey, settings: Settings, kappa: float) -> tuple[float, float, Array]:
    """Log Z with its error, and samples of the target, with signs at random.

    From the best Gaussian, of both signs: independent sites leave walls between domains.
    """
    base = lattice.best_gaussian(settings.lattice, kappa, QUARTIC)
    target = lattice.phi4(settings.lattice, kappa, QUARTIC)
    path = annealing.geometric_path(base.logdensity_fn, target.logdensity_fn)
    dynamics = Dynamics(generalized_hmc.as_move(3, 0.2, 1.0))
    assert base.sample is not None
    key_start, key_path, key_resample, key_sign = jax.random.split(key, 4)
    x = base.sample(key_start, 1024)
    start = walkers.init(x, path(0.0), dynamics.kernel_init)
    times = jnp.linspace(0, 1, settings.num_reference_steps + 1)[1:]
    end, _ = annealing.anneal(key_path, start, path, times, dynamics)
    log_z = log_mean_exp(end.log_weights)
    error = walkers.log_partition_function_error(end)
    ancestors = systematic(key_resample, normalize(end.log_weights), 1024)
    signs = jax.random.rademacher(key_sign, (1024, 1, 1), end.position.dtype)
    return float(log_z), float(error), signs * end.position[ancestors]


def claims(results: Results, settings: Settings) -> list[Claim]:
    """In the symmetric phase all is covered; in the broken one a half, and it is told."""
    found = []
    for kappa in settings.kappas:
        of = results[f"coupling-{kappa:g}"]
        where = f"phi^4 {'x'.join(map(str, settings.lattice))}, kappa {kappa:g}"
        log_z, error = of["log_z_annealed"]
        # Fields average to the phases' value in the broken phase: far from 0 on both sides.
        is_broken = np.median(np.abs(of["magnetisation_of_target"])) > 1
        one_sided = np.min([np.mean(of["magnetisation"] > 0), np.mean(of["magnetisation"] < 0)])
        covered = 0.5 if is_broken and one_sided < 0.01 else 1.0
        found += [
            within(
                f"{where}: log Z by the flow's samples, symmetrised, annealing's",
                of["log_z_symmetrised"][0],
                math.hypot(of["log_z_symmetrised"][1], error),
                log_z,
                4,
            ),
            within(
                f"{where}: log Z by the target's samples, annealing's",
                of["log_z_p"][0],
                math.hypot(of["log_z_p"][1], error),
                log_z,
                4,
            ),
            within(
                f"{where}: share of the target that the flow covers",
                float(of["coverage"]),
                float(of["coverage_error"]),
                covered,
                4,
            ),
            is_true(
                f"{where}: a doubt is told if and only if a phase is missing",
                bool(of["num_doubts"] > 0) == (covered < 1),
                "so",
            ),
            above(
                f"{where}: acceptance of neural Markov chain Monte Carlo by the flow",
                float(of["acceptance"]),
                0.4,
            ),
            within(
                f"{where}: mean of the field along that chain",
                of["signed_mean"][0],
                of["signed_mean"][1],
                0.0,
                4,
            ),
        ]
    return found


def draw(results: Results, folder: Path) -> None:
    """The mean of the field, by the flow and by walkers annealed from the best Gaussian."""
    jobs = sorted(name for name in results if name.startswith("coupling"))
    figure, axes = drawing.panels(len(jobs), squeeze=False)
    for axis, name in zip(axes[0], jobs, strict=True):
        found = results[name]
        most = 1.1 * float(np.abs(found["magnetisation"]).max())
        bins = np.linspace(-most, most, 61)
        options = {"bins": bins, "density": True, "histtype": "step"}
        axis.hist(found["magnetisation_of_target"], **options, color="0.6", linewidth=3)
        axis.hist(found["magnetisation"], **options, color="0.0")
        share = float(found["coverage"])
        axis.set(
            title=f"κ = {name.split('-')[1]}: the flow covers {share:.2f}",
            xlabel="mean of the field",
            ylabel="density",
        )
    axes[0][0].legend(["annealed walkers", "flow, unweighted"], fontsize=8)
    drawing.save(figure, folder, "coupling")
