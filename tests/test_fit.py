"""The training loop: the same numbers in one go and in parts, records, trouble, Ctrl-C."""

import importlib
import os
import pickle
import re
import signal
import threading
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jarzynski_jax import training
from jarzynski_jax.training import TrainingDiverged, Watch, checkpoint, fit
from jarzynski_jax.training.gradient_descent import descend, start
from jarzynski_jax.walkers import langevin

KEY = jax.random.key(5)
DATA = jax.random.normal(jax.random.key(0), (300, 2)) + 1
LOG_Z = jnp.log(2 * jnp.pi)


def _energy(params, x):
    return jnp.sum((x - params["mean"]) ** 2) / 2


def _problem(energy_fn=_energy, learning_rate=0.05, step_size=0.1, num_walkers=200, watch=None):
    optimizer = optax.adam(learning_rate)
    objective = training.jarzynski(energy_fn, optimizer, langevin(step_size), watch)
    positions = jax.random.normal(jax.random.key(1), (num_walkers, 2))
    held_out = jax.random.normal(jax.random.key(2), (num_walkers, 2))
    params = {"mean": jnp.zeros(2)}
    state = objective.init(KEY, params, positions, DATA, LOG_Z, held_out)
    return objective, state


def _fit(objective, state, num_steps, **options):
    options = {"batch_size": 64, "chunk_size": 20, "noise_scale": 0.1, **options}
    return fit(KEY, objective, state, DATA, num_steps=num_steps, **options)


def test_it_learns_and_says_how_it_went():
    objective, state = _problem()
    result = _fit(objective, state, 200)
    assert not result.is_interrupted
    assert int(result.state.step) == 200
    # The standard error of the data's mean is 0.06 a coordinate.
    mean = jnp.mean(DATA, axis=0)
    np.testing.assert_allclose(result.state.params["mean"], mean, atol=0.25)
    assert all(value.shape == (200,) for value in result.metrics)
    # One nat is far outside the noise: a unit Gaussian has d/2 log 2πe = 2.84.
    assert np.mean(result.metrics.cross_entropy[-50:]) == pytest.approx(2.84, abs=0.3)


def test_parts_and_chunks_make_no_difference(tmp_path):
    objective, state = _problem()
    whole = _fit(objective, state, 90)
    first = _fit(objective, state, 50, chunk_size=7, folder=tmp_path)
    restored = checkpoint.restore(tmp_path / "checkpoints", state, {})
    chex.assert_trees_all_equal(restored, first.state)
    second = _fit(objective, restored, 90, chunk_size=33, folder=tmp_path)
    chex.assert_trees_all_equal(whole.state, second.state)
    table = training.read_metrics(tmp_path / "metrics.csv")
    np.testing.assert_array_equal(table["step"], np.arange(90))
    np.testing.assert_allclose(table["cross_entropy"], whole.metrics.cross_entropy, rtol=1e-6)


def test_pieces_make_no_difference(monkeypatch):
    objective, state = _problem()
    whole = _fit(objective, state, 50)
    # As where one update takes long.
    module = importlib.import_module("jarzynski_jax.training.pieces")
    monkeypatch.setattr(module, "_PIECE_SECONDS", 0.0)
    pieces = _fit(objective, state, 50)
    chex.assert_trees_all_equal((pieces.state, pieces.metrics), (whole.state, whole.metrics))


def test_progress_tells_the_effective_sample_size_of_the_weights(capsys):
    objective, state = _problem(num_walkers=50)
    metrics = _fit(objective, state, 20, progress=True).metrics
    shown = re.findall(r"20/20 updates, .* ESS ([\d.]+)", capsys.readouterr().out)
    assert shown == [f"{np.median(metrics.effective_sample_size):.2f}"]
    shadow = np.median(metrics.shadow_effective_sample_size)
    assert shown != [f"{shadow:.2f}"]


def test_the_state_given_stays_valid():
    objective, state = _problem()
    _fit(objective, state, 20)
    assert float(state.walkers.log_weights.sum()) == 0


def test_chunks_of_all_lengths_are_compiled_once():
    traces = []

    def energy_fn(params, x):
        traces.append(1)
        return _energy(params, x)

    objective, state = _problem(energy_fn)
    _fit(objective, state, 20)
    num_once = len(traces)
    traces.clear()
    _fit(objective, state, 213)
    assert len(traces) <= num_once


