"""Models with latents: closed forms, likelihoods in brackets, compression, one table."""
