"""Ground states: three energies of each system, beside exact and published ones."""
