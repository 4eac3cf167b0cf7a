"""How errors are shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jarzynski_jax.formatting import format_with_error, two_digits


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (34.0978, 0.1512, "34.10 ± 0.15"),
        (318.57249, 0.0609, "318.572 ± 0.061"),
        (1.23, 1.34, "1.2 ± 1.3"),
        (-61.2871, 3.0312, "-61.3 ± 3.0"),
        (2.0, 0.0996, "2.00 ± 0.10"),
        (2.0, 9.96, "2 ± 10"),
        (5678.9, 123.4, "5680 ± 120"),
        (0.00123, 0.00456, "0.0012 ± 0.0046"),
        (-0.01, 1.0, "0.0 ± 1.0"),
        (-1.2345e20, 2.1e17, "(-1.2345 ± 0.0021)e+20"),
        (34.1, 0.0, "34.10 ± 0"),
        (-1e-9, 0.0, "0.00 ± 0"),
        (34.1, 1.234e-16, "34.100000000 ± 1.2e-16"),
        (34.1, 2.3e-8, "34.100000000 ± 0.000000023"),
        (1e-250, 2e-252, "0.000000000 ± 2.0e-252"),
        (34.1, np.inf, "34.10 ± inf"),
        (34.1, np.nan, "34.10 ± nan"),
        (-np.inf, np.nan, "-inf"),
        (np.nan, 1.0, "nan"),
        (np.inf, 0.3, "inf"),
    ],
)
def test_errors_have_two_digits(value, error, text):
    assert format_with_error(value, error) == text
    if 0 < error < np.inf and "e+" not in text and np.isfinite(value):
        assert text.endswith(f" ± {two_digits(error)}")


@given(
    st.floats(-1e5, 1e5),
    st.floats(1e-6, 1e5),
)
def test_a_value_has_the_decimals_of_its_error(value, error):
    shown_value, shown_error = format_with_error(value, error).split(" ± ")
    assert float(shown_error) == pytest.approx(error, rel=0.051)
    assert abs(float(shown_value) - value) <= 0.0501 * error + 1e-12 * abs(value)
    assert len(shown_value.partition(".")[2]) == len(shown_error.partition(".")[2])
    assert len(shown_error.replace(".", "").strip("0")) <= 2


@given(st.floats(), st.floats(0) | st.just(np.nan))
def test_any_two_numbers_can_be_shown(value, error):
    text = format_with_error(value, error)
    assert len(text) < 40
    assert not text.startswith("-0 ")
    shown = text.replace("(", "").partition(" ±")[0]
    assert np.isfinite(float(shown)) == np.isfinite(value)
    assert len(two_digits(error)) < 12
