r"""A machine of two kernels between data and hidden units: what it is, exactly and by samples.

Hidden units z draw visible ones x, and these draw hidden ones, by kernels with parameters of
their own,

.. math::
    A_{zx} = \prod_i {\rm Bern}(x_i; {\rm sigmoid}(wz + a)_i), \qquad
    \bar A_{xz} = {\rm softmax}(\bar w x + \bar a)_z \ \text{or}\
        \prod_\alpha {\rm Bern}(z_\alpha; {\rm sigmoid}(\bar w x + \bar a)_\alpha),

for one-hot z or independent ones. There is no energy. The chain z → x → z → ... has stationary
laws :math:`\bar p` of z and :math:`p = \bar p A` of x, the model of the data. It may circulate:
its hidden states go by :math:`M = A \bar A`, rows from z. With one-hot z the model is a mixture
of L products, whose likelihood depends on w, a and :math:`\bar p` alone. So whatever
circulates, :func:`reversible_rival` has the same likelihood and produces no entropy.

Reference: Baiesi and Rosso, arXiv:2512.11415. The softmax is that of its appendix; normalised
sigmoids, its eq. 19, would have other derivatives than it uses.
"""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp

from jarzynski_jax.latent.bernoulli_mixture import check_binary
from jarzynski_jax.types import Array, PRNGKey
from jarzynski_jax.uniform import bernoulli

__all__ = [
    "Enumerated",
    "HiddenUnits",
    "Machine",
    "Trajectory",
    "all_states",
    "check_hidden",
    "enumerate_machine",
    "hidden_mean",
    "hidden_states",
    "log_emission",
    "log_hidden_transitions",
    "log_likelihood",
    "reversible_rival",
    "run",
    "start_from_data",
    "visible_logits",
]

#: One unit on of all, or each by itself.
HiddenUnits: TypeAlias = Literal["one-hot", "independent"]

#: States beyond which a machine is not enumerated.
_MANY = 2**16


class Machine(NamedTuple):
    """Both kernels: w ``(D, L)`` and a ``(D,)`` of x given z; those with bars of z given x.

    These are ``(L, D)`` and ``(L,)``.
    """

    decoder_weights: Array
    decoder_bias: Array
    encoder_weights: Array
    encoder_bias: Array


class Trajectory(NamedTuple):
    """T double steps: x(t), shape ``(T, D)``, then z(t), ``(T, L)``; and what is next, x(T)."""

    visible: Array
    hidden: Array
    last: Array


class Enumerated(NamedTuple):
    """A small machine in full, its laws aside.

    visible, hidden
        All states, shapes ``(2^D, D)`` and ``(L, L)`` or ``(2^L, L)``.
    decoder, encoder
        A and its like with a bar, from rows to columns.
    """

    visible: Array
    hidden: Array
    decoder: Array
    encoder: Array


def check_hidden(hidden_units: str) -> None:
    """Raise a ValueError unless these are hidden units that there are."""
    if hidden_units not in get_args(HiddenUnits):
        raise ValueError(
            f"hidden_units must be {' or '.join(map(repr, get_args(HiddenUnits)))}; got "
            f"{hidden_units!r}"
        )


def start_from_data(
    rng_key: PRNGKey, data: Array, num_hidden: int, share: float = 0.1
) -> Machine:
    """Make a first machine: w the log-odds of means over a share of the data, all else 0.

    Each hidden unit has a random share of its own. Means of n data are kept between 1/2n and
    1 - 1/2n, for a unit that is never on in them would have log-odds of -∞. ValueError if data
    are not 0 or 1, or there are none in a share.

    Examples
    --------
    >>> data = jax.random.bernoulli(jax.random.key(0), 0.3, (100, 5)).astype(float)
    >>> start_from_data(jax.random.key(1), data, num_hidden=2).decoder_weights.shape
    (5, 2)
    """
    data = check_binary(data)
    size = round(share * data.shape[0])
    if num_hidden < 1 or not 1 <= size <= data.shape[0]:
        raise ValueError(
            "num_hidden must be at least 1, and a share of the data at least one of them; got "
            f"num_hidden={num_hidden}, share={share} of {data.shape[0]}"
        )

    def log_odds(key: PRNGKey) -> Array:
        chosen = jax.random.choice(key, data.shape[0], (size,), replace=False)
        mean = jnp.clip(jnp.mean(data[chosen], axis=0), 1 / (2 * size), 1 - 1 / (2 * size))
        return jnp.log(mean) - jnp.log1p(-mean)

    weights = jax.vmap(log_odds)(jax.random.split(rng_key, num_hidden)).T
    return Machine(
        weights,
        jnp.zeros_like(weights[:, 0]),
        jnp.zeros_like(weights.T),
        jnp.zeros_like(weights[0]),
    )


def visible_logits(machine: Machine, hidden: Array) -> Array:
    """Log-odds of visible units given hidden ones, shape ``(..., D)``."""
    return hidden @ machine.decoder_weights.T + machine.decoder_bias


def hidden_mean(machine: Machine, visible: Array, hidden_units: HiddenUnits) -> Array:
    """Mean of hidden units given visible ones, shape ``(..., L)``."""
    logits = visible @ machine.encoder_weights.T + machine.encoder_bias
    return jax.nn.softmax(logits) if hidden_units == "one-hot" else jax.nn.sigmoid(logits)


def log_emission(machine: Machine, hidden: Array, data: Array) -> Array:
    r"""Log-probabilities :math:`\log A_{zx}` of data, shape ``(n, S)`` for S hidden states."""
    logits = visible_logits(machine, hidden)
    return data @ logits.T - jnp.sum(jax.nn.softplus(logits), axis=-1)


