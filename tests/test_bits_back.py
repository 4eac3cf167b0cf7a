"""Bits back: net bits, round trips, seed words, and files that are refused.

Of a mixture with its exact posterior the net bits are -Σ log2 p(x) whatever latents come out.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from zscore import test_key

from jarzynski_jax import latent, training
from jarzynski_jax.app import cli
from jarzynski_jax.latent import (
    autoencoder,
    bits_back,
    coded_file,
    latent_codec,
    outputs,
    saved_model,
    variational,
)
from jarzynski_jax.latent.entropy_coder import BitStack, OutOfBits

RNG = np.random.default_rng(0)
ALL = "images"


# ---------------------------------------------------------------- the stack


def test_a_stack_gives_back_what_it_was_given():
    words = RNG.integers(0, 2**32, 20, dtype=np.uint32)
    words[-1] = 0  # a last word of zero counts
    stack, odds = BitStack(words), RNG.dirichlet(np.ones(5), 10)
    drawn = stack.pop(odds)
    symbols = RNG.integers(0, 5, 10)
    stack.push(symbols, odds)
    again = BitStack.from_sealed(stack.sealed_words())
    assert np.array_equal(again.pop(odds), symbols)
    again.push(drawn, odds)
    assert np.array_equal(again.words(), words)
    assert again.num_bits == 640


def test_the_length_is_that_of_the_symbols():
    """Of 24-bit probabilities, to 6e-3 bits a symbol at worst, measured 1e-4."""
    odds = RNG.dirichlet(np.ones(7), 5000)
    symbols = np.array([RNG.choice(7, p=row) for row in odds])
    stack = BitStack(np.zeros(4, np.uint32))
    stack.push(symbols, odds)
    exact = -np.sum(np.log2(odds[np.arange(5000), symbols]))
    assert abs(stack.num_bits - 128 - exact) < 1 + 5000 * 2e-4


def test_a_symbol_that_cannot_be_costs_24_bits():
    stack = BitStack(np.zeros(4, np.uint32))
    stack.push(np.array([1]), np.array([[1.0, 0.0]]))
    assert stack.num_bits == 128 + 24


@pytest.mark.parametrize(
    ("odds", "said"),
    [
        (np.array([[0.5, np.nan]]), "finite"),
        (np.array([[0.5, np.inf]]), "finite"),
        (np.array([[1.1, -0.1]]), "not negative"),
        (np.array([[0.0, 0.0]]), "not all zero"),
        (np.array([[0.5, 0.5]], np.float32), "float64"),
        (np.array([0.5, 0.5]), r"shape \(S, M\)"),
    ],
)
def test_odds_that_are_none_are_refused(odds, said):
    stack = BitStack(np.arange(9, dtype=np.uint32))
    for call in (lambda: stack.pop(odds), lambda: stack.push(np.array([0]), odds)):
        with pytest.raises(ValueError, match=said):
            call()


def test_symbols_that_are_none_are_refused():
    stack, odds = BitStack(np.arange(9, dtype=np.uint32)), np.array([[0.5, 0.5]])
    with pytest.raises(ValueError, match="from 0 to 1; got 2 to 2"):
        stack.push(np.array([2]), odds)
    with pytest.raises(ValueError, match="1 integers, one a row"):
        stack.push(np.array([1.0]), odds)
    with pytest.raises(ValueError, match="words must be uint32"):
        BitStack(np.arange(9))


def test_an_empty_stack_does_not_make_up_symbols():
    with pytest.raises(OutOfBits, match="more seed words"):
        BitStack(np.arange(2, dtype=np.uint32)).pop(np.full((40, 2), 0.5))


# ---------------------------------------------------------------- a mixture


@pytest.fixture(scope="module")
def mixture():
    """A codec with the exact posterior, its images, and -log2 p of each."""
    rng = np.random.default_rng(1)
    shares, odds = rng.dirichlet(np.ones(4) * 5), rng.uniform(0.05, 0.95, (4, 30))
    images = (rng.random((400, 30)) < odds[rng.choice(4, 400, p=shares)]).astype(np.int64)

    def log_joint(image):
        return np.log(shares) + np.log(np.where(image, odds, 1 - odds)).sum(axis=1)

    def posterior(image):
        log_p = log_joint(image)
        return np.exp(log_p - np.logaddexp.reduce(log_p))[None]

    def likelihood(symbols):
        of = odds[symbols[0]]
        return np.stack([1 - of, of], axis=1)

    codec = latent_codec.Codec(
        posterior, likelihood, shares[None], (30,), 1, lambda images: None
    )
    costs = [-np.logaddexp.reduce(log_joint(image)) / math.log(2) for image in images]
    return codec, images, np.array(costs)


def test_net_bits_are_those_of_the_model(mixture):
    codec, images, costs = mixture
    coded = bits_back.encode(codec, images, num_seed_words=50)
    assert abs(coded.num_bits - costs.sum()) < 2
    assert np.array_equal(bits_back.decode(codec, coded), images)


def test_with_the_exact_posterior_more_latents_gain_nothing(mixture):
    codec, images, costs = mixture
    codec = codec._replace(num_samples=3)
    coded = bits_back.encode(codec, images)
    assert abs(coded.num_bits - costs.sum()) < 2
    assert np.array_equal(bits_back.decode(codec, coded), images)


def test_canary_without_bits_back_the_posterior_is_paid(mixture):
    codec, images, costs = mixture
    stack, rng = BitStack(np.zeros(4, np.uint32)), np.random.default_rng(2)
    lost = 0.0
    for image in images:
        posterior = codec.posterior(image)
        symbol = rng.choice(4, 1, p=posterior[0])
        lost -= np.log2(posterior[0, symbol[0]])
        stack.push(image, codec.likelihood(symbol))
        stack.push(symbol, codec.prior)
    assert abs(stack.num_bits - 128 - costs.sum() - lost) < 2
    assert lost > 20


# ---------------------------------------------------------------- autoencoders


@pytest.fixture(scope="module")
def coins():
    """An autoencoder of binary images, its encoder trained, and images that it draws."""
    architecture = saved_model.Architecture((4, 4), 2, (8,), "bernoulli", 2)
    vae, params = saved_model.build(architecture)
    params["decoder"] = jax.tree.map(lambda leaf: 2 * leaf, params["decoder"])
    data = autoencoder.sample(test_key("data"), vae, params, 2000)
    model = latent.as_latent_model(vae)
    objective = variational.variational(model, optax.adam(0.01))
    state = objective.init(test_key("init"), params, data)
    result = training.fit(
        test_key("fit"), objective, state, data, num_steps=500, batch_size=100
    )
    params = result.state.params
    images = np.asarray(autoencoder.sample(test_key("coins"), vae, params, 400), np.int64)
    images[:2] = np.arange(2)[:, None, None]  # one all 0, one all 1
    return architecture, vae, params, images


@pytest.fixture(scope="module")
def log_weights(coins):
    _, vae, params, images = coins
    x, model = jnp.asarray(images, jnp.float32), latent.as_latent_model(vae)
    found = latent.draw_log_weights(test_key("weights"), model, params, x, 1000)
    return np.asarray(found, np.float64)


def test_the_rate_is_the_bound(coins, log_weights):
    """Within the discretisation, with 2^8 intervals, and the chance of the latents drawn."""
    _, vae, params, images = coins
    codec = latent_codec.make_codec(vae, params)
    coded = bits_back.encode(codec, images)
    bound = -log_weights.mean() / math.log(2)
    chance = log_weights.std(axis=1).mean() / math.log(2) / math.sqrt(len(images))
    assert abs(coded.num_bits / len(images) - bound) < 4.5 * chance + 0.005 * bound
    assert np.array_equal(bits_back.decode(codec, coded), images)


def test_the_rate_of_more_latents_is_the_importance_weighted_bound(coins, log_weights):
    _, vae, params, images = coins
    codec = latent_codec.make_codec(vae, params, num_samples=10)
    coded = bits_back.encode(codec, images)
    sets = log_weights.reshape(len(images), 100, 10)
    values = -(np.logaddexp.reduce(sets, axis=2) - math.log(10)) / math.log(2)
    chance = values.std(axis=1).mean() / math.sqrt(len(images))
    rate, single = coded.num_bits / len(images), -log_weights.mean() / math.log(2)
    assert abs(rate - values.mean()) < 4.5 * chance + 0.005 * values.mean()
    assert rate < single - 0.1
    assert np.array_equal(bits_back.decode(codec, coded), images)


def test_one_latent_of_the_general_coder_is_plain_bits_back(coins):
    _, vae, params, images = coins
    codec, image = latent_codec.make_codec(vae, params), images[5]
    stacks = [BitStack(np.arange(40, dtype=np.uint32)) for _ in range(2)]
    bits_back.push_image(stacks[0], codec, image)
    latents = stacks[1].pop(codec.posterior(image))
    stacks[1].push(image.reshape(-1), codec.likelihood(latents))
    stacks[1].push(latents, codec.prior)
    assert np.array_equal(stacks[0].sealed_words(), stacks[1].sealed_words())


def test_grey_levels_come_back():
    vae, params = latent.make_autoencoder(
        (6,), 2, (8,), outputs.discretized_logistic(17), rngs=nnx.Rngs(0)
    )
    images = np.concatenate(
        [RNG.integers(0, 17, (20, 6)), np.zeros((1, 6), int), np.full((1, 6), 16)]
    )
    codec = latent_codec.make_codec(vae, params, num_samples=2)
    assert np.array_equal(bits_back.decode(codec, bits_back.encode(codec, images)), images)


def test_too_few_seed_words_are_told_and_none_are_found(coins):
    _, vae, params, images = coins
    codec = latent_codec.make_codec(vae, params)
    with pytest.raises(OutOfBits, match="more seed words"):
        bits_back.encode(codec, images, num_seed_words=1)
    # K latents need about K times as many.
    few = bits_back.encode(codec, images[:3]).num_seed_words
    many = bits_back.encode(codec._replace(num_samples=10), images[:3]).num_seed_words
    assert few < many < 12 * few


def test_what_cannot_be_coded_is_refused(coins):
    _, vae, params, images = coins
    codec = latent_codec.make_codec(vae, params)
    with pytest.raises(ValueError, match="whole numbers from 0 to 1; got 2"):
        bits_back.encode(codec, images + 1)
    with pytest.raises(ValueError, match="of the model"):
        bits_back.encode(codec, images[:, :3])
    with pytest.raises(ValueError, match="num_latent_bits must be from 1 to 16"):
        latent_codec.make_codec(vae, params, 17)
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        latent_codec.make_codec(vae, params, num_samples=0)
    real, params = latent.make_autoencoder((3,), 1, (), outputs.gaussian(), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="cannot be coded without loss"):
        latent_codec.make_codec(real, params)


def test_damaged_words_do_not_decode(coins):
    _, vae, params, images = coins
    codec = latent_codec.make_codec(vae, params)
    coded = bits_back.encode(codec, images)
    words = coded.words.copy()
    words[3] ^= 4
    for wrong in (words, coded.words[1:]):
        with pytest.raises(ValueError, match="seed words did not come back"):
            bits_back.decode(codec, coded._replace(words=wrong))


def test_files_of_another_model_or_machine_are_refused(coins):
    architecture, vae, params, images = coins
    codec = latent_codec.make_codec(vae, params)
    mark = saved_model.fingerprint(architecture, params)
    content = coded_file.to_bytes(bits_back.encode(codec, images), codec, mark, images)
    again = coded_file.from_bytes(content, codec, mark)
    assert np.array_equal(bits_back.decode(codec, again), images)
    other = codec._replace(posterior=lambda image: codec.posterior(image) + 1e-9)
    for wrong, said in (
        (lambda: coded_file.from_bytes(content, codec, "0" * 64), "of another model"),
        (lambda: coded_file.from_bytes(content, other, mark), "this machine computes"),
        (lambda: coded_file.read_header(content[:-1]), "truncated or damaged"),
        (lambda: coded_file.read_header(content[:60]), "header cannot be read"),
        (lambda: coded_file.read_header(b"PK" + content[2:]), "no file of compressed images"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()


# ---------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, images, and what one of them compressed."""
    folder = tmp_path_factory.mktemp("compression")
    images = np.random.default_rng(3).integers(0, 3, (40, 3, 3)).astype(np.uint8)
    np.save(folder / "images.npy", images)
    options = ("--latent-dim", "2", "--hidden", "4", "--steps", "20", "--batch-size", "10")
    for seed in ("0", "1"):
        command(
            "train-autoencoder",
            folder / "images.npy",
            "--out",
            folder / f"model{seed}.npz",
            "--seed",
            seed,
            *options,
        )
    command("compress", folder / "model0.npz", folder / "images.npy", "--out", folder / ALL)
    return folder


