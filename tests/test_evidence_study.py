"""The study of evidences: what is known is known twice, rivals get the model, claims can fail.

One run of all methods but jaxns, at tiny sizes; the truth of ours is tested in test_estimate
and test_numpyro.
"""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from benchmarks.studies.evidence import comparison, report
from benchmarks.studies.evidence.cube import on_the_cube
from benchmarks.studies.evidence.methods import METHODS
from benchmarks.studies.evidence.models import LABELS, MODELS
from benchmarks.studies.evidence.runs import LeftOut, Result
from benchmarks.studies.evidence.settings import QUICK, STANDARD

# Exact values, by other ways than the study's.


def test_the_regression_by_bayes_rule():
    """Prior times likelihood over posterior, at slopes of 0."""
    for d in (5, 20, 50):
        model = MODELS[f"regression_{d}"]()
        design, outcome = model.args
        precision = design.T @ design / 0.25 + np.eye(d)
        mean = np.linalg.solve(precision, design.T @ outcome / 0.25)
        posterior = stats.multivariate_normal(mean, np.linalg.inv(precision))
        origin = np.zeros(d)
        exact = stats.norm.logpdf(outcome, 0, 0.5).sum() + stats.norm.logpdf(origin).sum()
        assert model.log_evidence.value == pytest.approx(exact - posterior.logpdf(origin))


def test_the_shells_in_polar_coordinates():
    """The lines are 1.5 and more from the edges and from each other: 15 widths."""

    def ring(radius):
        return 2 * np.pi * radius * stats.norm.pdf(radius, 2, 0.1)

    area = 2 * integrate.quad(ring, 1, 3, epsabs=1e-13)[0]
    known = MODELS["shells"]().log_evidence.value
    assert known == pytest.approx(np.log(area / 144), abs=1e-6)


def test_the_egg_box_by_gauss_and_legendre():
    """Half-periods of cos(x / 2), five in each direction; 235.856 by its authors."""
    x, w = np.polynomial.legendre.leggauss(100)
    angles = np.concatenate([(x + 1 + 2 * k) * np.pi / 2 for k in range(5)])
    logs = (2 + np.outer(np.cos(angles), np.cos(angles))) ** 5 - 243
    weights = np.tile(w, 5) / 10
    exact = 243 + np.log(weights @ np.exp(logs) @ weights)
    assert MODELS["egg_box"]().log_evidence.value == pytest.approx(exact, abs=1e-8)
    assert abs(exact - 235.856) < 1e-3


def test_the_eight_schools_by_midpoints_of_mean_and_spread():
    model = MODELS["schools_centred"]()
    effects, errors = model.args
    shares = (np.arange(400) + 0.5) / 400
    mean = stats.norm.ppf(shares, 0, 5)[:, None, None]
    spread = stats.halfcauchy.ppf(shares, 0, 5)[:, None]
    logs = stats.norm.logpdf(effects, mean, np.hypot(spread, errors)).sum(-1)
    exact = np.log(np.mean(np.exp(logs)))
    assert model.log_evidence.value == pytest.approx(exact, abs=2e-4)
    assert MODELS["schools"]().log_evidence == model.log_evidence


def test_canary_another_prior_of_the_spread_is_another_evidence():
    effects, errors = MODELS["schools"]().args
    shares = (np.arange(400) + 0.5) / 400
    mean = stats.norm.ppf(shares, 0, 5)[:, None, None]
    spread = stats.halfnorm.ppf(shares, 0, 5)[:, None]
    logs = stats.norm.logpdf(effects, mean, np.hypot(spread, errors)).sum(-1)
    known = MODELS["schools"]().log_evidence.value
    assert abs(np.log(np.mean(np.exp(logs))) - known) > 0.01


# What rivals are given.


def test_the_cube_is_the_prior_site_by_site(x64):
    """The centred form, whose effects depend on the sites before them, written out."""
    model = MODELS["schools_centred"]()
    effects, errors = model.args
    u = np.random.default_rng(0).uniform(size=10)
    mean, spread = 5 * stats.norm.ppf(u[0]), 5 * np.tan(np.pi * u[1] / 2)
    drawn = mean + spread * stats.norm.ppf(u[2:])
    exact = stats.norm.logpdf(effects, drawn, errors).sum()
    cube = on_the_cube(model)
    assert cube.dimension == 10
    assert float(cube.log_likelihood(jnp.asarray(u))) == pytest.approx(exact, rel=1e-9)
    for corner in (jnp.zeros(10), jnp.ones(10)):
        assert jnp.isfinite(cube.log_likelihood(corner))


TINY = QUICK._replace(num_gradients=60_000, num_seeds=2, num_live=60, seconds=0.1)


