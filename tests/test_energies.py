"""Energies: the Gaussian base, the mixture with its exact log Z, the network, both forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import integrate
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from zscore import assert_biased, assert_unbiased, replicate, test_key

from jarzynski_jax import walkers, weights
from jarzynski_jax.energies import (
    MLP,
    GaussianBase,
    OnGaussianBase,
    Standardized,
    TwoModeMixture,
    fit_gaussian_base,
    functional,
    gaussian_base,
    make_gaussian_base,
    mixture,
)
from jarzynski_jax.kernels import ula

COVARIANCES = ["full", "diagonal", "isotropic"]
each_covariance = pytest.mark.parametrize("covariance", COVARIANCES)


def data(num=400, dimension=3):
    """Correlated samples, off the origin, of unequal variances."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(dimension, dimension)) + np.diag(np.arange(1.0, dimension + 1))
    return (rng.normal(size=(num, dimension)) @ mixing + np.arange(dimension)).astype(
        np.float32
    )


def expected_covariance(values, covariance, noise_scale=0.0):
    """Maximum likelihood in float64."""
    full = np.cov(values.astype(np.float64), rowvar=False, ddof=0)
    full = full + noise_scale**2 * np.eye(full.shape[0])
    return {
        "full": full,
        "diagonal": np.diag(np.diag(full)),
        "isotropic": np.diag(full).mean() * np.eye(full.shape[0]),
    }[covariance]


# ---------------------------------------------------------------- MLP


@pytest.mark.parametrize(("shape", "hidden"), [((4,), (8,)), ((2, 3), (5, 7)), ((3,), ())])
def test_mlp_is_zero_at_first(shape, hidden):
    """The function is zero for every x, and so is its gradient in x; not its parameters'."""
    energy_fn, params = functional(MLP(int(np.prod(shape)), hidden, rngs=nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(0), (10, *shape))
    value, grad = jax.vmap(jax.value_and_grad(lambda x: energy_fn(params, x)))(x)
    assert value.shape == (10,)
    assert not np.any(value)
    assert not np.any(grad)
    param_grad = jax.grad(energy_fn)(params, x[0])
    assert np.any(param_grad["last"]["kernel"])


@pytest.mark.parametrize(("num", "hidden"), [(0, (8,)), (3, (8, 0)), (-1, ())])
def test_mlp_refuses_empty_layers(num, hidden):
    with pytest.raises(ValueError, match="at least one"):
        MLP(num, hidden, rngs=nnx.Rngs(0))


def test_mlp_refuses_another_sample_size():
    with pytest.raises(ValueError, match="4 numbers"):
        MLP(4, rngs=nnx.Rngs(0))(jnp.ones(5))


def test_mlp_dtype(x64):
    for of in (jnp.float32, jnp.float64):
        model = MLP(3, (4,), param_dtype=of, rngs=nnx.Rngs(0))
        assert model(jnp.ones(3, of)).dtype == of


# ---------------------------------------------------------------- Gaussian base


@each_covariance
@pytest.mark.parametrize("noise_scale", [0.0, 0.5])
def test_base_is_the_fitted_gaussian(covariance, noise_scale):
    """exp(-U(x))/Z_0 is scipy's density with the data's mean and covariance."""
    values = data()
    base = fit_gaussian_base(values, covariance, noise_scale)
    expected = multivariate_normal(
        values.astype(np.float64).mean(0), expected_covariance(values, covariance, noise_scale)
    )
    x = values[:50] + 1
    energy = jax.vmap(lambda x: gaussian_base.energy(base, x))(x)
    log_density = -energy - gaussian_base.log_partition_function(base)
    np.testing.assert_allclose(log_density, expected.logpdf(x), rtol=1e-4, atol=1e-4)
    peak = -expected.logpdf(expected.mean)
    np.testing.assert_allclose(gaussian_base.log_partition_function(base), peak, rtol=1e-5)


def base_moments(key, base):
    x = gaussian_base.sample(key, base, 2000)
    centred = (x - base.mean).reshape(2000, -1)
    mean, covariance = centred.mean(axis=0), centred.T @ centred / 2000
    return jnp.concatenate([mean, covariance.reshape(-1)])


@each_covariance
def test_base_samples(covariance):
    """Mean and covariance of the samples; |z| < 4.5 over 64 replicates of 2000."""
    values = data()
    base = fit_gaussian_base(values, covariance)
    expected = expected_covariance(values, covariance)
    moments = replicate("base", base_moments, base)
    assert_unbiased(moments, np.concatenate([np.zeros(3), expected.reshape(-1)]))


def test_canary_a_transposed_factor_is_caught():
    """Samples with L z for L Lᵀ = Σ, not Lᵀ z."""
    values = data()
    base = fit_gaussian_base(values)
    moments = replicate("base", base_moments, base._replace(scale=base.scale.T))
    expected = expected_covariance(values, "full")
    assert_biased(moments, np.concatenate([np.zeros(3), expected.reshape(-1)]))


@each_covariance
def test_base_of_images(covariance):
    """Samples of any shape are fitted as vectors and come back in their shape."""
    flat = fit_gaussian_base(data(dimension=6), covariance)
    base = fit_gaussian_base(data(dimension=6).reshape(-1, 2, 3), covariance)
    assert base.mean.shape == (2, 3)
    x = gaussian_base.sample(jax.random.key(0), base, 5)
    assert x.shape == (5, 2, 3)
    same = gaussian_base.sample(jax.random.key(0), flat, 5)
    np.testing.assert_allclose(x.reshape(5, 6), same, rtol=1e-6)
    energies = [gaussian_base.energy(b, y) for b, y in ((base, x[0]), (flat, same[0]))]
    np.testing.assert_allclose(*energies, rtol=1e-5)
    log_zs = [gaussian_base.log_partition_function(b) for b in (base, flat)]
    np.testing.assert_allclose(*log_zs, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "kwargs", "message"),
    [
        (np.ones((5, 2)) * [[1, np.nan]], {}, "finite; 5"),
        (np.ones((5, 2)) * [[1, np.inf]], {"covariance": "diagonal"}, "finite; 5"),
        (np.ones((5, 2)), {}, "singular"),
        (np.random.default_rng(0).normal(size=(3, 5)), {}, "singular"),
        (np.arange(10.0).reshape(5, 2) * [1, 0], {"covariance": "diagonal"}, "never varies"),
        (np.ones((5, 2)), {"covariance": "isotropic"}, "never varies"),
        (np.eye(3), {"covariance": "spherical"}, "covariance must be one of"),
        (np.ones((1, 2)), {}, "n ≥ 2"),
        (np.ones(5), {}, r"\(n, \.\.\.\)"),
    ],
    ids=str,
)
def test_what_cannot_be_fitted(values, kwargs, message):
    with pytest.raises(ValueError, match=message):
        fit_gaussian_base(values, **kwargs)


