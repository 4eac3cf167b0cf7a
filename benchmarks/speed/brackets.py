"""A step of a decoder's bracket, an image, beside the gradient of its log joint alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.speed.timing import Case
from jarzynski_jax import latent
from jarzynski_jax.latent import outputs
from jarzynski_jax.latent.autoencoder import Autoencoder
from jarzynski_jax.types import Array, Params, PRNGKey

_NUM_REPLICATES = 2


class Sizes(NamedTuple):
    """Of an autoencoder of square binary images, and how many there are and walkers of each."""

    length: int
    latent_dim: int
    width: int
    num_images: int
    num_walkers: int


STANDARD = Sizes(length=28, latent_dim=40, width=100, num_images=50, num_walkers=16)
QUICK = Sizes(length=8, latent_dim=10, width=64, num_images=10, num_walkers=4)


def bracket_cases(sizes: Sizes, num_steps: int) -> dict[str, Case]:
    """Both bounds by steps forward and back; and as many ascents of the log joint.

    A step is one of all walkers of one image. Two replicates run one after the other, each
    forward and back; the ascents are of as many latents at once, all images side by side.
    """
    shape = (sizes.length, sizes.length)
    vae, params = latent.make_autoencoder(
        shape, sizes.latent_dim, (sizes.width,), outputs.bernoulli(), rngs=nnx.Rngs(0)
    )
    key_images, key_latents, key_run = jax.random.split(jax.random.key(0), 3)
    images = jax.random.bernoulli(key_images, 0.2, (sizes.num_images, *shape))
    images = images.astype(jnp.float32)
    per_image = sizes.num_walkers * _NUM_REPLICATES
    z = jax.random.normal(key_latents, (sizes.num_images, per_image, sizes.latent_dim))
    model, log_joint = latent.as_latent_model(vae), log_joint_of(vae)

    def bracket(params: Params, images: Array, rng_key: PRNGKey) -> tuple[Array, Array]:
        bounds = latent.likelihood_bounds(
            *(rng_key, model, params, images, jnp.arange(1, num_steps + 1) / num_steps),
            num_walkers=sizes.num_walkers,
            num_replicates=_NUM_REPLICATES,
        )
        return bounds.forward, bounds.backward

    def ascend(params: Params, images: Array, z: Array) -> tuple[Array, Array]:
        of_image = jax.vmap(jax.value_and_grad(log_joint, 2), (None, None, 0))

        def step(z: Array, _: None) -> tuple[Array, Array]:
            values, slopes = jax.vmap(of_image, (None, 0, 0))(params, images, z)
            return z + 1e-3 * slopes, values

        return jax.lax.scan(step, z, None, 2 * num_steps)

    num_image_steps = 2 * num_steps * sizes.num_images
    return {
        "bracket": Case(bracket, (params, images, key_run), num_image_steps),
        "gradients alone, in one array": Case(ascend, (params, images, z), num_image_steps),
    }


def log_joint_of(vae: Autoencoder) -> Callable[[Params, Array, Array], Array]:
    """Log p(x, z) of one image and one latent, by the decoder."""

    def log_joint(params: Params, x: Array, z: Array) -> Array:
        log_likelihood = jnp.sum(vae.output.log_prob(vae.decode(params, z), x))
        return log_likelihood + jnp.sum(jax.scipy.stats.norm.logpdf(z))

    return log_joint
