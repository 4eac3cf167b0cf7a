"""Bosons in a trap: a learned wave, and diffusion Monte Carlo."""

from flax import nnx

from benchmarks.studies.quantum.gaussians import boson_energy
from benchmarks.studies.quantum.measuring import Found, learn, three_numbers
from benchmarks.studies.quantum.references import two_bosons
from benchmarks.studies.quantum.settings import Settings
from jarzynski_jax import quantum


def names(settings: Settings) -> list[str]:
    return [f"bosons_{n}_{g}" for n, g in settings.bosons]


def run(name: str, settings: Settings) -> Found:
    n, g = map(int, name.removeprefix("bosons_").split("_"))
    trap = quantum.bosons_in_trap(n, float(g))
    module = quantum.TrapWave(n, 2, rngs=nnx.Rngs(0))
    wave, metrics = learn(10 * n + g, trap, module, 0.05, settings.boson_updates)
    found = three_numbers(10 * n + g, trap, settings, (0.01, 0.02, 0.04), log_wave_fn=wave)
    return {**found, "learning": metrics.loss}


def expected(n: int, g: int) -> tuple[float, float]:
    """Free, by the radial equation, or in a basis of Gaussians; and how well it is known."""
    if g == 0:
        return float(n), 0.0
    return (two_bosons(float(g)), 1e-6) if n == 2 else boson_energy(n, float(g))
