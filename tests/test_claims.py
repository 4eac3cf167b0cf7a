"""A study's claims: what holds, what is written, and how the study ends."""

import json
import math

import pytest

from benchmarks.harness import claims


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (claims.within("log Z", 1.2, 0.1, 1.0), True),
        (claims.within("log Z", 1.4, 0.1, 1.0), False),
        (claims.within("log Z", 1.2, 0.1, 1.0, num_errors=1.0), False),
        (claims.within("log Z", math.nan, 0.1, 1.0), False),
        (claims.within("log Z", 1.2, math.nan, 1.0), False),
        (claims.below("width", 0.04, 0.05), True),
        (claims.below("width", 0.05, 0.05), False),
        (claims.below("width", math.nan, 0.05), False),
        (claims.above("sample size", 0.9, 0.5), True),
        (claims.above("sample size", math.nan, 0.5), False),
        (claims.is_true("a doubt is told", False, "a doubt"), False),
    ],
)
def test_what_holds(claim, holds):
    assert claim.holds is holds


def test_claims_are_written_with_words_for_what_is_not_finite(tmp_path, capsys):
    claims.conclude([claims.below("width", 0.04, 0.05, 0.01)], tmp_path)
    assert json.loads((tmp_path / "claims.json").read_text()) == [
        {
            "claim": "width",
            "value": 0.04,
            "error": 0.01,
            "expected": "below 0.05",
            "holds": True,
        }
    ]
    assert "holds  width: 0.04 ± 0.01 (below 0.05)" in capsys.readouterr().out


def test_a_claim_that_fails_is_written_and_ends_the_study_with_1(tmp_path, capsys):
    found = [claims.below("width", 0.04, 0.05), claims.below("bias", math.nan, 0.05)]
    with pytest.raises(SystemExit) as ended:
        claims.conclude(found, tmp_path)
    assert ended.value.code == 1
    seen = json.loads((tmp_path / "claims.json").read_text())
    assert [row["holds"] for row in seen] == [True, False]
    assert seen[1]["value"] == "nan"
    assert "1 of 2 claims" in capsys.readouterr().err


def test_a_study_without_claims_is_no_study(tmp_path):
    with pytest.raises(ValueError, match="no claims"):
        claims.conclude([], tmp_path)
