"""Evidences of Bayesian models: models whose log evidence is known, and such as are used."""
