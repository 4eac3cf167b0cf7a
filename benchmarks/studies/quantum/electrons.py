"""Helium and the hydrogen molecule, with fixed and learned waves."""

from flax import nnx

from benchmarks.studies.quantum.measuring import (
    Found,
    density_samples,
    learn,
    three_numbers,
)
from benchmarks.studies.quantum.references import hydrogen_molecule_curve
from benchmarks.studies.quantum.settings import Settings
from jarzynski_jax import quantum

WIDTH = 32


def names(settings: Settings) -> list[str]:
    learned = ["helium_learned", *map(_name_of, settings.distances)]
    return ["helium", *(learned if settings.updates else [])]


def _name_of(distance: float) -> str:
    return f"h2_at_{distance:g}"


def run(name: str, settings: Settings) -> Found:
    """Also ``curve``, of PySCF."""
    if name == "helium":
        nuclei = quantum.nuclei_of([[0, 0, 0]], [2])
        wave = quantum.exponential_wave(nuclei, 2.0, 0.5)
        helium = quantum.molecule(nuclei, 2)
        return three_numbers(2, helium, settings, settings.step_sizes, log_wave_fn=wave)
    if name == "helium_learned":
        return _learned(2.0, None, settings)
    return _learned(1.0, float(name.removeprefix("h2_at_")), settings)


def _learned(charge: float, distance: float | None, settings: Settings) -> Found:
    if distance is None:
        nuclei, scale, seed = quantum.nuclei_of([[0, 0, 0]], [charge]), 1.0, 4
        hamiltonian = quantum.molecule(nuclei, 2)
    else:
        hamiltonian, nuclei = quantum.hydrogen_molecule(distance)
        scale, seed = 2.0, 5  # half the charge: longer steps
    module = quantum.CuspedWave(nuclei, 2, WIDTH, rngs=nnx.Rngs(0))
    wave, metrics = learn(seed, hamiltonian, module, 0.02 * scale, settings.updates)
    steps = tuple(scale * step for step in settings.step_sizes)
    found = three_numbers(seed, hamiltonian, settings, steps, log_wave_fn=wave)
    return {
        **found,
        "learning": metrics.loss,
        "learning_deviation": metrics.loss_deviation,
        "samples": density_samples(seed, hamiltonian, wave, 0.02 * scale),
    }


def curve(settings: Settings) -> Found:
    return hydrogen_molecule_curve(settings.distances)
