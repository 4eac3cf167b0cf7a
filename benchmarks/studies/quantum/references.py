"""What the study is held against: quadrature, exact diagonalisation, published energies."""

import numpy as np

# Nonrelativistic, with nuclei of infinite mass, in hartree. Helium: Pekeris, Phys. Rev. 115
# (1959) 1216; Nakashima and Nakatsuji, J. Chem. Phys. 127 (2007) 224104. H2 at R = 1.401: Sims
# and Hagstrom, J. Chem. Phys. 124 (2006) 094101.
HELIUM = -2.903724377
HYDROGEN_MOLECULE = -1.174475931
# Exact diagonalisation of bosons in a trap by N and g, Mujal, Sarle, Polls and Julia-Diaz,
# Phys. Rev. A 96 (2017) 043614, whose g is half of this: an upper bound, too high by 3e-4 for
# two bosons, by up to 5e-3 for three and 0.026 for four (`gaussians.py`).
DIAGONALISED = {
    (2, 3): 2.31223,
    (2, 6): 2.48425,
    (3, 3): 3.88644,
    (3, 6): 4.34759,
    (3, 12): 4.81289,
    (4, 3): 5.69460,
    (4, 6): 6.54815,
}
# Learned drifts of Barr, Gispen and Lamacraft, MSML 2020.
PUBLISHED_COST = {"hydrogen": -0.497, "helium": -2.898, "h2": -1.169}


def helium_energy(exponent: float, correlation: float, num_points: int = 12) -> float:
    """Variational energy of exp(-a (r1 + r2) + b r12), b < a, in closed form.

    In perimetric coordinates x = r1 + r12 - r2, y = r2 + r12 - r1, z = r1 + r2 - r12 both
    integrals are of polynomials with exponentials: Gauss and Laguerre's quadrature is exact.
    """
    a, b = exponent, correlation
    nodes, weights = np.polynomial.laguerre.laggauss(num_points)
    x, y, z = np.meshgrid(nodes / (a - b), nodes / (a - b), nodes / (2 * a), indexing="ij")
    measure = weights[:, None, None] * weights[:, None] * weights
    r1, r2, r12 = (x + z) / 2, (y + z) / 2, (x + y) / 2
    cosines = (r1**2 + r12**2 - r2**2) / (2 * r1 * r12)
    cosines = cosines + (r2**2 + r12**2 - r1**2) / (2 * r2 * r12)
    energy = (a - 2) * (1 / r1 + 1 / r2) + (1 - 2 * b) / r12 - a**2 - b**2 + a * b * cosines
    density = measure * r1 * r2 * r12
    return float(np.sum(density * energy) / np.sum(density))


def two_bosons(repulsion: float, width: float = 0.5, num_points: int = 2000) -> float:
    """Energy of two bosons in a trap in two dimensions, by the radial equation.

    The centre of mass has the energy 1; with u = sqrt(r) psi the relative motion is
    -u'' + (r²/4 - 1/(4 r²) + U) u. It is solved for f = psi by finite volumes on a grid of the
    distance, second order in its spacing, and extrapolated from two spacings.
    """

    def on_grid(n: int) -> float:
        length = 10.0
        spacing = length / n
        r = (np.arange(n) + 0.5) * spacing
        edges = np.arange(1, n) * spacing
        strength = repulsion / (np.pi * width**2)
        potential = r**2 / 4 + strength * np.exp(-(r**2) / width**2)
        # -(1/r) d/dr (r df/dr), symmetric in g = sqrt(r) f.
        diagonal = potential.copy()
        diagonal[:-1] += edges / (r[:-1] * spacing**2)
        diagonal[1:] += edges / (r[1:] * spacing**2)
        off = -edges / (np.sqrt(r[:-1] * r[1:]) * spacing**2)
        return float(_lowest_of_tridiagonal(diagonal, off))

    coarse, fine = on_grid(num_points // 2), on_grid(num_points)
    return 1 + fine + (fine - coarse) / 3


def _lowest_of_tridiagonal(diagonal: np.ndarray, off: np.ndarray) -> float:
    from scipy.linalg import eigh_tridiagonal

    return eigh_tridiagonal(diagonal, off, select="i", select_range=(0, 0))[0][0]


def hydrogen_molecule_curve(
    distances: tuple[float, ...], bases: tuple[str, str] = ("cc-pvtz", "cc-pvqz")
) -> dict[str, np.ndarray]:
    """Full configuration interaction by PySCF in two bases, and Hartree-Fock; in bohr.

    An energy is kept only where it lies between the exact minimum and Hartree-Fock's.
    """
    from pyscf import fci, gto, scf

    found: dict[str, list[float]] = {"hartree_fock": [], "smaller": [], "larger": []}
    for distance in distances:
        for name, basis in zip(("smaller", "larger"), bases, strict=True):
            molecule = gto.M(
                atom=f"H 0 0 {-distance / 2}; H 0 0 {distance / 2}",
                basis=basis,
                unit="Bohr",
                verbose=0,
            )
            field = scf.RHF(molecule).run()
            energy = fci.FCI(field).kernel()[0]
            is_sound = HYDROGEN_MOLECULE <= energy <= field.e_tot
            found[name].append(energy if is_sound else np.nan)
        found["hartree_fock"].append(field.e_tot)
    return {name: np.array(values) for name, values in found.items()}
