r"""Weighted walkers: an ensemble of positions, each with a log-weight.

At every moment, for every test function :math:`f`,

.. math:: E[f(X_i)\, e^{A_i}] = (Z/Z_0)\, E_\theta[f],

where :math:`\theta` is the target by which the walkers were last weighed. Moving, resampling,
and taking a block out and putting it back keep this equation; nothing else may be done to a
walker. The kernel that moves them is any ``(rng_key, state, logdensity_fn, *args)``.

References: Carbone, Hua, Coste and Vanden-Eijnden, NeurIPS 2023; thesis, Proposition 3.3.1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jarzynski_jax import weights
from jarzynski_jax.checks import (
    check_fields,
    check_kernel,
    check_kernel_args,
    check_kernel_init,
    check_resampler,
)
from jarzynski_jax.kernels.arithmetic import is_lost
from jarzynski_jax.resampling.schemes import AdaptiveResampler
from jarzynski_jax.types import (
    Array,
    Kernel,
    KernelInit,
    LogDensityFn,
    Position,
    PRNGKey,
    Scalar,
)

__all__ = [
    "ResampleInfo",
    "Walkers",
    "draw_block",
    "init",
    "log_partition_function",
    "log_partition_function_error",
    "move",
    "put",
    "relocate_dead",
    "resample",
    "shadow_log_weights",
    "take",
]


class Walkers(NamedTuple):
    r"""An ensemble of N walkers.

    state
        The kernel's states, every leaf with leading axis N.
    log_weights
        A, shape ``(N,)``; ``-inf`` for a dead walker.
    initial_log_partition_function
        log Z₀ of the density that the walkers were drawn from, a scalar.
    roots
        Which of the first walkers each descends from, int32, shape ``(N,)``. Walkers of one
        root are not independent; the standard error of log Z is made of this.
    leakage
        About how much log Z is too low, in nats, because walkers died by their own moves:
        :math:`-\sum_k \log(1 - q_k)` with q the share of the weight that so died in a move. A
        scalar, 0 as long as none did.
    """

    state: Any
    log_weights: Array
    initial_log_partition_function: Array
    roots: Array
    leakage: Array

    @property
    def position(self) -> Position:
        """Where the walkers stand, every leaf with leading axis N."""
        return self.state.position


class ResampleInfo(NamedTuple):
    """What :func:`resample` saw and did; effective sample sizes are before it.

    effective_sample_size
        Of the log-weights A, a fraction of N: how good expectations are.
    shadow_effective_sample_size
        Of the shadow log-weights, a fraction of N: what triggers the resampling.
    is_resampled
        Whether ancestors were drawn.
    is_dead
        Whether no walker had a usable weight, so that nothing could be drawn.
    """

    effective_sample_size: Array
    shadow_effective_sample_size: Array
    is_resampled: Array
    is_dead: Array


def init(
    positions: Position,
    logdensity_fn: LogDensityFn,
    kernel_init: KernelInit,
    log_partition_function: Scalar = 0.0,
) -> Walkers:
    r"""Start an ensemble from exact, independent samples.

    Parameters
    ----------
    positions
        Samples of :math:`e^{\ell}/Z_0`, every leaf of shape ``(N, ...)``.
    logdensity_fn
        :math:`\ell`, for one position.
    kernel_init
        The ``init`` of the kernel that will move them, e.g. ``ula.init``.
    log_partition_function
        :math:`\log Z_0 = \log \int e^{\ell}`, in nats. With 0, what is estimated later is
        the ratio to it.

    Returns
    -------
    Walkers
        All with log-weight 0, except that a walker whose density is not finite is dead.

    Raises
    ------
    ValueError
        If the leaves of ``positions`` do not share a leading axis, ``kernel_init`` is no
        function, or the kernel's state lacks a field.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> x = jax.random.normal(jax.random.key(0), (1000, 2))
    >>> ensemble = walkers.init(x, lambda x: -jnp.sum(x**2) / 2, ula.init, jnp.log(2 * jnp.pi))
    >>> round(float(walkers.log_partition_function(ensemble)), 4)
    1.8379
    """
    check_kernel_init(kernel_init)
    num_walkers = _leading_axis(positions)
    state = jax.vmap(lambda x: kernel_init(x, logdensity_fn))(positions)
    check_fields(state, "state", "position", "logdensity", "log_endpoint")
    dtype = jnp.promote_types(state.logdensity.dtype, jnp.float32)
    zeros = jnp.zeros(num_walkers, dtype)
    return Walkers(
        state,
        jnp.where(jnp.isfinite(state.logdensity), zeros, -jnp.inf),
        jnp.array(log_partition_function, dtype),
        jnp.arange(num_walkers, dtype=jnp.int32),
        jnp.zeros((), dtype),
    )


def move(
    rng_key: PRNGKey,
    walkers: Walkers,
    logdensity_fn: LogDensityFn,
    kernel: Kernel,
    *kernel_args: Any,
) -> tuple[Walkers, Any]:
    """Move every walker by one step of a kernel and weigh it under a new target.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    walkers
        N walkers, weighed by the old target.
    logdensity_fn
        The target after the move, for one position.
    kernel
        ``(rng_key, state, logdensity_fn, *kernel_args) -> (state, info)`` for one walker,
        with ``info.log_weight_increment``.
    *kernel_args
        What else the kernel takes, e.g. the step size.

    Returns
    -------
    tuple[Walkers, Any]
        The walkers, weighed by the new target, and the kernel's infos, leading axis N.

    Raises
    ------
    ValueError
        If the kernel is none (its module, say), or its state or info lacks a field.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> old, new = (lambda x: -(x**2) / 2), (lambda x: -(x**2))
    >>> ensemble = walkers.init(jax.random.normal(jax.random.key(0), (1000,)), old, ula.init)
    >>> key = jax.random.key(1)
    >>> ensemble, _ = walkers.move(key, ensemble, new, ula.build_kernel(), 0.1)
    >>> float(abs(walkers.log_partition_function(ensemble) + jnp.log(2) / 2)) < 0.1
    True
    """
    keys = jax.random.split(rng_key, walkers.log_weights.shape[0])
    state, log_weights, info = move_each(
        keys, walkers.state, walkers.log_weights, logdensity_fn, kernel, *kernel_args
    )
    leakage = walkers.leakage + lost_log_weight(walkers.log_weights, is_lost(info))
    moved = walkers._replace(state=state, log_weights=log_weights, leakage=leakage)
    return moved, info


def lost_log_weight(log_weights: Array, is_lost: Array) -> Array:
    r"""How much a move lowers log Z by the walkers that it lost, :math:`-\log(1 - q)`.

    A walker that steps out of where the density is positive dies. Walkers that come back, as
    many at rest, would bring as much weight with them, and there are none. So the mean weight
    is too low by about the share that stepped out: nearly that at a target that hardly moves,
    and less where the density falls to zero by itself. (Where numbers overflow, far out in the
    tails, there is no weight to come back, and nothing is lost; that is not told apart.)

    Parameters
    ----------
    log_weights
        Before the move, shape ``(N,)``.
    is_lost
        Of each walker, by :class:`~jarzynski_jax.types.KernelInfo`; shape ``(N,)``.

    Returns
    -------
    Array
        A scalar, ``inf`` if all were lost.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> is_lost = jnp.array([True, True, False, False])
    >>> round(float(lost_log_weight(jnp.zeros(4), is_lost)), 4)
    0.6931
    """

    def lost(log_weights: Array) -> Array:
        share = jnp.sum(jnp.where(is_lost, weights.normalize(log_weights), 0))
        # Of walkers that are all dead already nothing is lost: their shares are NaN.
        return -jnp.log1p(-jnp.minimum(jnp.nan_to_num(share), 1))

    # Most moves lose none, and must not pay for it.
    return jax.lax.cond(
        jnp.any(is_lost),
        lost,
        lambda log_weights: jnp.zeros((), log_weights.dtype),
        log_weights,
    )


def move_each(
    keys: PRNGKey,
    state: Any,
    log_weights: Array,
    logdensity_fn: LogDensityFn,
    kernel: Kernel,
    *kernel_args: Any,
) -> tuple[Any, Array, Any]:
    """Move each state by a step of a kernel, with its own key; return weights and infos too."""
    check_kernel(kernel)
    check_kernel_args(kernel, kernel_args)
    state, info = jax.vmap(lambda key, state: kernel(key, state, logdensity_fn, *kernel_args))(
        keys, state
    )
    check_fields(state, "state", "position", "logdensity", "log_endpoint")
    check_fields(info, "info", "log_weight_increment")
    return state, log_weights + info.log_weight_increment, info


def shadow_log_weights(walkers: Walkers) -> Array:
    r"""Log-weights without the part that fluctuates with the position alone.

    :math:`\tilde A = A -` ``log_endpoint``. For ULA :math:`\tilde A` accumulates the
    trapezoidal work and :math:`A = \tilde A - \frac h4|\nabla\ell(x)|^2`. The endpoint factor
    never accumulates, and its spread grows with the dimension; resampling on it would
    remove walkers for nothing.

    Parameters
    ----------
    walkers
        N walkers.

    Returns
    -------
    Array
        Shape ``(N,)``.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.ones(3), lambda x: -(x**2) / 2, ula.init)
    >>> walkers.shadow_log_weights(ensemble).tolist()
    [0.0, 0.0, 0.0]
    """
    return walkers.log_weights - walkers.state.log_endpoint


def resample(
    rng_key: PRNGKey, walkers: Walkers, resampler: AdaptiveResampler
) -> tuple[Walkers, ResampleInfo]:
    r"""Resample on the shadow weight, if it has degenerated.

    Ancestors are drawn in proportion to :math:`e^{\tilde A}`; then :math:`\tilde A` is the
    logarithm of its mean, and each walker keeps its own endpoint factor,
    :math:`A = \tilde A +` ``log_endpoint``. This keeps
    :math:`E[\frac1N \sum_i f(X_i) e^{A_i}]` for every f.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    walkers
        N walkers; all of an ensemble, or a block of them.
    resampler
        From :func:`jarzynski_jax.resampling.adaptive`: scheme, threshold and criterion.

    Returns
    -------
    tuple[Walkers, ResampleInfo]
        The walkers and what was done. A dead ensemble stays as it is and is reported.

    Raises
    ------
    ValueError
        If the resampler is a scheme alone, without a threshold.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from jarzynski_jax import resampling, walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.arange(4.0), lambda x: -(x**2) / 2, ula.init)
    >>> ensemble = ensemble._replace(log_weights=jnp.log(jnp.array([4.0, 0.0, 0.0, 0.0])))
    >>> resampler = resampling.adaptive(resampling.systematic, ess_threshold=0.5)
    >>> ensemble, info = walkers.resample(jax.random.key(0), ensemble, resampler)
    >>> ensemble.position.tolist(), bool(info.is_resampled)
    ([0.0, 0.0, 0.0, 0.0], True)
    """
    check_resampler(resampler)
    ancestors, shadow, info = resampler(rng_key, shadow_log_weights(walkers))
    # The gather is inside a branch: most steps do not resample and must not pay for it.
    state, roots = jax.lax.cond(
        info.is_resampled,
        lambda leaves: jax.tree.map(lambda leaf: leaf[ancestors], leaves),
        lambda leaves: leaves,
        (walkers.state, walkers.roots),
    )
    resampled = walkers._replace(
        state=state,
        roots=roots,
        log_weights=jnp.where(
            info.is_resampled, shadow + state.log_endpoint, walkers.log_weights
        ),
    )
    return resampled, ResampleInfo(
        weights.effective_sample_size(walkers.log_weights),
        weights.effective_sample_size(shadow_log_weights(walkers)),
        info.is_resampled,
        info.is_dead,
    )


def relocate_dead(walkers: Walkers) -> Walkers:
    """Put dead walkers where the heaviest living one stands; their weights stay 0.

    A walker of weight 0 may stand anywhere. Where it died its energy is not finite, and
    would make any sum over all walkers NaN, however small its weight.

    Parameters
    ----------
    walkers
        N walkers.

    Returns
    -------
    Walkers
        The same ensemble, with a finite energy for every walker unless all are dead.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.array([1.0, -1.0]), jnp.log, ula.init)
    >>> ensemble = walkers.relocate_dead(ensemble)
    >>> ensemble.position.tolist(), ensemble.log_weights.tolist()
    ([1.0, 1.0], [0.0, -inf])
    """
    is_dead = ~jnp.isfinite(walkers.log_weights)
    heaviest = jnp.argmax(walkers.log_weights)

    def relocate(leaf: Array) -> Array:
        column = is_dead.reshape(is_dead.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(column, leaf[heaviest], leaf)

    state = jax.lax.cond(
        jnp.any(is_dead),
        lambda state: jax.tree.map(relocate, state),
        lambda state: state,
        walkers.state,
    )
    return walkers._replace(state=state)


def log_partition_function(walkers: Walkers) -> Array:
    r"""Estimate of log Z, :math:`\log Z_0 + \log \frac1N \sum_i e^{A_i}`, in nats.

    The estimate of Z is unbiased; that of log Z is too low on average. It holds for walkers
    that had no influence on the path of targets: of walkers by which a model was trained it
    is biased, and it may be far off.

    Parameters
    ----------
    walkers
        N walkers.

    Returns
    -------
    Array
        A scalar.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.ones(3), lambda x: -(x**2) / 2, ula.init, 2.0)
    >>> float(walkers.log_partition_function(ensemble))
    2.0
    """
    return walkers.initial_log_partition_function + weights.log_mean_exp(walkers.log_weights)


def log_partition_function_error(walkers: Walkers) -> Array:
    r"""Standard error of :func:`log_partition_function`, from this one ensemble, in nats.

    Walkers of one root share their past, and only the roots are independent. With
    :math:`P_r` the sum of the normalised weights of the walkers that descend from root r,

    .. math:: {\rm error}^2 = \frac{N \sum_r P_r^2 - 1}{N - 1},

    the relative variance of :math:`\hat Z`: without resampling the sample variance of the
    weights; after it, the error that was there before stays, though the weights are equal
    again. That families grow and shrink by the chance of resampling itself counts as error
    too: hardly with systematic resampling, more with stratified; with multinomial resampling
    the error comes out up to twice too large.

    What was lost at walls (``walkers.leakage``) is added in squares: a bias, not a spread, but
    log Z is not known better than that.

    Near 1 a single root is left, the walkers know nothing of their spread any more, and
    log Z is not to be believed. And no walker knows of a mode that none has visited.

    Like the estimate it belongs to, it holds for walkers that had no influence on the path
    of targets. References: Chan and Lai, *Annals of Statistics* 41 (2013) 2877; Lee and
    Whiteley, *Biometrika* 105 (2018) 609.

    Parameters
    ----------
    walkers
        N ≥ 2 walkers, all of an ensemble.

    Returns
    -------
    Array
        A scalar, in [0, 1] where no walker was lost; NaN if none is alive. Not for a block of
        a pool, whose roots are all over the pool: NaN where that shows.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> ensemble = walkers.init(jnp.ones(4), lambda x: -(x**2) / 2, ula.init)
    >>> ensemble = ensemble._replace(log_weights=jnp.log(jnp.array([1.0, 1.0, 0.0, 0.0])))
    >>> round(float(walkers.log_partition_function_error(ensemble)), 4)  # sqrt(1/3)
    0.5774
    """
    num_walkers = walkers.log_weights.shape[0]
    families = jax.ops.segment_sum(
        weights.normalize(walkers.log_weights), walkers.roots, num_walkers
    )
    is_whole = jnp.max(walkers.roots) < num_walkers
    error = jnp.hypot(weights.relative_error(families), walkers.leakage)
    return jnp.where(is_whole, error, jnp.nan)


def draw_block(rng_key: PRNGKey, num_walkers: int, block_size: int) -> Array:
    """Choose a block of walkers at random, at a cost that does not grow with the pool.

    The pool is cut into ``block_size`` strata of consecutive walkers, and one is drawn
    uniformly from each. So no walker is drawn twice, each is drawn equally often (to within
    the rounding of the strata), and walkers of any two strata meet.

    Parameters
    ----------
    rng_key
        A key of ``jax.random``.
    num_walkers
        N, the size of the pool.
    block_size
        N', how many to draw.

    Returns
    -------
    Array
        Ascending indices, int32, shape ``(block_size,)``.

    Raises
    ------
    ValueError
        If not 1 ≤ N' ≤ N.

    Examples
    --------
    >>> import jax
    >>> draw_block(jax.random.key(0), 4, 4).tolist()
    [0, 1, 2, 3]
    """
    if not 1 <= block_size <= num_walkers:
        raise ValueError(
            f"a block must hold between 1 walker and all {num_walkers} of them; "
            f"got block_size={block_size}"
        )
    width, longer = divmod(num_walkers, block_size)
    stratum = jnp.arange(block_size, dtype=jnp.int32)
    # The first `longer` strata have one walker more.
    start = stratum * width + jnp.minimum(stratum, longer)
    size = width + (stratum < longer)
    return start + jax.random.randint(rng_key, (block_size,), 0, size, jnp.int32)


def take(walkers: Walkers, indices: Array) -> Walkers:
    """Take a block of walkers out of a pool.

    A block is itself a properly weighted ensemble for the target by which it is weighed
    next, whatever was done to the other walkers meanwhile, if it is chosen without regard
    to where its walkers stand.

    Parameters
    ----------
    walkers
        The pool.
    indices
        Distinct indices, shape ``(N',)``, e.g. from :func:`draw_block`.

    Returns
    -------
    Walkers
        The N' walkers.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> pool = walkers.init(jnp.arange(4.0), lambda x: -(x**2) / 2, ula.init)
    >>> walkers.take(pool, jnp.array([1, 3])).position.tolist()
    [1.0, 3.0]
    """
    state, log_weights, roots = jax.tree.map(
        lambda leaf: leaf.at[indices].get(mode="promise_in_bounds"),
        (walkers.state, walkers.log_weights, walkers.roots),
    )
    return walkers._replace(state=state, log_weights=log_weights, roots=roots)


def put(walkers: Walkers, indices: Array, block: Walkers) -> Walkers:
    """Put a block back where :func:`take` took it.

    Parameters
    ----------
    walkers
        The pool.
    indices
        The indices that the block was taken with.
    block
        The N' walkers.

    Returns
    -------
    Walkers
        The pool with the block in it.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from jarzynski_jax import walkers
    >>> from jarzynski_jax.kernels import ula
    >>> pool = walkers.init(jnp.arange(4.0), lambda x: -(x**2) / 2, ula.init)
    >>> indices = jnp.array([1, 3])
    >>> block = walkers.take(pool, indices)
    >>> walkers.put(pool, indices, block).position.tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    state, log_weights, roots = jax.tree.map(
        lambda pool, part: pool.at[indices].set(
            part, mode="promise_in_bounds", unique_indices=True
        ),
        (walkers.state, walkers.log_weights, walkers.roots),
        (block.state, block.log_weights, block.roots),
    )
    # Of the pool's weight the block has its share.
    lost = (block.leakage - walkers.leakage) * indices.shape[0] / walkers.log_weights.shape[0]
    return walkers._replace(
        state=state, log_weights=log_weights, roots=roots, leakage=walkers.leakage + lost
    )


def _leading_axis(positions: Position) -> int:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(positions)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        raise ValueError(
            "positions must have a common leading axis of at least one walker on every "
            f"leaf; got shapes {shapes}"
        )
    return shapes[0][0]
