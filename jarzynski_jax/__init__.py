"""Weighted walkers in JAX: exact Jarzynski weights for sampling, free energies and training.

In the order in which they build on each other:

- ``types``, ``checks``: what functions take, and what to write for what they do not take
- ``weights``: log-mean-exp, effective sample size, perplexity, weighted means
- ``density``: a log-density, its log Z and its samples, as far as they are known
- ``kernels``: how one walker moves, and by how much its log-weight changes
- ``resampling``: schemes, and when to resample
- ``walkers``: ensembles that start, move and resample, in blocks, on one device or many
- ``annealing``: paths, schedules, step sizes; walkers along a path, and their work both ways
- ``free_energy``: differences from work, brackets of log Z, with errors and doubts
- ``targets``: densities with a known log Z
- ``energies``: networks, mixtures and Boltzmann machines, and the Gaussian under them
- ``generators``: flows, continuous and stochastic ones, learned drifts, networks of spins
- ``interpolants``: stochastic interpolants and score-based models
- ``data``: arrays and image data sets
- ``training``: Jarzynski's weights, contrastive divergence, likelihood, both divergences and
  all their gradients, learned transport; ``fit``
- ``nonequilibrium``: entropy production, work and heat, time reversal in magnetic fields
- ``latent``: autoencoders, diffusions and latent cycles; their likelihood, compression by them
- ``quantum``: Hamiltonians, and their ground states learned and projected
- ``interop``: other libraries' samplers as kernels, models as densities; imported by itself
- ``app``: the command line, ``jarzynski-jax --help``; by itself, with the extra ``cli``

Beneath them ``compiling`` (a computation compiled once for many calls), ``compiler_faults``,
``formatting``, ``interruption``, ``modules`` (of Flax, as functions), ``progress``, ``sine``
(fast on a CPU) and ``uniform`` (numbers that are never 0).
"""

import os

from jaxlib.version import __version__ as _jaxlib_version

from jarzynski_jax.compiler_faults import avoid_compiler_faults

avoid_compiler_faults(os.environ, _jaxlib_version)  # before anything is computed

from jarzynski_jax import (  # noqa: E402
    annealing,
    checks,
    compiler_faults,
    compiling,
    data,
    density,
    energies,
    formatting,
    free_energy,
    generators,
    interpolants,
    interruption,
    kernels,
    latent,
    modules,
    nonequilibrium,
    progress,
    quantum,
    resampling,
    sine,
    targets,
    training,
    types,
    uniform,
    walkers,
    weights,
)

__version__ = "0.1.0"

__all__ = [
    "annealing",
    "checks",
    "compiler_faults",
    "compiling",
    "data",
    "density",
    "energies",
    "formatting",
    "free_energy",
    "generators",
    "interpolants",
    "interruption",
    "kernels",
    "latent",
    "modules",
    "nonequilibrium",
    "progress",
    "quantum",
    "resampling",
    "sine",
    "targets",
    "training",
    "types",
    "uniform",
    "walkers",
    "weights",
]
