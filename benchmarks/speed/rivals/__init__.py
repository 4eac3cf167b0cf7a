"""Rivals that are no dependency of ours: torchebm and particles, in their own environment."""
