"""Models with latent variables."""

from jarzynski_jax.latent import bernoulli_mixture, cycle_machine, cycle_report, latent_cycles

__all__ = ["bernoulli_mixture", "cycle_machine", "cycle_report", "latent_cycles"]
