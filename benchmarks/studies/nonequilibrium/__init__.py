"""Entropy production of machines that learn, and time reversal in magnetic fields."""
