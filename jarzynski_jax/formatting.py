"""Numbers with their errors, for tables."""

import math

__all__ = ["disbelief", "format_with_error", "two_digits"]

# Beyond these, digits would be zeros for the most part.
_MOST_DECIMALS = 9
_LARGEST = 1e6


def format_with_error(value: float, error: float) -> str:
    """Write a value and its standard error, with two digits of the error and as many decimals.

    A value that is not finite stands alone, for it has no error. ``inf`` and ``nan``, errors
    that nobody knows, leave the value two decimals. Above a million in powers of ten, as is an
    error below 1e-8.

    Examples
    --------
    >>> format_with_error(34.0978, 0.1512), format_with_error(318.57249, 0.0609)
    ('34.10 ± 0.15', '318.572 ± 0.061')
    >>> format_with_error(1.23, 1.34), format_with_error(5678.9, 123.4)
    ('1.2 ± 1.3', '5680 ± 120')
    """
    if not math.isfinite(value):
        return f"{value}"
    if not 0 < error < math.inf:
        shown = _fixed(value, 2) if abs(value) < _LARGEST else f"{value:.6g}"
        return f"{shown} ± {error:g}"
    largest = max(abs(value), error)
    exponent = math.floor(math.log10(largest)) if largest >= _LARGEST else 0
    value, error = value / 10.0**exponent, error / 10.0**exponent
    decimals = _decimals(error)
    shown = _fixed(value, min(decimals, _MOST_DECIMALS))
    both = f"{shown} ± {two_digits(error)}"
    return f"({both})e+{exponent:02d}" if exponent else both


def two_digits(number: float) -> str:
    """Write a number with two digits; below 1e-8 and above a million in powers of ten.

    Examples
    --------
    >>> two_digits(0.2871), two_digits(0.0996), two_digits(123.4)
    ('0.29', '0.10', '120')
    """
    if number == 0 or not math.isfinite(number):
        return f"{number:g}"
    decimals = _decimals(abs(number))
    is_plain = decimals <= _MOST_DECIMALS and abs(number) < _LARGEST
    return _fixed(number, decimals) if is_plain else f"{number:.1e}"


def disbelief(doubt: str) -> str:
    """Say that a result is not to be believed, and why.

    Examples
    --------
    >>> disbelief("overlap 0.01")
    'not to be believed: overlap 0.01'
    """
    return f"not to be believed: {doubt}"


def _decimals(number: float) -> int:
    """Decimals that show two digits of a positive number: 0.0996 is 0.10."""
    return 1 - int(f"{number:.1e}".partition("e")[2])


def _fixed(number: float, decimals: int) -> str:
    # Adding 0 makes -0 of what rounds to it a 0.
    return f"{round(number, decimals) + 0.0:.{max(decimals, 0)}f}"
