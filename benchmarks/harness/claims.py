"""What a study claims, whether it holds, and how the study ends: claims.json, exit status 1.

``expected`` says in words what the value was held against, so that a reader of the file needs
no code: ``"1.25, within 3 errors"`` or ``"below 0.05"``.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Claim", "above", "below", "conclude", "is_true", "within"]


class Claim(NamedTuple):
    """A sentence, the value with its standard error, what was expected, whether it holds."""

    claim: str
    value: float
    error: float
    expected: str
    holds: bool


def within(
    claim: str, value: float, error: float, expected: float, num_errors: float = 3.0
) -> Claim:
    """The value is within so many of its errors of what is expected.

    It never is where one of the numbers is not finite.
    """
    value, error, expected = float(value), float(error), float(expected)
    text = f"{expected:.8g}, within {num_errors:g} errors"
    return Claim(claim, value, error, text, abs(value - expected) <= num_errors * error)


def below(claim: str, value: float, limit: float, error: float = 0.0) -> Claim:
    """The value, as it is, is below the limit; its error is told, and not subtracted."""
    return Claim(claim, float(value), float(error), f"below {limit:.8g}", bool(value < limit))


def above(claim: str, value: float, limit: float, error: float = 0.0) -> Claim:
    """The value, as it is, is above the limit; its error is told, and not added."""
    return Claim(claim, float(value), float(error), f"above {limit:.8g}", bool(value > limit))


def is_true(claim: str, holds: bool, expected: str) -> Claim:
    """What is no number: a doubt that was told, an input that was refused; 1 if it is so."""
    return Claim(claim, float(holds), 0.0, expected, bool(holds))


def conclude(claims: Sequence[Claim], folder: Path) -> None:
    """Write claims.json, print the claims, and exit with 1 if one does not hold."""
    if not claims:
        raise ValueError("a study must claim something; got no claims")
    rows = [_plain(claim) for claim in claims]
    (folder / "claims.json").write_text(json.dumps(rows, indent=1) + "\n")
    for claim in claims:
        value = f"{claim.value:.6g}" + (f" ± {claim.error:.2g}" if claim.error else "")
        verdict = "holds" if claim.holds else "FAILS"
        print(f"{verdict}  {claim.claim}: {value} ({claim.expected})")
    failed = [claim for claim in claims if not claim.holds]
    if failed:
        print(f"{len(failed)} of {len(claims)} claims do not hold", file=sys.stderr)
        sys.exit(1)


def _plain(claim: Claim) -> dict[str, object]:
    """JSON has no number that is not finite: such a one becomes a word."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in claim._asdict().items()
    }
