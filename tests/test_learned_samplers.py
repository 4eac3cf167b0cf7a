"""The comparison of learned samplers with annealing: its bookkeeping, and a run of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.studies.flows import budget, comparison
from benchmarks.studies.flows.samplers import SAMPLERS
from benchmarks.studies.flows.settings import QUICK
from benchmarks.studies.flows.tasks import TASKS
from jarzynski_jax.density import check_exact

TINY = budget.QUICK._replace(
    methods=tuple(comparison.LABELS),
    num_training=6000,
    num_sampling=2000,
    num_repeats=2,
    num_layers=2,
    num_steps=4,
)
SETTINGS = QUICK._replace(comparison=TINY)


def made_up(seed, scale):
    noise = np.random.default_rng(seed).normal(size=16)
    return {
        "log_z_errors": scale * noise,
        "shares": 0.5 + scale * noise[:, None] * np.ones(3),
        "exact_shares": np.full(3, 0.5),
        "num_walkers": np.array(100),
        "num_training": np.array(5000),
        "num_sampling": np.array(1000),
        "losses": np.linspace(10, 1, 200),
    }


RESULTS = {
    name: made_up(number, 0.005 if "fab" in name else 0.01 if "annealing" in name else 0.3)
    for number, name in enumerate(comparison.names(SETTINGS))
}


def test_rows_are_of_all_seeds_and_repeats():
    found = comparison.row(RESULTS, "forty_modes", "nets")
    one = RESULTS["forty_modes-nets-0"]["log_z_errors"]
    assert found.log_z == pytest.approx(np.sqrt(np.mean(one**2)))
    assert found.shares == pytest.approx(found.log_z)
    weights = np.exp(one)
    relative = np.var(weights, ddof=1) / np.mean(weights) ** 2
    assert found.ess == pytest.approx(1 / (1 + 100 * relative))


def test_claims_and_pictures_leave_other_parts_alone(tmp_path):
    others = {"lattice-8": {"something": np.zeros(3)}, **RESULTS}
    made = comparison.claims(others, SETTINGS)
    assert all(claim.holds for claim in made)
    assert len(made) == 4
    biased, noisy = made_up(1, 0.01), made_up(1, 2.0)
    biased["log_z_errors"] += 0.1
    for method, found in (("annealing_all", biased), ("fab", noisy)):
        of_it = {**others, f"forty_modes-{method}-0": found}
        assert [claim.holds for claim in comparison.claims(of_it, SETTINGS)].count(False) == 1
    comparison.draw(others, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.png", "comparison.md"}
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert len(lines) == 2 + len(comparison.LABELS)


@pytest.mark.parametrize("name", TASKS)
def test_exact_samples_have_the_shares_that_are_known(name):
    task = TASKS[name]
    sample, _ = check_exact(task.problem.target)
    shares = jax.vmap(task.regions)(sample(jax.random.key(0), 4000)).mean(axis=0)
    expected = {"forty_modes": 1 / 40, "funnel": 0.5, "two_modes": 0.75}
    if name == "many_well":  # by its closed form
        grid = np.linspace(-4, 4, 8001)
        density = np.exp(-(grid**4) + 6 * grid**2 + grid / 2)
        expected[name] = density[grid > 0].sum() / density.sum()
    error = np.sqrt(expected[name] * (1 - expected[name]) / 4000)
    # Of forty modes those that overlap share a little.
    assert np.mean(np.abs(shares - expected[name])) < 3 * error
    assert jnp.all(shares > 0)


@pytest.mark.parametrize("method", SAMPLERS)
def test_each_is_trained_and_spends_what_it_has(method):
    found = comparison.run(f"forty_modes-{method}-0", SETTINGS)
    assert np.all(np.isfinite(found["log_z_errors"]))
    assert found["shares"].shape == (2, 40)
    np.testing.assert_allclose(found["shares"].sum(axis=1), 1, rtol=1e-4)
    assert 0.5 * TINY.num_training < found["num_training"] <= TINY.num_training
    assert 0.9 * TINY.num_sampling < found["num_sampling"] <= TINY.num_sampling