def test_metrics_beyond_the_checkpoint_are_dropped(tmp_path):
    objective, state = _problem()
    _fit(objective, state, 40, folder=tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / "metrics.csv"
    # As a kill leaves it: rows that no checkpoint covers, the last one cut short.
    path.write_text(path.read_text() + "40,1,2,3\n41,1.0")
    restored = checkpoint.restore(path.parent / "checkpoints", state, {})
    _fit(objective, restored, 60, folder=path.parent)
    np.testing.assert_array_equal(training.read_metrics(path)["step"], np.arange(60))


def test_lost_metrics_are_an_error(tmp_path):
    objective, state = _problem()
    result = _fit(objective, state, 40, folder=tmp_path)
    (tmp_path / "metrics.csv").unlink()
    with pytest.raises(ValueError, match="lacks the metrics of 40 updates"):
        _fit(objective, result.state, 60, folder=tmp_path)


def test_a_folder_that_holds_another_run_is_refused(tmp_path):
    objective, state = _problem()
    _fit(objective, state, 40, folder=tmp_path)
    before = (tmp_path / "metrics.csv").read_text()
    with pytest.raises(ValueError, match="a run at update 40, and the state is at update 0"):
        _fit(objective, state, 60, folder=tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == before


def test_checkpoint_of_another_configuration_is_refused(tmp_path):
    objective, state = _problem()
    _fit(objective, state, 20, folder=tmp_path, config={"seed": 1, "hidden": (3, 4)})
    checkpoint.restore(tmp_path / "checkpoints", state, {"seed": 1, "hidden": (3, 4)})
    with pytest.raises(ValueError, match="seed was 1 and is 2"):
        checkpoint.restore(tmp_path / "checkpoints", state, {"seed": 2, "hidden": (3, 4)})


def test_no_checkpoint_is_an_error(tmp_path):
    _, state = _problem()
    with pytest.raises(ValueError, match="there is no checkpoint"):
        checkpoint.restore(tmp_path, state, {})


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path):
    objective, state = _problem()
    result = _fit(objective, state, 40, folder=tmp_path)
    folder = tmp_path / "checkpoints"
    # What Orbax leaves when it is killed while it writes.
    (folder / "60.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.latest_step(folder) == 40
    chex.assert_trees_all_equal(checkpoint.restore(folder, state, {}), result.state)


def _states(*cross_entropies):
    """Checkpoints of these values at updates 10, 20, ...; None for one that is not known."""
    _, state = _problem()
    for number, value in enumerate(cross_entropies, start=1):
        yield state._replace(step=jnp.array(10 * number, jnp.int32)), value


@pytest.mark.parametrize(
    ("values", "kept", "best"),
    [
        ((5.0, 3.0, 4.0, 6.0, 7.0, 8.0), [20, 40, 50, 60], 20),
        ((5.0, 4.0, 3.0, 2.0, 1.0), [30, 40, 50], 50),
        ((None, None, None, None, None), [30, 40, 50], None),
        ((None, -2.0, None, None, None), [20, 30, 40, 50], 20),
    ],
)
def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path, values, kept, best):
    for state, value in _states(*values):
        checkpoint.save(tmp_path, state, {}, value)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == kept
    assert checkpoint.best_step(tmp_path) == best
    assert checkpoint.latest_step(tmp_path) == 50 + 10 * (len(values) == 6)
    restored = checkpoint.restore(tmp_path, state, {}, step=kept[0])
    assert int(restored.step) == kept[0]
    with pytest.raises(ValueError, match="no checkpoint of update 7 is kept") as caught:
        checkpoint.restore(tmp_path, state, {}, step=7)
    mark = " (lowest held-out cross entropy)"
    shown = ", ".join(f"{step}{mark if step == best else ''}" for step in kept)
    assert str(caught.value).endswith(f"those that are: {shown}")


def test_training_keeps_the_checkpoint_of_the_lowest_curve(tmp_path):
    objective, state = _problem()
    options = {"folder": tmp_path, "chunk_size": 10, "checkpoint_every": 40}
    _fit(objective, state, 200, **options)
    curve = training.read_metrics(tmp_path / "metrics.csv")["cross_entropy"]
    lowest = 40 * (1 + int(np.argmin(curve.reshape(5, 40).mean(axis=1))))
    assert checkpoint.best_step(tmp_path / "checkpoints") == lowest


def test_a_model_that_becomes_worse_is_warned_of_once(tmp_path):
    objective, state = _problem(watch=Watch(2))

    def step(rng_key, state, batch):
        new_state, metrics = objective.step(rng_key, state, batch)
        cross_entropy = jnp.where(state.step < 100, 3.0, 9.0)
        return new_state, metrics._replace(cross_entropy=cross_entropy)

    options = {"folder": tmp_path, "checkpoint_every": 60}
    with pytest.warns(UserWarning, match="has become worse") as caught:
        _fit(objective._replace(step=step), state, 260, **options)
    (message,) = (str(warning.message) for warning in caught)
    for words in ("update 160", "9.0 nats or more, and was 3.0 or less", "--checkpoint 60"):
        assert words in message
    assert checkpoint.best_step(tmp_path / "checkpoints") == 60


def test_divergence_stops_with_step_cause_and_advice(tmp_path):
    def energy_fn(params, x):
        return 100 * _energy(params, x)  # the smallest variance is 0.01

    objective, state = _problem(energy_fn, step_size=1.0, watch=Watch(2))
    with pytest.raises(TrainingDiverged, match="smaller step size") as caught:
        _fit(objective, state, 200, folder=tmp_path, chunk_size=50)
    assert 0 < caught.value.trouble.step <= 200
    assert caught.value.last_checkpoint == 0
    again = pickle.loads(pickle.dumps(caught.value))  # as out of another process
    assert (str(again), again.last_checkpoint) == (str(caught.value), 0)
    assert checkpoint.latest_step(tmp_path / "checkpoints") == 0


def test_a_cross_entropy_below_the_floor_stops():
    objective, state = _problem(watch=Watch(2, entropy_floor=100.0))
    with pytest.raises(TrainingDiverged, match="below the entropy of the noise"):
        _fit(objective, state, 200)


@pytest.mark.parametrize(
    ("step_size", "advice"),
    [(1.0, "The step size is too large: one move"), (0.1, "Take a smaller learning rate")],
)
def test_the_step_size_is_blamed_if_a_move_costs_much_at_rest(step_size, advice):
    objective, state = _problem(step_size=step_size, watch=Watch(2, entropy_floor=100.0))
    with pytest.raises(TrainingDiverged, match=advice):
        _fit(objective, state, 200)


def test_a_stopped_run_names_its_best_checkpoint(tmp_path):
    objective, state = _problem(watch=Watch(2))

    def step(rng_key, state, batch):
        new_state, metrics = objective.step(rng_key, state, batch)
        ess = jnp.where(state.step < 100, 0.9, 0.01)
        return new_state, metrics._replace(
            cross_entropy=jnp.where(state.step < 40, 3.0, 4.0),
            shadow_effective_sample_size=ess,
        )

    options = {"folder": tmp_path, "checkpoint_every": 40}
    with pytest.raises(TrainingDiverged, match="stays collapsed") as caught:
        _fit(objective._replace(step=step), state, 200, **options)
    assert (caught.value.last_checkpoint, caught.value.best_checkpoint) == (120, 40)
    assert "the checkpoint of update 40 is the best" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).best_checkpoint == 40


