"""The command line and what stands behind it; needs the extra ``cli``."""
