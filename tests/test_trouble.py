"""Each sign of trouble is seen in metrics that show it, and in no others."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jarzynski_jax import training
from jarzynski_jax.training import Metrics, Watch
from jarzynski_jax.training.chunk_summary import ChunkSummary, mean_cross_entropy, summarize
from jarzynski_jax.training.trouble import diagnose
from jarzynski_jax.walkers import langevin

WATCH = Watch(num_features=64, entropy_floor=13.76)
HEALTHY = ChunkSummary(
    first_step=0,
    last_step=100,
    first_dead_step=None,
    num_dead=0,
    num_skipped=0,
    cross_entropy=35.0,
    energy_gap=-0.3,
    effective_sample_size=0.7,
    held_out_effective_sample_size=0.7,
)


def _signs(chunks, watch=WATCH, is_weighted=True):
    found = diagnose(chunks, watch, is_weighted)
    return {trouble.sign: trouble.is_fatal for trouble in found}


def test_a_healthy_run_has_no_trouble():
    assert _signs([HEALTHY] * 10) == {}


def test_the_noise_of_a_healthy_run_is_no_trouble():
    gaps = [HEALTHY._replace(energy_gap=gap) for gap in (0.1, -0.2, 0.4, -0.9)]
    assert _signs(gaps) == {}


@pytest.mark.parametrize(
    ("chunks", "sign", "is_fatal"),
    [
        ([HEALTHY._replace(first_dead_step=7)], "died", True),
        ([HEALTHY._replace(num_dead=3)], "some died", False),
        ([HEALTHY._replace(num_skipped=100)], "no gradient", True),
        ([HEALTHY._replace(cross_entropy=-3000.0)] * 2, "below floor", True),
        ([HEALTHY] * 2 + [HEALTHY._replace(cross_entropy=41.0)] * 3, "worse than best", False),
        ([HEALTHY._replace(energy_gap=gap) for gap in (1, 3, 9)], "runs away", False),
        ([HEALTHY._replace(energy_gap=gap) for gap in (-5, -20, -50)], "runs away", True),
        ([HEALTHY._replace(effective_sample_size=0.01)] * 3, "collapsed", True),
        (
            [HEALTHY._replace(held_out_effective_sample_size=0.01)] * 3,
            "held-out collapsed",
            False,
        ),
    ],
)
def test_each_sign_is_seen_and_needs_to_stay(chunks, sign, is_fatal):
    assert _signs([HEALTHY, *chunks]) == {sign: is_fatal}
    # One such chunk among healthy ones is enough for a death, and for nothing else.
    if len(chunks) > 1:
        assert _signs([HEALTHY, HEALTHY, chunks[-1], HEALTHY]) == {}


def test_without_weights_only_death_is_fatal():
    below = [HEALTHY._replace(cross_entropy=-3000.0)] * 2
    assert _signs(below, is_weighted=False) == {"below floor": False}
    died = [HEALTHY._replace(first_dead_step=7)]
    assert _signs(died, is_weighted=False) == {"died": True}


def test_without_a_watch_only_gradients_are_looked_at():
    failed = HEALTHY._replace(num_skipped=100)
    assert _signs([failed], None) == {"no gradient": True}
    assert _signs([HEALTHY._replace(first_dead_step=7, cross_entropy=-3000.0)] * 2, None) == {}


def test_nan_metrics_of_an_algorithm_without_them_are_no_trouble():
    unknown = HEALTHY._replace(
        cross_entropy=float("nan"), held_out_effective_sample_size=float("nan")
    )
    assert _signs([unknown] * 5) == {}


def test_a_short_last_chunk_with_a_skipped_update_is_no_trouble():
    assert _signs([HEALTHY._replace(first_step=99, num_skipped=1)]) == {}


def test_summary_finds_the_first_death():
    metrics = Metrics(*np.zeros((len(Metrics._fields), 10)))
    is_dead = np.zeros(10, bool)
    is_dead[4:] = True
    summary = summarize(metrics._replace(is_dead=is_dead), first_step=200)
    assert summary.first_dead_step == 204
    (trouble,) = diagnose([summary], WATCH._replace(entropy_floor=None, patience=9))
    assert trouble.step == 204
    assert "step size" in trouble.advice


def _with_cross_entropies(*values):
    return [HEALTHY._replace(cross_entropy=value) for value in values]


@pytest.mark.parametrize(
    "values",
    [
        (35, 35, 10, 35, 35, 35, 36, 35),  # one lucky chunk
        (35, 35, 36, 70, 35, 36, 35, 80),  # unlucky ones
        (34, 36, 35, 39, 38, 39),  # within 5 nats
        (-9, -8, -9, 35, 36, 35),  # the best was below the floor
        (35, 36, 41, 42, 41),  # fewer than three before
        (35, 35, 35, 90, np.nan, 90),
    ],
)
def test_a_curve_that_stays_near_its_best_is_no_trouble(values):
    chunks = _with_cross_entropies(*values)
    assert "worse than best" not in _signs(chunks, WATCH)


def test_a_collapsed_held_out_ensemble_has_no_best():
    collapsed = HEALTHY._replace(cross_entropy=20.0, held_out_effective_sample_size=0.01)
    assert _signs([collapsed] * 3 + [HEALTHY] * 3) == {}


def test_the_mean_of_chunks_goes_over_updates():
    long, short = _with_cross_entropies(30, 36)
    short = short._replace(first_step=100, last_step=150)
    assert mean_cross_entropy([long, short], WATCH) == pytest.approx(32)
    assert mean_cross_entropy([], WATCH) is None
    for not_believed in (-9.0, np.nan, np.inf):
        chunks = [long, long._replace(cross_entropy=not_believed)]
        assert mean_cross_entropy(chunks, WATCH) is None
    assert mean_cross_entropy(_with_cross_entropies(-9.0), None) == -9


@pytest.mark.parametrize(
    ("build", "is_fatal"), [(training.jarzynski, True), (training.unweighted, False)]
)
def test_a_watch_belongs_to_the_objective(build, is_fatal):
    def energy_fn(params, x):
        return jnp.sum((x - params) ** 2) / 2

    monitor = build(energy_fn, optax.sgd(0.1), langevin(0.1), WATCH).monitor
    below = _with_cross_entropies(-3000.0, -3000.0)
    (trouble,) = monitor.diagnose(below, True)
    assert (trouble.sign, trouble.is_fatal) == ("below floor", is_fatal)
    assert trouble.is_of_cross_entropy
    assert monitor.cross_entropy(below) is None
    # Of a chunk that was interrupted, only deaths are believed.
    assert monitor.diagnose(below, False) == []
    died = [*below, HEALTHY._replace(first_dead_step=7)]
    assert [trouble.sign for trouble in monitor.diagnose(died, False)] == ["died"]


def test_no_gradient_is_seen_in_chunks_however_short():
    short = [HEALTHY._replace(first_step=s, last_step=s + 7, num_skipped=7) for s in (0, 7, 14)]
    for watch in (None, WATCH):
        assert "no gradient" not in [of.sign for of in diagnose(short[:2], watch)]
        (found,) = [of for of in diagnose(short, watch) if of.sign == "no gradient"]
        assert found.is_fatal
        assert "21 updates" in found.cause
    one_was_made = [short[0], short[1]._replace(num_skipped=6), short[2]]
    assert diagnose(one_was_made, None) == []