def run(
    rng_key: PRNGKey,
    machine: Machine,
    start: Array,
    num_steps: int,
    hidden_units: HiddenUnits = "one-hot",
) -> Trajectory:
    """Run the chain from a visible state, shape ``(D,)``, for T double steps."""
    check_hidden(hidden_units)

    def step(visible: Array, key: PRNGKey) -> tuple[Array, tuple[Array, Array]]:
        key_hidden, key_visible = jax.random.split(key)
        logits = visible @ machine.encoder_weights.T + machine.encoder_bias
        if hidden_units == "one-hot":
            unit = jax.random.categorical(key_hidden, logits)
            hidden = jax.nn.one_hot(unit, logits.shape[0], dtype=logits.dtype)
        else:
            on = bernoulli(key_hidden, jax.nn.sigmoid(logits))
            hidden = on.astype(logits.dtype)
        probability = jax.nn.sigmoid(visible_logits(machine, hidden))
        drawn = bernoulli(key_visible, probability).astype(visible.dtype)
        return drawn, (visible, hidden)

    last, (visible, hidden) = jax.lax.scan(step, start, jax.random.split(rng_key, num_steps))
    return Trajectory(visible, hidden, last)


def hidden_states(machine: Machine, hidden_units: HiddenUnits) -> Array:
    """All states of the hidden units, ``(L, L)`` or ``(2^L, L)``; ValueError if too many."""
    check_hidden(hidden_units)
    bias = machine.encoder_bias
    if hidden_units == "one-hot":
        return jnp.eye(bias.shape[0], dtype=bias.dtype)
    return all_states(bias.shape[0]).astype(bias.dtype)


def log_hidden_transitions(
    rng_key: PRNGKey,
    machine: Machine,
    num_samples: int,
    hidden_units: HiddenUnits = "one-hot",
) -> Array:
    r"""Estimate :math:`M_{zz'} = E_{x \sim A_z}[\bar A_{xz'}]` of all hidden states; its log.

    From so many samples of x for each z, shape ``(S, S)``, with L states of one-hot units and
    2^L of independent ones. M is unbiased, of rows that sum to one, and positive everywhere,
    however small: no entropy production comes out infinite, as it may from counts. (Of what no
    sample shows the logarithm is a guess all the same.)

    Examples
    --------
    >>> machine = Machine(jnp.zeros((3, 2)), jnp.zeros(3), jnp.zeros((2, 3)), jnp.zeros(2))
    >>> jnp.exp(log_hidden_transitions(jax.random.key(0), machine, 10)).round(3).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    states = hidden_states(machine, hidden_units)

    def row(key: PRNGKey, hidden: Array) -> Array:
        probability = jax.nn.sigmoid(visible_logits(machine, hidden))
        shape = (num_samples, *probability.shape)
        visible = bernoulli(key, probability, shape).astype(probability.dtype)
        logits = visible @ machine.encoder_weights.T + machine.encoder_bias
        if hidden_units == "one-hot":
            logs = jax.nn.log_softmax(logits)
        else:
            logs = logits @ states.T - jnp.sum(jax.nn.softplus(logits), axis=1, keepdims=True)
        return jax.nn.logsumexp(logs, axis=0) - jnp.log(num_samples)

    return jax.vmap(row)(jax.random.split(rng_key, states.shape[0]), states)


def log_likelihood(
    machine: Machine, log_law: Array, data: Array, hidden_units: HiddenUnits = "one-hot"
) -> Array:
    r"""Mean of :math:`\log\sum_z \bar p_z A_{zx}` of data, in nats a datum.

    ``log_law`` is :math:`\log\bar p` of all hidden states, shape ``(L,)`` or ``(2^L,)``.
    ValueError if data are not 0 or 1.
    """
    data = check_binary(data)
    logs = log_emission(machine, hidden_states(machine, hidden_units), data) + log_law
    return jnp.mean(jax.nn.logsumexp(logs, axis=1))


def reversible_rival(machine: Machine, log_law: Array) -> Machine:
    r"""The one-hot machine that draws z from :math:`\bar p` afresh: as likely, and reversible.

    :math:`\bar w = 0`, :math:`\bar a = \log\bar p`: every row of M is :math:`\bar p`.
    """
    # As a product: of a batch times a matrix that is known to be 0 when it is compiled, and
    # reduced at once, XLA (jaxlib 0.10.2, on the CPU) reads memory that was never written.
    return machine._replace(encoder_weights=0 * machine.encoder_weights, encoder_bias=log_law)


def all_states(num_units: int) -> Array:
    """All states of units that are 0 or 1, shape ``(2^n, n)``, in the order of binary numbers.

    Examples
    --------
    >>> all_states(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    if not num_units >= 1 or 2**num_units > _MANY:
        raise ValueError(f"{num_units} units have more than {_MANY} states, or none")
    numbers = jnp.arange(2**num_units)[:, None]
    return (numbers >> jnp.arange(num_units)[::-1] & 1).astype(jnp.result_type(float))


def enumerate_machine(machine: Machine, hidden_units: HiddenUnits = "one-hot") -> Enumerated:
    """Enumerate a small machine; ValueError if one of its layers has too many states."""
    check_hidden(hidden_units)
    visible = all_states(machine.decoder_weights.shape[0])
    hidden = hidden_states(machine, hidden_units)
    decoder = jnp.exp(log_emission(machine, hidden, visible)).T
    mean = hidden_mean(machine, visible, hidden_units)
    encoder = mean if hidden_units == "one-hot" else _products(mean, hidden)
    return Enumerated(visible, hidden, decoder, encoder)


def _products(mean: Array, states: Array) -> Array:
    """Probabilities of states of independent units, ``(n, S)``."""
    each: Any = jnp.where(states[None] == 1, mean[:, None], 1 - mean[:, None])
    return jnp.prod(each, axis=-1)
