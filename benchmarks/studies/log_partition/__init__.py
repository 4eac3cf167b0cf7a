"""Errors of log Z at equal numbers of gradients: our annealing and BlackJAX's tempered SMC."""
