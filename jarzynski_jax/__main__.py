"""``python -m jarzynski_jax`` is ``jarzynski-jax``."""

import sys

from jarzynski_jax.app.cli import main

sys.exit(main())
