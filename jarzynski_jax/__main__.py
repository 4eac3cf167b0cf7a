"""``python -m jarzynski_jax`` is ``jarzynski-jax``."""

import sys

from jarzynski_jax.cli import main

sys.exit(main())
