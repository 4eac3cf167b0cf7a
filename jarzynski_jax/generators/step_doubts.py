"""Whether the steps of a continuous flow are short enough for what is done with its density."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax.checks import check_known
from jarzynski_jax.density import Density, check_exact
from jarzynski_jax.formatting import disbelief
from jarzynski_jax.generators.continuous_flow import ContinuousFlow
from jarzynski_jax.generators.flow import round_trip
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.weights import log_mean_exp, normalize, relative_error

__all__ = ["StepDoubts", "step_doubts"]

#: Of a coordinate, relative, and of log|det|, in nats a coordinate.
_MAX_MISSED = 1e-3


class StepDoubts(NamedTuple):
    """What steps of half the length would change; ``print`` shows the doubts.

    missed_position, missed_log_determinant
        Largest ones of a round trip, relative and in nats.
    log_partition_shift
        Of log Z of the target, by n importance-weighted samples, in nats.
    log_partition_error
        Its standard error.
    doubts
        Why the steps are too long; empty if there is no reason.
    """

    missed_position: Array
    missed_log_determinant: Array
    log_partition_shift: Array
    log_partition_error: Array
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        """Say by how much log Z moves, and a line for each doubt."""
        moved = f"log Z moves by {float(self.log_partition_shift):.2g} nats at half the step"
        return "\n".join([moved, *map(disbelief, self.doubts)])


def step_doubts(
    rng_key: PRNGKey,
    flow: ContinuousFlow,
    params: Params,
    target: Density,
    num_samples: int = 256,
) -> StepDoubts:
    """Look at a continuous flow at half its step, on the same samples of its base.

    Doubted is a round trip that misses by more than 1e-3, and a log Z that moves by more than
    its standard error. A ValueError inside ``jax.jit`` or ``jax.vmap``: it looks at values.

    Examples
    --------
    >>> from jarzynski_jax import targets
    >>> from jarzynski_jax.generators import ContinuousFlow, with_divergence
    >>> shrink = with_divergence(lambda rate, t, x: -rate * x)
    >>> flow = ContinuousFlow(targets.gaussian([1.0]), shrink, num_steps=1)
    >>> target = targets.gaussian([0.01])
    >>> len(step_doubts(jax.random.key(0), flow, 2.3, target).doubts)
    2
    >>> step_doubts(jax.random.key(0), flow._replace(num_steps=20), 2.3, target).doubts
    ()
    """
    check_known("generators.step_doubts", params)
    sample, log_z = check_exact(flow.base)
    z = sample(rng_key, num_samples)

    def log_weights(flow: ContinuousFlow) -> Array:
        x, log_det = jax.vmap(flow.forward_fn, (None, 0))(params, z)
        log_q = jax.vmap(flow.base.logdensity_fn)(z) - log_z - log_det
        return jax.vmap(target.logdensity_fn)(x) - log_q

    of_steps, of_half = (
        log_weights(flow._replace(num_steps=n)) for n in (flow.num_steps, 2 * flow.num_steps)
    )
    missed = round_trip(flow, params, z)
    position = jnp.max(missed.position)
    log_det = jnp.max(jnp.abs(missed.log_determinant))
    shift = log_mean_exp(of_half) - log_mean_exp(of_steps)
    error = relative_error(normalize(of_half))
    doubts, size = [], z[0].size
    if not (position <= _MAX_MISSED and log_det <= _MAX_MISSED * size):
        doubts.append(
            f"forward and back, {flow.num_steps} steps miss by up to {float(position):.2g} in "
            f"a coordinate and {float(log_det):.2g} nats in log|det|: take more steps"
        )
    # Rounding below a thousandth of a nat is no reason for doubt.
    if not abs(shift) <= max(float(error), 1e-3):
        doubts.append(
            f"log Z moves by {float(shift):.2g} nats at half the step, its standard error is "
            f"{float(error):.2g}: take more steps"
        )
    return StepDoubts(position, log_det, shift, error, tuple(doubts))