@each_covariance
def test_noise_makes_a_singular_covariance_regular(covariance):
    base = fit_gaussian_base(np.ones((5, 2), np.float32), covariance, noise_scale=0.1)
    expected = np.log(2 * np.pi) + 2 * np.log(0.1)
    assert float(gaussian_base.log_partition_function(base)) == pytest.approx(
        expected, rel=1e-5
    )


def test_base_refuses_another_shape():
    base = fit_gaussian_base(data())
    with pytest.raises(ValueError, match=r"\(3,\)"):
        gaussian_base.energy(base, jnp.zeros(4))


@pytest.mark.parametrize("of", [np.float32, np.float64])
def test_base_has_the_dtype_of_the_data(of, x64):
    base = fit_gaussian_base(data().astype(of))
    x = gaussian_base.sample(jax.random.key(0), base, 2)
    for array in (*base, x, gaussian_base.energy(base, x[0])):
        assert array.dtype == of
    assert gaussian_base.log_partition_function(base).dtype == of


# ---------------------------------------------------------------- an exact start


@each_covariance
def test_exact_start(covariance):
    base = fit_gaussian_base(data(), covariance)
    energy_fn, params = functional(OnGaussianBase(base, MLP(3, (8,), rngs=nnx.Rngs(0))))
    key = test_key("start")
    positions, log_z = gaussian_base.exact_start(key, base, energy_fn, params, 20)
    np.testing.assert_array_equal(positions, gaussian_base.sample(key, base, 20))
    assert float(log_z) == float(gaussian_base.log_partition_function(base))


def with_last_layer(params, value):
    last = jnp.full_like(params["correction"]["last"]["kernel"], value)
    return {"correction": {**params["correction"], "last": {"kernel": last}}}


