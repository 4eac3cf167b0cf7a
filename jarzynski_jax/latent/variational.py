r"""Training on a variational bound, for every model with latents of this room.

.. math:: L(\theta) = -\frac1B \sum_b E_\varepsilon\left[A_\theta(x_b, \varepsilon)\right]
          \quad\text{or}\quad
          -\frac1B \sum_b E\left[\log\frac1K \sum_k e^{A_\theta(x_b, \varepsilon_k)}\right]

Both are above the cross entropy. The noise does not depend on the parameters, so the gradient
of the sampled value is unbiased for that of its mean (reparameterisation). One sample a datum
is enough.

References: Kingma and Welling, 2014; Burda, Grosse and Salakhutdinov, 2016.
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax

from jarzynski_jax.latent.latent_model import LatentModel
from jarzynski_jax.training import Objective
from jarzynski_jax.training.gradient_descent import descent_objective
from jarzynski_jax.types import Array, Params, PRNGKey
from jarzynski_jax.weights import log_mean_exp

__all__ = ["Bound", "binarize", "variational"]

#: With the rate in closed form; all of A sampled; the importance-weighted bound.
Bound = Literal["closed_form", "sampled", "importance_weighted"]

#: ``(rng_key, batch) -> batch``.
Prepare = Callable[[PRNGKey, Array], Array]


def variational(
    model: LatentModel,
    optimizer: optax.GradientTransformation,
    *,
    bound: Bound = "sampled",
    num_samples: int = 1,
    prepare: Prepare | None = None,
) -> Objective:
    """Train a model with latents on data; the loss is minus the bound, in nats an observation.

    Parameters
    ----------
    bound
        ``"closed_form"`` or ``"sampled"``, two estimators of the same evidence lower bound; or
        ``"importance_weighted"``.
    num_samples
        K, latents an observation.
    prepare
        What is done to each batch anew, such as :func:`binarize`; data are checked behind it.

    Returns
    -------
    Objective
        ``init(rng_key, params, data)``, where the data are checked; metrics
        :class:`~jarzynski_jax.training.gradient_descent.DescentMetrics`.

    Raises
    ------
    ValueError
        If the bound is unknown or the model has no part in closed form, ``num_samples`` is not
        positive, or data are none of the model.

    Examples
    --------
    >>> from flax import nnx
    >>> from jarzynski_jax import training
    >>> from jarzynski_jax.latent import autoencoder, outputs
    >>> model, params = autoencoder.make_autoencoder(
    ...     (3,), 1, (), outputs.gaussian(), rngs=nnx.Rngs(0)
    ... )
    >>> objective = variational(autoencoder.as_latent_model(model), optax.adam(0.05))
    >>> x = jax.random.normal(jax.random.key(0), (500, 3)) * jnp.array([3.0, 1.0, 1.0])
    >>> state = objective.init(jax.random.key(1), params, x)
    >>> result = training.fit(
    ...     jax.random.key(2), objective, state, x, num_steps=300, batch_size=100
    ... )
    >>> bool(result.metrics.loss[-50:].mean() < 6)  # at best the entropy, 5.36 nats
    True
    """
    if bound not in get_args(Bound):
        raise ValueError(f"bound must be one of {get_args(Bound)}; got {bound!r}")
    if bound == "closed_form" and model.averaged is None:
        raise ValueError("this model has no bound partly in closed form: take 'sampled'")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}")
    value_fn = model.averaged if bound == "closed_form" else model.log_weight
    assert value_fn is not None
    average = log_mean_exp if bound == "importance_weighted" else jnp.mean

    def check(rng_key: PRNGKey, params: Params, data: Array) -> None:
        model.check(data if prepare is None else prepare(rng_key, jnp.asarray(data)))

    def loss_fn(rng_key: PRNGKey, batch: Array, params: Params) -> tuple[Array, tuple[()]]:
        key_prepare, key_noise = jax.random.split(rng_key)
        if prepare is not None:
            batch = prepare(key_prepare, batch)
        model.check(batch)
        shape = (batch.shape[0], num_samples, *model.noise_shape)
        noise = jax.random.normal(key_noise, shape, batch.dtype)

        def of_one(x: Array, noise: Array) -> Array:
            return average(jax.vmap(value_fn, (None, None, 0))(params, x, noise))

        return -jnp.mean(jax.vmap(of_one)(batch, noise)), ()

    wrong_batch = "a variational bound needs a batch of data; got None"
    return descent_objective(loss_fn, optimizer, wrong_batch, check=check)


def binarize(rng_key: PRNGKey, images: Array) -> Array:
    """Draw pixels 0 or 1, by grey levels in [0, 1] that are their probabilities of a 1.

    Examples
    --------
    >>> binarize(jax.random.key(0), jnp.array([0.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    drawn = jax.random.uniform(rng_key, images.shape, images.dtype) < images
    return drawn.astype(images.dtype)
