"""Other libraries: a file for each, which alone imports it."""
