"""What independent values tell of their mean."""

import math

import numpy as np

__all__ = ["mean_and_error"]


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of independent values, shape ``(n,)``, n ≥ 2, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