def test_ctrl_c_saves_and_returns(tmp_path):
    objective, state = _problem()
    handler = signal.getsignal(signal.SIGINT)  # in a job of the background it is ignored

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) is handler:  # not yet in training
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    result = _fit(objective, state, 10**7, folder=tmp_path)
    thread.join()
    assert result.is_interrupted
    step = int(result.state.step)
    assert checkpoint.latest_step(tmp_path / "checkpoints") == step
    assert len(result.metrics.cross_entropy) == step
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"noise_scale": -1.0}, "noise_scale must be finite and not negative"),
    ],
)
def test_bad_numbers_are_refused(options, message):
    objective, state = _problem()
    with pytest.raises(ValueError, match=message):
        _fit(objective, state, 10, **options)


def test_data_are_checked_before_anything_is_written(tmp_path):
    objective, state = _problem()
    data = DATA.at[7:10, 1].set(jnp.nan)
    with pytest.raises(ValueError, match="3 of 300 samples are not, the first of them at in"):
        fit(KEY, objective, state, data, num_steps=9, batch_size=9, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["jarzynski", "contrastive_divergence"])
def test_integers_are_trained_on_as_floating_point(name):
    objective = getattr(training, name)(_energy, optax.adam(0.05), langevin(0.1))
    positions = jax.random.normal(jax.random.key(1), (200, 2))
    data = np.round(np.asarray(DATA) * 20).astype(np.int16)
    options = {"num_steps": 20, "batch_size": 64, "noise_scale": 0.1}
    found, expected = (
        fit(
            KEY,
            objective,
            objective.init(KEY, {"mean": jnp.zeros(2)}, positions, values, LOG_Z),
            values,
            **options,
        )
        for values in (data, data.astype(np.float32))
    )
    chex.assert_trees_all_equal(found.state, expected.state)


