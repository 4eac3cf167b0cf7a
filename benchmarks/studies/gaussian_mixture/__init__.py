"""The Gaussian-mixture study of the thesis (§2, §4.2, §4.3.1), with exact weights."""
