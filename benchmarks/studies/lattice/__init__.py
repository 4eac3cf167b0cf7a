"""Lattice systems: free energies and observables, by walkers, networks and chains."""