@pytest.mark.parametrize("value", [0.1, np.nan, np.inf])
def test_exact_start_refuses_another_start(value):
    base = fit_gaussian_base(data())
    energy_fn, params = functional(OnGaussianBase(base, MLP(3, (8,), rngs=nnx.Rngs(0))))
    with pytest.raises(ValueError, match="does not start at its Gaussian base"):
        gaussian_base.exact_start(
            jax.random.key(0), base, energy_fn, with_last_layer(params, value), 20
        )


def test_the_base_is_not_trained():
    base = fit_gaussian_base(data())
    _, params = functional(OnGaussianBase(base, MLP(3, (8,), rngs=nnx.Rngs(0))))
    assert set(params) == {"correction"}
    kept = OnGaussianBase(base, MLP(3, (8,), rngs=nnx.Rngs(0))).base
    for ours, given in zip(kept, base, strict=True):
        np.testing.assert_array_equal(ours, given)


# ---------------------------------------------------------------- standardized samples


class Recorded(nnx.Module):
    """Whatever it is handed, to be looked at."""

    def __call__(self, x):
        return x


@each_covariance
def test_standardized_samples_have_mean_zero_and_variance_one(covariance):
    values = data()
    base = fit_gaussian_base(values, covariance)
    seen = jax.vmap(Standardized(base, Recorded()))(values)
    np.testing.assert_allclose(np.mean(seen, axis=0), 0, atol=1e-5)
    assert float(np.mean(np.square(seen))) == pytest.approx(1, rel=1e-5)
    # One scale for all: what varies more than the rest still does.
    np.testing.assert_allclose(np.std(seen, axis=0), np.std(values, 0) / rms(values), rtol=1e-5)


def rms(values):
    return np.sqrt(np.mean((values - values.mean(axis=0)) ** 2))


def test_standardized_on_its_base_starts_exactly_and_trains_the_module_alone():
    base = fit_gaussian_base(data())
    network = Standardized(base, MLP(3, (8,), rngs=nnx.Rngs(0)))
    energy_fn, params = functional(OnGaussianBase(base, network))
    gaussian_base.exact_start(test_key("standardized"), base, energy_fn, params, 20)
    assert set(params) == {"correction"}
    assert set(params["correction"]) == {"module"}


def test_standardized_refuses_other_shapes():
    network = Standardized(fit_gaussian_base(data()), MLP(3, (8,), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"\(3,\); got \(2,\)"):
        network(jnp.ones(2))


# ---------------------------------------------------------------- functional form


def test_functional_form_is_the_module():
    """Same energy; new parameters go in as an argument; the module is untouched."""
    module = OnGaussianBase(fit_gaussian_base(data()), MLP(3, (8,), rngs=nnx.Rngs(1)))
    energy_fn, params = functional(module)
    x = jnp.array([0.3, -1.0, 2.0])
    assert float(jax.jit(energy_fn)(params, x)) == pytest.approx(float(module(x)), rel=1e-6)
    changed = with_last_layer(params, 0.5)
    before = float(module(x))
    assert float(energy_fn(changed, x)) != pytest.approx(before)
    module.correction.last.kernel[...] = jnp.full((8, 1), 0.5)
    assert float(energy_fn(changed, x)) == pytest.approx(float(module(x)), rel=1e-6)
    assert float(energy_fn(params, x)) == pytest.approx(before)


def test_parameters_are_plain_dictionaries():
    _, params = functional(MLP(3, (8,), rngs=nnx.Rngs(0)))
    assert type(params) is dict
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


class LinenEnergy(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.sum(x**2) / 2 + nn.Dense(1)(nn.tanh(nn.Dense(8)(x)))[0]


def linen():
    module = LinenEnergy()
    return module.apply, module.init(jax.random.key(0), jnp.zeros(2))


def nnx_module():
    base = GaussianBase(jnp.zeros(2), jnp.array(1.0), jnp.array(1.0))
    return functional(OnGaussianBase(base, MLP(2, (8,), rngs=nnx.Rngs(0))))


def plain_function():
    return lambda params, x: params["k"] * jnp.sum(x**2) / 2, {"k": jnp.array(2.0)}


@pytest.mark.parametrize("model", [linen, nnx_module, plain_function])
def test_every_kind_of_model_moves_walkers(model):
    """And each is differentiated in its parameters at the walkers."""
    energy_fn, params = model()

    @jax.jit
    def step(key, params):
        x = jax.random.normal(key, (100, 2))
        ensemble = walkers.init(x, lambda x: -energy_fn(params, x), ula.init)
        ensemble, info = walkers.move(
            key, ensemble, lambda x: -energy_fn(params, x), ula.build_kernel(), 0.1
        )
        grad = jax.vmap(jax.grad(energy_fn), (None, 0))(params, ensemble.position)
        return info, weights.weighted_mean(ensemble.log_weights, grad)

    info, grad = step(jax.random.key(0), params)
    assert np.all(info.is_finite)
    assert jax.tree.structure(grad) == jax.tree.structure(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grad))
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(grad))


