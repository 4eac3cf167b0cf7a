"""deepqmc's sampler and local energy of helium beside our Feynman-Kac step, of one wave.

Its Langevin step is accepted or rejected, and evaluates the wave with its gradient; the local
energy, which its users take after every tenth step, evaluates both again. By its default
Laplacian, coordinate by coordinate, and by that of its configuration
``qc_forward_laplacian``. Ours needs the local energy at every step: it is the weight.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from deepqmc.hamil import MolecularHamiltonian
from deepqmc.molecule import Molecule
from deepqmc.sampling import LangevinSampler
from deepqmc.types import PhysicalConfiguration, Psi
from folx import ForwardLaplacianOperator

from benchmarks.speed import imaginary_time
from benchmarks.speed.rivals import one_process
from benchmarks.speed.timing import Case
from jarzynski_jax.types import Array, PRNGKey


def step_cases(num_walkers: int, num_steps: int) -> dict[str, Case]:
    """Helium; RuntimeError if deepqmc's local energies are not ours."""
    cases = imaginary_time.step_cases(num_walkers, num_steps)
    molecule = Molecule(coords=[[0.0, 0.0, 0.0]], charges=[2], charge=0, spin=0)
    plain = MolecularHamiltonian(mol=molecule)
    forward = MolecularHamiltonian(mol=molecule, laplacian_factory=ForwardLaplacianOperator(0))
    _check_energies(plain, cases)
    _check_energies(forward, cases)
    return {
        **cases,
        "deepqmc, step alone": _walk(plain, num_walkers, num_steps, with_energy=False),
        "deepqmc, with energy": _walk(plain, num_walkers, num_steps),
        "deepqmc, forward Laplacian": _walk(forward, num_walkers, num_steps),
    }


def _wave(params: Any, at: PhysicalConfiguration) -> Psi:
    del params
    return Psi(jnp.ones(()), imaginary_time.helium()[1](at.r))


def _energies(hamiltonian: MolecularHamiltonian, at: PhysicalConfiguration) -> Array:
    return jax.vmap(lambda one: hamiltonian.local_energy(_wave)(None, {}, one)[0])(at)


def _walk(
    hamiltonian: MolecularHamiltonian,
    num_walkers: int,
    num_steps: int,
    with_energy: bool = True,
) -> Case:
    sampler, nuclei = LangevinSampler(hamiltonian, _wave), hamiltonian.mol.coords

    def step(state: Any, key: PRNGKey) -> tuple[Any, Array]:
        state, at, _ = sampler.sample(key, state, {}, nuclei)
        return state, jnp.mean(_energies(hamiltonian, at)) if with_energy else jnp.zeros(())

    def walk(state: Any, rng_key: PRNGKey) -> tuple[Any, Array]:
        return jax.lax.scan(step, state, jax.random.split(rng_key, num_steps))

    state = sampler.init(jax.random.key(0), {}, num_walkers, nuclei)
    return Case(walk, (state, jax.random.key(1)), num_steps)


def _check_energies(hamiltonian: MolecularHamiltonian, cases: dict[str, Case]) -> None:
    """Compare the local energies of our walkers where they start."""
    (ensemble,) = cases["weighted"].args
    r = ensemble.position
    nuclei = jnp.broadcast_to(hamiltonian.mol.coords, (len(r), 1, 3))
    at = PhysicalConfiguration(nuclei, r, jnp.zeros(len(r), jnp.int32))
    theirs = np.asarray(jax.jit(lambda at: _energies(hamiltonian, at))(at))
    missed = np.abs(theirs - ensemble.state.energy) / (1 + np.abs(theirs))
    # They soften distances of electrons by a rounding error.
    if not np.quantile(missed, 0.99) < 1e-2:
        raise RuntimeError(f"deepqmc's local energies miss ours by {np.median(missed):.2g}")


if __name__ == "__main__":
    one_process.start(step_cases, ("deepqmc", "folx"))
