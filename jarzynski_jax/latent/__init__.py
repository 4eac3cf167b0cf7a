"""Models with latent variables, brackets of their likelihood, and cycles that are driven."""

from jarzynski_jax.latent import (
    autoencoder,
    bernoulli_mixture,
    cycle_machine,
    cycle_report,
    latent_cycles,
    likelihood,
    networks,
    outputs,
    variational,
)
from jarzynski_jax.latent.autoencoder import (
    Autoencoder,
    as_latent_model,
    from_modules,
    from_prior,
    make_autoencoder,
)
from jarzynski_jax.latent.latent_model import (
    LatentModel,
    draw_log_weights,
    evidence_lower_bound,
    importance_weighted_bound,
)
from jarzynski_jax.latent.likelihood import likelihood_bounds, likelihood_bracket, simulate

__all__ = [
    "Autoencoder",
    "LatentModel",
    "as_latent_model",
    "autoencoder",
    "bernoulli_mixture",
    "cycle_machine",
    "cycle_report",
    "draw_log_weights",
    "evidence_lower_bound",
    "from_modules",
    "from_prior",
    "importance_weighted_bound",
    "latent_cycles",
    "likelihood",
    "likelihood_bounds",
    "likelihood_bracket",
    "make_autoencoder",
    "networks",
    "outputs",
    "simulate",
    "variational",
]