# ---------------------------------------------------------------- mixture

PARAMS_1D = {"a": jnp.array([-1.5]), "b": jnp.array([2.0]), "z": jnp.array(0.7)}
PARAMS_2D = {"a": jnp.array([-1.0, 0.5]), "b": jnp.array([1.5, 1.0]), "z": jnp.array(-0.8)}


def base_of(covariance, dimension):
    """A base that is neither centred nor of unit variance, or None."""
    if covariance is None:
        return None
    mean = jnp.arange(1.0, dimension + 1) / 2
    factor = jnp.eye(dimension) * 1.3 + 0.4 * jnp.tri(dimension, k=-1)
    return {
        "full": lambda: GaussianBase(mean, factor, jnp.linalg.inv(factor)),
        "diagonal": lambda: GaussianBase(mean, 0.8 + 0.3 * mean, 1 / (0.8 + 0.3 * mean)),
        "isotropic": lambda: GaussianBase(mean, jnp.array(1.7), jnp.array(1 / 1.7)),
    }[covariance]()


def numpy_energy(params, base, x):
    """In float64, x of shape (n, d)."""
    x = np.asarray(x, np.float64)
    a, b, z = (np.asarray(params[name], np.float64) for name in "abz")
    terms = [-((x - a) ** 2).sum(1) / 2, -((x - b) ** 2).sum(1) / 2 - z]
    energy = -logsumexp(terms, axis=0)
    if base is not None:
        factor = np.asarray(base.scale, np.float64) * (
            np.eye(a.size) if base.scale.ndim < 2 else 1
        )
        whitened = np.linalg.solve(factor, (x - np.asarray(base.mean, np.float64)).T)
        energy = energy + (whitened**2).sum(0) / 2
    return energy