@pytest.mark.parametrize("dtype", ["u1", "?", ">f8", "f2"])
def test_walkers_that_start_from_data_have_the_precision_of_walkers(dtype):
    objective, arguments = _problem_of_data()
    state = objective.init(*arguments, np.ones((30, 2), dtype), LOG_Z)
    assert state.walkers.position.dtype == jnp.float32
    np.testing.assert_array_equal(state.walkers.position, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((30, 2), complex), "real numbers; got dtype complex128"),
        (np.full((30, 2), None), "real numbers; got dtype object"),
        (np.ones((0, 2)), r"no size 0; got shape \(0, 2\)"),
    ],
)
def test_walkers_that_start_from_no_numbers_are_refused(data, message):
    objective, arguments = _problem_of_data()
    with pytest.raises(ValueError, match=message):
        objective.init(*arguments, data, LOG_Z)


def _problem_of_data():
    optimizer = optax.adam(0.05)
    objective = training.persistent_contrastive_divergence(_energy, optimizer, langevin(0.1))
    return objective, (KEY, {"mean": jnp.zeros(2)}, jnp.zeros((20, 2)))


def test_a_state_beyond_the_end_is_refused():
    objective, state = _problem()
    result = _fit(objective, state, 20)
    with pytest.raises(ValueError, match="has 20 updates already; num_steps is 10"):
        _fit(objective, result.state, 10)


def test_a_second_run_of_the_same_objective_compiles_nothing(recompilations):
    objective, state = _problem()
    first = _fit(objective, state, 20)
    with recompilations() as count:
        second = _fit(objective, state, 20)
    assert count() == 0
    chex.assert_trees_all_equal(first.state, second.state)
    noiseless = _fit(objective, state, 20, noise_scale=0.0)
    assert float(noiseless.metrics.data_energy[0]) != float(first.metrics.data_energy[0])


def test_a_run_cannot_be_traced():
    objective, state = _problem()
    with pytest.raises(ValueError, match=r"training\.fit looks at values.*jax\.jit"):
        jax.jit(lambda state: _fit(objective, state, 20).state)(state)


@pytest.mark.parametrize("build", [training.jarzynski, training.contrastive_divergence])
def test_walkers_do_not_start_from_data_with_gaps(build):
    objective = build(_energy, optax.sgd(0.1), langevin(0.1))
    data = DATA.at[7, 1].set(jnp.nan)
    params = {"mean": jnp.zeros(2)}
    with pytest.raises(ValueError, match=r"1 of 300 samples are not.*index 7"):
        objective.init(KEY, params, DATA, data, LOG_Z)
    # Traced data cannot be looked at.
    state = jax.jit(lambda data: objective.init(KEY, params, DATA, data, LOG_Z))(DATA)
    assert bool(jnp.all(jnp.isfinite(state.walkers.log_weights)))


def test_a_gradient_whose_square_overflows_is_skipped():
    """Else the mean of squares of Adam stays infinite, and its parameter where it is."""
    optimizer = optax.adam(0.1)
    state = start(jnp.array(1.0), optimizer)
    for update in range(300):
        curvature = 1e20 if update == 5 else 1.0
        state, metrics, _ = descend(state, lambda p, c=curvature: (c * p**2 / 2, ()), optimizer)
        assert bool(metrics.is_skipped) == (update == 5)
    assert abs(float(state.params)) < 0.05


def test_a_nested_configuration_comes_back(tmp_path):
    state = training.TrainingState(jnp.array(0), jnp.ones(2), (), (), None)
    config = {"model": {"hidden": (8, 8)}, "layers": ((16, 5), (32, 3))}
    checkpoint.save(tmp_path, state, config)
    assert checkpoint.restore(tmp_path, state, config).params.tolist() == [1, 1]
    checkpoint.save(tmp_path, state, config)  # the same is left
    with pytest.raises(ValueError, match="another state: of another run"):
        checkpoint.save(tmp_path, state._replace(params=5 * jnp.ones(2)), config)
