"""Machines that may circulate, the reversible rival, and the ceiling by EM."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from benchmarks.studies.nonequilibrium.settings import Settings
from jarzynski_jax import data as data_lib
from jarzynski_jax import training
from jarzynski_jax.latent import bernoulli_mixture, cycle_machine, cycle_report, latent_cycles
from jarzynski_jax.nonequilibrium import rare_transitions

#: Images of each class: the first ones.
NUM_EACH = 1000
CLASSES = (0, 1, 2)


class Digits(NamedTuple):
    """Images of 0 and 1, shape ``(n, D)``, and labels."""

    images: np.ndarray
    labels: np.ndarray


def load(settings: Settings) -> Digits:
    if settings.data:
        images, labels = data_lib.load_mnist(Path(settings.data))
        on = images.reshape(len(images), -1) > 0  # above 127 of 255
    else:
        images, labels = load_digits(return_X_y=True)
        on = images > 7.5
    chosen = np.concatenate([np.flatnonzero(labels == k)[:NUM_EACH] for k in CLASSES])
    return Digits(on[chosen].astype(np.float32), np.asarray(labels)[chosen])


def names(settings: Settings) -> list[str]:
    return ["ceiling", *(f"machines_{epsilon:g}" for epsilon in settings.epsilons)]


def run(name: str, settings: Settings) -> dict[str, np.ndarray]:
    digits = load(settings)
    if name == "ceiling":
        return _ceiling(digits, settings)
    return _machines(digits, float(name.partition("_")[2]), settings)


def _ceiling(digits: Digits, settings: Settings) -> dict[str, np.ndarray]:
    def fit(key: jax.Array, images: jax.Array) -> jax.Array:
        mixture, _ = bernoulli_mixture.expectation_maximization(
            key, images, settings.num_hidden, settings.em_steps
        )
        return bernoulli_mixture.log_likelihood(mixture, images)

    keys = jax.random.split(jax.random.key(0), settings.em_starts)
    # The images as an argument: XLA takes 20 s to fold what it knows as constants.
    fit_all = jax.jit(lambda keys, images: jax.lax.map(lambda key: fit(key, images), keys))
    return {
        "log_likelihood": np.asarray(fit_all(keys, jnp.asarray(digits.images))),
        "unit_a_class": np.asarray(_of_means(digits, digits.labels)),
        "pixels": np.asarray(_of_means(digits, np.zeros_like(digits.labels))),
    }


def _of_means(digits: Digits, labels: np.ndarray) -> float:
    """Likelihood of a mixture of a unit for each label, with its images' share and mean."""
    means = jnp.stack([digits.images[labels == k].mean(axis=0) for k in np.unique(labels)])
    _, counts = np.unique(labels, return_counts=True)
    floor = 1e-3  # that of EM
    mixture = bernoulli_mixture.BernoulliMixture(
        jnp.asarray(counts / len(labels)), jnp.clip(means, floor, 1 - floor)
    )
    return float(bernoulli_mixture.log_likelihood(mixture, jnp.asarray(digits.images)))


def _machines(digits: Digits, epsilon: float, settings: Settings) -> dict[str, np.ndarray]:
    images, number = jnp.asarray(digits.images), settings.num_replicas
    growth = settings.last_batch - settings.first_batch
    # Optax adds eps to the mean square unless told otherwise, where it acts as its own root.
    optimizer = optax.rmsprop(
        settings.learning_rate, settings.decay, epsilon, eps_in_sqrt=False
    )
    objective = latent_cycles.latent_cycles(
        optimizer,
        settings.num_steps,
        num_data=lambda step: settings.first_batch + step * growth // settings.num_updates,
    )
    many = training.replicate(objective, number)
    keys = jax.random.split(jax.random.key(1), number)
    machines = jax.vmap(
        lambda key: cycle_machine.start_from_data(key, images, settings.num_hidden)
    )(keys)
    state = many.init(jax.random.key(2), machines, images)
    result = training.fit(
        jax.random.key(3),
        many,
        state,
        images,
        num_steps=settings.num_updates,
        batch_size=settings.last_batch * number,
    )
    params = result.state.params

    def judge(inputs: tuple) -> tuple:
        key, machine = inputs
        found = cycle_report.report(key, machine, images, settings.report_samples)
        rival = cycle_machine.reversible_rival(machine, found.log_law)
        logs = cycle_machine.log_hidden_transitions(
            jax.random.fold_in(key, 1), machine, settings.report_samples
        )
        again = rare_transitions.entropy_production(logs)
        return found, cycle_report.report(key, rival, images, settings.report_samples), again

    judge_all = jax.jit(lambda inputs: jax.lax.map(judge, inputs))
    found, rival, again = judge_all((jax.random.split(jax.random.key(4), number), params))
    classes = _classes(params, digits)
    shares = jax.vmap(lambda law, of: cycle_report.class_shares(law, of, len(CLASSES)))(
        jnp.exp(found.log_law), jnp.asarray(classes)
    )
    uniform = jnp.full(len(CLASSES), 1 / len(CLASSES))
    divergence = jax.vmap(lambda share: cycle_report.class_divergence(uniform, share))(shares)
    fields = {name: np.asarray(value) for name, value in found._asdict().items()}
    return {
        **fields,
        "entropy_production_again": np.asarray(again),
        "rival_relaxation_time": np.asarray(rival.relaxation_time),
        "rival_entropy_production": np.asarray(rival.entropy_production),
        "rival_log_likelihood": np.asarray(rival.log_likelihood),
        "rival_persistence": np.asarray(rival.persistence),
        "divergence": np.asarray(divergence),
        "classes": classes,
        "means": np.asarray(jax.nn.sigmoid(params.decoder_weights)).transpose(0, 2, 1),
        "loss": result.metrics.loss,
    }


def _classes(params: cycle_machine.Machine, digits: Digits) -> np.ndarray:
    """Which digit each hidden unit draws, by a classifier and not by eye, ``(R, L)``."""
    classifier = LogisticRegression(max_iter=200).fit(digits.images, digits.labels)
    means = np.asarray(jax.nn.sigmoid(params.decoder_weights)).transpose(0, 2, 1)
    flat = means.reshape(-1, means.shape[-1])
    return classifier.predict(flat).reshape(means.shape[:2])