def command(*arguments):
    status = cli.main([str(argument) for argument in arguments])
    assert status == 0
    return status


def test_images_come_back_bit_for_bit(folder, capsys):
    out = folder / "again.npz"
    command("decompress", folder / "model0.npz", folder / ALL, "--out", out)
    assert "40 images" in capsys.readouterr().out
    with np.load(out) as arrays:
        images, original = arrays["images"], np.load(folder / "images.npy")
        assert images.dtype == original.dtype
        assert np.array_equal(images, original)


def test_annealed_images_come_back_bit_for_bit(folder):
    model, file, out = folder / "model0.npz", folder / "annealed", folder / "annealed.npz"
    images = folder / "images.npy"
    command("compress", model, images, "--out", file, "--annealing-steps", "2")
    command("decompress", model, file, "--out", out)
    with np.load(out) as arrays:
        assert np.array_equal(arrays["images"], np.load(images))
    assert coded_file.read_header(file.read_bytes())[0]["num_annealing_steps"] == 2


def refuse(folder, capsys, said, *arguments):
    before = sorted(folder.iterdir())
    assert cli.main([str(argument) for argument in arguments]) == 2
    assert said in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_bad_input_is_told_and_nothing_is_written(folder, capsys):
    model, out = folder / "model0.npz", folder / "new.npz"
    content = (folder / ALL).read_bytes()
    bad = folder / "bad"
    for name, wrong in (("short", content[:-3]), ("flipped", content[:-3] + b"abc")):
        bad.write_bytes(wrong)
        (
            refuse(
                folder, capsys, "truncated or damaged", "decompress", model, bad, "--out", out
            ),
            name,
        )
    np.save(folder / "four.npy", np.full((10, 3, 3), 3))
    np.save(folder / "wide.npy", np.zeros((10, 3, 4), int))
    np.save(folder / "half.npy", np.full((10, 3, 3), 0.5))
    np.save(folder / "none.npy", np.zeros((0, 3, 3), int))
    for said, *arguments in (
        ("of another model", "decompress", folder / "model1.npz", folder / ALL),
        ("no file of compressed images", "decompress", model, model),
        ("there is no file", "decompress", model, folder / "missing"),
        (
            "cannot be read as a trained autoencoder",
            "compress",
            folder / ALL,
            folder / "four.npy",
        ),
        ("whole numbers from 0 to 2; got 3", "compress", model, folder / "four.npy"),
        ("of the model; got (10, 3, 4)", "compress", model, folder / "wide.npy"),
        ("to 2; got 0.5", "compress", model, folder / "half.npy"),
        ("whole numbers from 0 up", "train-autoencoder", folder / "half.npy"),
        ("of shape", "train-autoencoder", folder / "none.npy"),
        ("images must be digits", "train-autoencoder", folder / "missing.npy"),
    ):
        refuse(folder, capsys, said, *arguments, "--out", out)
    steps = ("--annealing-steps", "2", "--num-samples", "2")
    images = folder / "images.npy"
    refuse(
        *(folder, capsys, "num_samples must be 1 with", "compress", model, images, *steps),
        *("--out", out),
    )
    refuse(
        folder,
        capsys,
        "there already",
        "compress",
        model,
        folder / "images.npy",
        "--out",
        folder / ALL,
    )
