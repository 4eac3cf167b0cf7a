"""How fast: ratios within one process, against simpler variants, rivals and random numbers."""
