"""Weighted walkers in JAX: exact Jarzynski weights for sampling, free energies and training.

Walkers and their weights:

- ``weights``: log-mean-exp, effective sample size, perplexity, weighted means
- ``resampling``: schemes, and when to resample
- ``kernels``: how one walker moves, and by how much its log-weight changes
- ``walkers``: ensembles that start, move and resample
- ``dynamics``, ``blocks``: how an ensemble moves, and in how large blocks
- ``tuning``: step sizes for a wanted acceptance or effective sample size
- ``pilot``: a step size for data without a model yet

Log Z and free energies:

- ``paths``, ``schedules``: densities on the way to a target, and when to stop there
- ``annealing``: walkers along a path, log Z from both sides, work both ways
- ``free_energy``: differences from work, with errors and doubts
- ``evaluation``: brackets of log Z and of cross entropies, with doubts
- ``bounding``: log Z of a trained model bounded, in one call
- ``shares``: shares of classes among a model's samples
- ``targets``: densities with a known log Z

Models:

- ``energies``: networks, mixtures and Boltzmann machines, and the Gaussian under them
- ``training``: Jarzynski's weights, contrastive divergence, score matching, and ``fit``
- ``interpolants``: stochastic interpolants and score-based models
- ``data``: arrays and image data sets
- ``checkpoint``, ``plotting``: training states on disk, pictures (these need the extra ``cli``)
- ``sharding``: walkers and data over many devices

Beneath them:

- ``types``, ``checks``: what functions take, and what to write for what they do not take
- ``compiling``: a computation compiled once for many calls
- ``formatting``: numbers with their errors
- ``interruption``, ``progress``: Ctrl-C that loses nothing, and how far a computation has come

``from jarzynski_jax import blackjax as adapters`` has BlackJAX's samplers as kernels; it alone
imports BlackJAX. The command line is ``jarzynski-jax --help``.
"""

from jarzynski_jax import (
    annealing,
    baselines,
    blocks,
    bounding,
    checkpoint,
    checks,
    compiling,
    data,
    dynamics,
    energies,
    evaluation,
    formatting,
    free_energy,
    interpolants,
    interruption,
    kernels,
    paths,
    pilot,
    plotting,
    progress,
    resampling,
    schedules,
    sharding,
    shares,
    targets,
    training,
    tuning,
    types,
    walkers,
    weights,
)

__version__ = "0.1.0"

__all__ = [
    "annealing",
    "baselines",
    "blocks",
    "bounding",
    "checkpoint",
    "checks",
    "compiling",
    "data",
    "dynamics",
    "energies",
    "evaluation",
    "formatting",
    "free_energy",
    "interpolants",
    "interruption",
    "kernels",
    "paths",
    "pilot",
    "plotting",
    "progress",
    "resampling",
    "schedules",
    "sharding",
    "shares",
    "targets",
    "training",
    "tuning",
    "types",
    "walkers",
    "weights",
]