def grid_moments(params, base, half_width=12.0):
    """Z and the mean position by quadrature, in one dimension or two.

    The trapezoidal rule is exact to rounding for smooth functions that vanish at the ends.
    """
    axis, step = np.linspace(-half_width, half_width, 481, retstep=True)
    dimension = params["a"].size
    x = np.stack(np.meshgrid(*[axis] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    density = np.exp(-numpy_energy(params, base, x)) * step**dimension
    z = density.sum()
    return z, density @ x / z


each_base = pytest.mark.parametrize("covariance", [None, *COVARIANCES])
each_mixture = pytest.mark.parametrize("params", [PARAMS_1D, PARAMS_2D], ids=["1-d", "2-d"])


@each_mixture
@each_base
def test_mixture_log_z_is_the_quadratures(params, covariance):
    base = base_of(covariance, params["a"].size)
    z, _ = grid_moments(params, base)
    log_z = mixture.log_partition_function(params, base)
    assert float(log_z) == pytest.approx(np.log(z), abs=2e-5)


@each_base
def test_mixture_log_z_is_the_adaptive_quadratures(covariance):
    base = base_of(covariance, 1)
    z, _ = integrate.quad(
        lambda x: np.exp(-numpy_energy(PARAMS_1D, base, [[x]])[0]), -12, 12, points=[-1.5, 2]
    )
    log_z = mixture.log_partition_function(PARAMS_1D, base)
    assert float(log_z) == pytest.approx(np.log(z), abs=2e-5)


@each_mixture
@each_base
def test_mixture_energy_on_a_base(params, covariance):
    """The module on the base is the sum of the two energies."""
    base = base_of(covariance, params["a"].size)
    module = TwoModeMixture(**params)
    if base is not None:
        module = OnGaussianBase(base, module)
    x = jax.random.normal(jax.random.key(0), (50, params["a"].size)) * 3
    energy = jax.vmap(module)(x)
    np.testing.assert_allclose(energy, numpy_energy(params, base, x), rtol=2e-5, atol=2e-5)


def test_mixture_functional_parameters_are_those_of_the_functions():
    energy_fn, params = functional(TwoModeMixture(**PARAMS_2D))
    x = jnp.array([0.2, -0.4])
    for name, value in PARAMS_2D.items():
        np.testing.assert_array_equal(params[name], value)
    expected = float(mixture.energy(PARAMS_2D, x))
    assert float(energy_fn(params, x)) == pytest.approx(expected, rel=1e-6)


def test_mixture_refuses_unequal_centres():
    with pytest.raises(ValueError, match="one shape"):
        TwoModeMixture(jnp.zeros(2), jnp.zeros(3), 0.0)
    with pytest.raises(ValueError, match="one shape"):
        TwoModeMixture(jnp.zeros(()), jnp.zeros(()), 0.0)


def far_away():
    """The thesis' mixture, d = 50, and walkers where both exponentials underflow."""
    a, b = jnp.zeros(50).at[0].set(-10.0), jnp.zeros(50).at[0].set(6.0)
    x = 5 * jax.random.normal(jax.random.key(0), (100, 50))
    return {"a": a, "b": b, "z": -jnp.log(3.0)}, x


def test_mixture_is_finite_far_away_in_float32():
    params, x = far_away()
    energy, grad = jax.vmap(jax.value_and_grad(lambda x: mixture.energy(params, x)))(x)
    assert np.all(np.isfinite(grad))
    np.testing.assert_allclose(energy, numpy_energy(params, None, x), rtol=1e-5)


def test_canary_the_mixture_written_with_exp_is_not():
    params, x = far_away()

    def naive(x):
        a = jnp.exp(-jnp.sum((x - params["a"]) ** 2) / 2)
        return -jnp.log(a + jnp.exp(-jnp.sum((x - params["b"]) ** 2) / 2 - params["z"]))

    grad = jax.vmap(jax.grad(naive))(x)
    assert np.any(np.isnan(grad))


def test_masses_without_a_base():
    """1/(1 + e^{-z}) at a; d = 50 and z = -ln 3 give 1/4.

    To the rounding of (d/2) ln 2π = 46 in float32, 4e-6.
    """
    params, _ = far_away()
    np.testing.assert_allclose(mixture.mode_masses(params), [0.25, 0.75], rtol=8e-6)
    assert float(mixture.log_partition_function(params)) == pytest.approx(
        25 * np.log(2 * np.pi) + np.log(4), rel=1e-6
    )


@each_base
def test_masses_are_the_integrals_of_the_modes(covariance):
    """Each mode is the mixture without the other, which z → ±∞ removes."""
    base = base_of(covariance, 2)
    at_a = grid_moments({**PARAMS_2D, "z": jnp.array(200.0)}, base)[0]
    whole = grid_moments(PARAMS_2D, base)[0]
    masses = mixture.mode_masses(PARAMS_2D, base)
    np.testing.assert_allclose(masses, [at_a / whole, 1 - at_a / whole], rtol=1e-4)


def mixture_sample_mean(key, params, base):
    return mixture.sample(key, params, 2000, base).mean(axis=0)


@each_mixture
@each_base
def test_mixture_samples_have_the_quadratures_mean(params, covariance):
    base = base_of(covariance, params["a"].size)
    _, mean = grid_moments(params, base)
    assert_unbiased(replicate("sample", mixture_sample_mean, params, base), mean)


def share_near_a(key):
    params, _ = far_away()
    x = mixture.sample(key, params, 2000)
    is_at_a = x[:, 0] < -2
    spread = jnp.sum((x - jnp.where(is_at_a[:, None], params["a"], params["b"])) ** 2, axis=1)
    return jnp.stack([is_at_a.mean(), spread.mean() / 50])


def test_mixture_samples_have_the_modes_shares():
    """A quarter is at a, and |x - centre|² is 50 on average; the modes are 16 apart."""
    assert_unbiased(replicate("share", share_near_a), [0.25, 1.0])


# ---------------------------------------------------------------- the gradient of log Z

START = {"a": jnp.array([-0.5, 0.0]), "b": jnp.array([0.5, 0.5]), "z": jnp.array(0.5)}


def path_at(fraction):
    return jax.tree.map(lambda s, e: (1 - fraction) * s + fraction * e, START, PARAMS_2D)


def weighted_gradient(key, base, is_weighted):
    """(1/N) Σ e^{A_i} (1, ∂_θ U(X_i)) after 20 steps of θ from START to PARAMS_2D."""

    def logdensity(params):
        return lambda x: -mixture.energy(params, x) - gaussian_base.energy(base, x)

    key_start, key_path = jax.random.split(key)
    x = mixture.sample(key_start, START, 2000, base)
    ensemble = walkers.init(x, logdensity(START), ula.init)

    def step(ensemble, xs):
        key, fraction = xs
        target = logdensity(path_at(fraction))
        return walkers.move(key, ensemble, target, ula.build_kernel(), 0.05)[0], None

    fractions = jnp.arange(1, 21) / 20
    ensemble, _ = jax.lax.scan(step, ensemble, (jax.random.split(key_path, 20), fractions))
    weight = jnp.where(is_weighted, jnp.exp(ensemble.log_weights), 1.0)
    grads = jax.vmap(jax.grad(mixture.energy), (None, 0))(PARAMS_2D, ensemble.position)
    mean = jax.tree.map(
        lambda g: jnp.mean(weight.reshape(-1, *[1] * (g.ndim - 1)) * g, 0), grads
    )
    return jnp.concatenate([jnp.mean(weight)[None], *(jnp.ravel(mean[name]) for name in "abz")])


def exact_gradient(base):
    """Z/Z_0 and -(Z/Z_0) ∂_θ log Z = (Z/Z_0) E[∂_θ U], by autodiff of the closed form."""
    value, grad = jax.value_and_grad(mixture.log_partition_function)(PARAMS_2D, base)
    ratio = np.exp(float(value - mixture.log_partition_function(START, base)))
    flat = np.concatenate([np.ravel(grad[name]) for name in "abz"])
    return ratio * np.append(1, -flat)


@each_covariance
def test_weighted_walkers_know_the_gradient_of_log_z(covariance):
    """E[e^A ∂_θ U] = -(Z/Z_0) ∂_θ log Z in all five parameters; |z| < 4.5."""
    base = base_of(covariance, 2)
    assert_unbiased(replicate("gradient", weighted_gradient, base, True), exact_gradient(base))


def test_canary_unweighted_walkers_do_not():
    base = base_of("full", 2)
    unweighted = replicate("gradient", weighted_gradient, base, False)
    weighted = replicate("gradient", weighted_gradient, base, True)
    ratio = exact_gradient(base)[0]
    assert_biased(ratio * unweighted[:, 1:], exact_gradient(base)[1:])
    assert_unbiased(weighted[:, 1:], exact_gradient(base)[1:])


class Forgetful(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 16, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.last = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x):
        hidden = self.drop(nnx.silu(self.first(x)))
        return self.last(self.norm(hidden[None])[0])[0]


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit, lambda f: jax.grad(f, 1)])
def test_an_energy_that_changes_its_module_is_refused(transform):
    energy_fn, params = functional(Forgetful(nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"same function at every call.*drop.*module.eval\(\)"):
        transform(energy_fn)(params, jnp.ones(2))


def test_the_same_module_in_eval_is_a_pure_function():
    module = Forgetful(nnx.Rngs(0))
    module.eval()
    energy_fn, params = functional(module)
    x = jnp.ones((3, 2))
    batched = jax.jit(jax.vmap(energy_fn, (None, 0)))
    np.testing.assert_array_equal(batched(params, x), batched(params, x))
    assert np.all(np.isfinite(jax.grad(energy_fn, 1)(params, x[0])))


@pytest.mark.parametrize("covariance", [4.0, [4.0, 9.0], [[4.0, 1.0], [1.0, 9.0]]])
def test_base_of_a_mean_and_a_covariance(covariance):
    base = make_gaussian_base(np.array([1.0, -2.0], np.float32), covariance)
    matrix = np.asarray(covariance)
    matrix = matrix if matrix.ndim == 2 else np.diag(matrix * np.ones(2))
    gaussian = multivariate_normal([1.0, -2.0], matrix)
    x = np.array([0.5, 3.0], np.float32)
    logdensity = -gaussian_base.energy(base, x) - gaussian_base.log_partition_function(base)
    assert float(logdensity) == pytest.approx(gaussian.logpdf(x), rel=1e-5)
    assert base.scale.dtype == jnp.float32


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.ones(3), r"\(2,\) or \(2, 2\); got shape \(3,\)"),
        ([1.0, -1.0], "positive definite"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        (np.nan, "positive definite"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        make_gaussian_base(np.zeros(2), covariance)
