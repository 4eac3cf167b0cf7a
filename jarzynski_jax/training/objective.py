"""An objective: how parameters learn, as the training loop sees it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jarzynski_jax.training import stop_rules
from jarzynski_jax.training.stop_rules import Trouble
from jarzynski_jax.types import Params, PRNGKey

__all__ = ["Monitor", "Objective", "check_data", "check_metrics", "check_objective"]


def _no_more_to_say(
    troubles: list[Trouble], rng_key: PRNGKey, params: Params, draw: Callable
) -> list[Trouble]:
    return troubles


def _no_cross_entropy(chunks: Sequence[Any]) -> None:
    return None


def _describe_loss(metrics: Any) -> str:
    return f"loss {metrics.loss.mean():.4g}" if hasattr(metrics, "loss") else ""


class Monitor(NamedTuple):
    """What the loop makes of an objective's metrics, between compiled chunks of updates.

    As it stands, for any objective: stop where losses or gradients are not finite any more.

    summarize
        ``(metrics, first_step) -> summary``: what to remember of a chunk after ``first_step``
        updates, plain numbers. Every field of ``metrics`` is a NumPy array of shape ``(C,)``.
    diagnose
        ``(summaries, is_whole) -> troubles``, of all chunks in order of time. ``is_whole`` is
        False if the last one was interrupted, and may be too short to judge.
    explain
        ``(troubles, rng_key, params, draw) -> troubles``: a closer look at what was found,
        with other advice. ``draw(rng_key, n)`` draws so many data, with their noise, if there
        are data.
    cross_entropy
        ``(summaries) -> float | None``: the held-out cross entropy of the chunks since the
        last checkpoint, by which the best checkpoint is kept; None if there is none to be
        believed.
    describe
        ``metrics -> str``: what a progress bar shows.
    """

    summarize: Callable[[Any, int], Any] = stop_rules.summarize
    diagnose: Callable[[Sequence[Any], bool], list[Trouble]] = stop_rules.diagnose
    explain: Callable[[list[Trouble], PRNGKey, Params, Callable], list[Trouble]] = (
        _no_more_to_say
    )
    cross_entropy: Callable[[Sequence[Any]], float | None] = _no_cross_entropy
    describe: Callable[[Any], str] = _describe_loss


class Objective(NamedTuple):
    """How parameters learn: two pure functions, and what the loop has to know of them.

    init
        ``(rng_key, params, ...) -> state``, a named tuple with the fields ``step``, the number
        of updates made, int32, and ``params``.
    step
        ``(rng_key, state, batch) -> (state, metrics)``: one update. ``batch`` is a mini-batch
        of data, shape ``(B, ...)``, or None; ``metrics`` are a named tuple of scalars. To be
        jitted, or scanned.
    takes_data
        Whether it learns from data; if not, ``batch`` is None.
    monitor
        When to stop, and what to tell.

    Examples
    --------
    Any rule of learning is one. Here the mean of a Gaussian climbs to the top of a density:

    >>> from typing import NamedTuple
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import training
    >>> class State(NamedTuple):
    ...     step: jax.Array
    ...     params: jax.Array
    >>> class Height(NamedTuple):
    ...     logdensity: jax.Array
    >>> def step(rng_key, state, batch):
    ...     height, slope = jax.value_and_grad(lambda x: -jnp.sum((x - 3) ** 2))(state.params)
    ...     return State(state.step + 1, state.params + 0.1 * slope), Height(height)
    >>> climb = Objective(lambda rng_key, x: State(jnp.array(0), x), step, takes_data=False)
    >>> state = climb.init(jax.random.key(0), jnp.zeros(2))
    >>> result = training.fit(jax.random.key(1), climb, state, num_steps=100)
    >>> bool(jnp.allclose(result.state.params, 3)), result.metrics._fields
    (True, ('logdensity',))
    """

    init: Callable[..., Any]
    step: Callable[[PRNGKey, Any, Any], tuple[Any, Any]]
    takes_data: bool = True
    monitor: Monitor = Monitor()


def check_objective(objective: Any, state: Any) -> None:
    """Check that this is an objective, and this a state of one.

    Raises
    ------
    ValueError
        If it is something else, such as the function that makes it; or the state lacks a field.
    """
    if not isinstance(objective, Objective):
        name = getattr(objective, "__name__", type(objective).__name__)
        raise ValueError(
            f"an objective is what e.g. training.jarzynski(...) returns; got {name}"
        )
    missing = [name for name in ("step", "params") if not hasattr(state, name)]
    if missing:
        raise ValueError(
            f"a state of training must have the field {missing[0]!r}; got "
            f"{type(state).__name__}: it comes from objective.init"
        )


def check_data(
    objective: Objective, data: Any, batch_size: int | None, noise_scale: float
) -> None:
    """Check that data are there if and only if the objective learns from them.

    Raises
    ------
    ValueError
        If not; or data come without a size of batches, or that or noise without data.
    """
    if objective.takes_data and data is None:
        raise ValueError("this objective learns from data; got data=None")
    if not objective.takes_data and data is not None:
        raise ValueError("this objective learns without data: leave them out; got some")
    if data is not None and batch_size is None:
        raise ValueError("batch_size, how many data an update draws, must be given with data")
    if data is None and (batch_size is not None or noise_scale != 0):
        raise ValueError(
            "batch_size and noise_scale are of data, and there are none; got "
            f"batch_size={batch_size}, noise_scale={noise_scale}"
        )


def check_metrics(metrics: Any) -> None:
    """Check that the metrics of an update are a named tuple of scalars.

    Raises
    ------
    ValueError
        If they are not, by their shapes.
    """
    names = getattr(metrics, "_fields", None)
    if not names:
        raise ValueError(
            "metrics of an update must be a named tuple of scalars; got "
            f"{type(metrics).__name__}"
        )
    if "step" in names:
        raise ValueError("no metric may be called step: that is the number of the update")
    for name, value in zip(names, metrics, strict=True):
        if getattr(value, "shape", None) != ():
            raise ValueError(
                f"metrics of an update must be scalars; {name} is {value}: of arrays take a "
                "mean, a norm or an extreme"
            )
