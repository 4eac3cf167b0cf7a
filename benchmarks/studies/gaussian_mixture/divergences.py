"""What the two divergences see of a mode's mass (thesis, eq. 2.2.36, Figure 2.4).

ρ₁ has the modes ∓5 in equal shares, ρ₂ with the log-odds z. Monte Carlo means over samples of
ρ₁ (the thesis writes sums) beside quadrature.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import drawing
from benchmarks.harness.tables import Results
from benchmarks.studies.gaussian_mixture.report import Row
from benchmarks.studies.gaussian_mixture.settings import Settings
from jarzynski_jax.energies import mixture
from jarzynski_jax.types import Array

NUM_SAMPLES = (100, 1_000, 10_000)
LOG_ODDS = np.linspace(0, 10, 51)
_MODES = {"a": np.array([-5.0]), "b": np.array([5.0])}


def names(settings: Settings) -> list[str]:
    return ["divergences"]


def _logdensity(z: Array, x: Array) -> Array:
    """Normalised log-density of mass σ(z) at a = -5, of one x of shape (1,)."""
    params = {**jax.tree.map(jnp.asarray, _MODES), "z": z}
    return -mixture.energy(params, x) - mixture.log_partition_function(params)


def integrands(z: Array, x: Array) -> tuple[Array, Array]:
    """Return log ρ₁/ρ₂ and |∇log ρ₁ - ∇log ρ₂|² at samples of shape (n, 1)."""

    def of_one(x: Array) -> tuple[Array, Array]:
        ratio, slope = jax.value_and_grad(
            lambda x: _logdensity(jnp.zeros_like(z), x) - _logdensity(z, x)
        )(x)
        return ratio, jnp.sum(jnp.square(slope))

    return jax.vmap(of_one)(x)


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    """Estimates of shape ``(seeds, sizes, z)`` and exact values of shape ``(z,)``."""
    # The difference of two scores next to a mode is far below single precision.
    with jax.enable_x64(True):
        return _run(settings)


def _run(settings: Settings) -> dict[str, np.ndarray]:
    @jax.jit
    def over_samples(x: Array) -> tuple[Array, Array]:
        return jax.lax.map(
            lambda z: jax.tree.map(jnp.mean, integrands(z, x)), jnp.asarray(LOG_ODDS)
        )

    def estimate(seed: int, num_samples: int) -> np.ndarray:
        params = {**jax.tree.map(jnp.asarray, _MODES), "z": jnp.array(0.0)}
        x = mixture.sample(jax.random.key(seed), params, num_samples)
        return np.stack([np.asarray(values) for values in over_samples(x)])

    sampled = np.stack(
        [
            [estimate(seed, num_samples) for num_samples in NUM_SAMPLES]
            for seed in range(settings.num_seeds)
        ]
    )
    # Trapezoids: exact to rounding for densities that are smooth and gone at the ends.
    grid = jnp.linspace(-16, 16, 8001)[:, None]
    density = np.exp(np.asarray(jax.vmap(partial(_logdensity, jnp.array(0.0)))(grid)))
    on_grid = jax.jit(jax.vmap(lambda z: integrands(z, grid)))(jnp.asarray(LOG_ODDS))
    spacing = float(grid[1, 0] - grid[0, 0])
    exact = [spacing * np.asarray(values) @ density for values in on_grid]
    return {
        "kullback_leibler": sampled[:, :, 0],
        "fisher": sampled[:, :, 1],
        "exact_kullback_leibler": exact[0],
        "exact_fisher": exact[1],
    }


def draw(results: Results, folder: Path) -> None:
    found = results["divergences"]
    figure, axes = drawing.panels(2)
    for axis, name, label in zip(
        axes,
        ("kullback_leibler", "fisher"),
        ("KL divergence (nats)", "Fisher divergence (1/length²)"),
        strict=True,
    ):
        for index, num_samples in enumerate(NUM_SAMPLES):
            runs, style = found[name][:, index], drawing.STYLES[index + 1]
            drawing.plot_mean_and_range(axis, LOG_ODDS, runs, style, f"{num_samples} samples")
        axis.plot(LOG_ODDS, found[f"exact_{name}"], **drawing.STYLES[0], label="quadrature")
        axis.set(xlabel="z, log-odds of the modes of ρ₂", ylabel=label)
        axis.legend(fontsize=8)
    drawing.save(figure, folder, "figure_2_4_divergences")


def rows(results: Results) -> list[Row]:
    found = results["divergences"]
    at = int(np.argmin(np.abs(LOG_ODDS - 5)))
    rows = []
    for index, num_samples in enumerate(NUM_SAMPLES):
        row = partial(Row, f"2.4: z = 5, {num_samples} samples")
        exact = found["exact_kullback_leibler"][at], found["exact_fisher"][at]
        for name, label, value in zip(
            ("kullback_leibler", "fisher"), ("KL (nats)", "Fisher"), exact, strict=True
        ):
            rows.append(row(label, f"exactly {value:.3g}", found[name][:, index, at]))
    return rows