@pytest.fixture(scope="module")
def found(module_quick_to_compile):
    return {"schools": comparison.run("schools", TINY)}


def test_methods_are_compared_on_a_model(found, tmp_path):
    """Within 5 of the errors that each states, and of 0.1; the first run compiles."""
    arrays = found["schools"]
    left_out = {method for method in TINY.methods if f"{method}_left_out" in arrays}
    assert left_out == (set() if find_spec("dynesty") else {"dynesty"})
    for method in set(TINY.methods) - left_out:
        error = np.abs(arrays[f"{method}_log_evidence"] - arrays["log_evidence"])
        assert len(error) == 2
        assert np.all(error < 5 * np.hypot(arrays[f"{method}_error"], 0.1)), method
        assert np.all(arrays[f"{method}_num_calls"] > 1000)
        of_method = report.summary(arrays, method)
        assert of_method.cpu_seconds == arrays[f"{method}_cpu_seconds"][1]
        bounds = arrays[f"{method}_lower"], arrays[f"{method}_upper"]
        assert np.all(np.isfinite(bounds) == (method == "ours_with_nuts"))
    report.draw(found, TINY, tmp_path)
    report.write_table(found, TINY, tmp_path)
    assert (tmp_path / "evidence.png").stat().st_size > 10_000
    assert LABELS["schools"] in (tmp_path / "table.md").read_text()


def test_what_jaxns_changes_for_all_is_changed_back():
    pytest.importorskip("jaxns")
    METHODS["jaxns"].make(MODELS["schools"](), STANDARD)
    assert jnp.zeros(()).dtype == jnp.float32
    assert not jax.config.read("jax_enable_x64")


def test_a_method_that_cannot_run_is_left_out_and_said(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.studies.evidence.rivals.version", lambda name: "2.1.5")
    with pytest.raises(LeftOut, match=r"dynesty 3\.1 is wanted; 2\.1\.5 is installed"):
        METHODS["dynesty"].make(MODELS["schools"](), STANDARD)
    settings = TINY._replace(methods=("dynesty",))
    arrays = comparison.run("schools", settings)
    assert "is wanted" in str(arrays["dynesty_left_out"])
    report.write_table({"schools": arrays}, settings, tmp_path)
    assert "is wanted" in (tmp_path / "table.md").read_text()


def test_a_method_gets_no_further_seed_when_its_time_is_up(monkeypatch):
    def make(model, settings):
        result = Result(0.0, 1.0, 0.0, 0.0, "", 1)
        return lambda seed: lambda: result

    method = METHODS["ours"]._replace(make=make)
    monkeypatch.setitem(comparison.METHODS, "ours", method)
    settings = TINY._replace(methods=("ours",), num_seeds=5)
    assert len(comparison.run("schools", settings)["ours_error"]) == 5
    settings = settings._replace(seconds=1e-12)
    assert len(comparison.run("schools", settings)["ours_error"]) == 2


# Claims.


def _made_up(error, seconds, doubts=""):
    """Of ours and of BlackJAX, which has an error of 0.2 in 10 s; four runs each."""
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    arrays = {"log_evidence": np.array(-3.0), "log_evidence_error": np.array(0.0)}
    for method, size, time in (("ours", error, seconds), ("blackjax", 0.2, 10.0)):
        arrays |= {
            f"{method}_log_evidence": -3.0 + size * signs,
            f"{method}_error": np.full(4, size),
            f"{method}_doubts": np.array([doubts] * 4),
            f"{method}_cpu_seconds": np.full(4, time),
            f"{method}_seconds": np.full(4, time),
            f"{method}_num_calls": np.full(4, 10),
        }
    return arrays


def _claims(model, arrays):
    settings = STANDARD._replace(models=(model,), methods=("ours", "blackjax"))
    return report.claims_of({model: arrays}, settings)


def test_claims_hold_or_fail():
    truth, time = _claims("schools", _made_up(0.1, 1.0))
    assert truth.holds
    assert time.holds
    assert time.value == pytest.approx(0.1 / 4)
    assert not _claims("schools", _made_up(0.2, 6.0))[1].holds
    wrong = _made_up(0.1, 1.0)
    wrong["ours_log_evidence"] += 0.5
    assert not _claims("schools", wrong)[0].holds
    wrong["ours_doubts"] = np.array(["the bounds are apart"] * 4)
    assert _claims("schools", wrong)[0].holds


def test_below_ten_dimensions_and_of_the_spike_no_time_is_claimed():
    assert len(_claims("shells", _made_up(0.1, 1.0))) == 1
    assert _claims("spike", _made_up(0.1, 1.0)) == []
