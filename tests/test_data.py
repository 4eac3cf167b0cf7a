"""Data: files that are fine, files that are not, splits and mini-batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jarzynski_jax import data


def test_digits_are_scaled_images():
    images = data.load_digits()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (-1, 1)


@pytest.mark.parametrize("shape", [(20, 3), (20, 4, 5)])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_from_files(tmp_path, shape, suffix):
    values = np.random.default_rng(0).normal(size=shape)
    path = tmp_path / f"samples{suffix}"
    np.save(path, values) if suffix == ".npy" else np.savez(path, data=values, other=[1])
    loaded = data.load(str(path))
    assert loaded.dtype == np.float64
    np.testing.assert_array_equal(loaded, values)


@pytest.mark.parametrize("num_channels", [1, 3, 4])
@pytest.mark.parametrize("is_first", [False, True])
def test_channels_of_images_go_last(tmp_path, num_channels, is_first):
    """Four, of colours and opacity, are last in every file; one channel needs no axis."""
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 5, num_channels), np.uint8)
    path = tmp_path / "images.npz"
    np.savez(path, data=np.moveaxis(images, -1, 1) if is_first else images)
    if (num_channels, is_first) == (4, True):
        with pytest.raises(ValueError, match=r"shape \(20, 4, 6, 5\) is neither"):
            data.load_array(path)
        return
    loaded = data.load_array(path)
    assert loaded.dtype == np.float32
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, images[..., 0] if num_channels == 1 else images)


def test_labels_are_those_of_the_samples(tmp_path):
    path = tmp_path / "samples.npz"
    labels = np.arange(20, dtype=np.uint8) % 3
    np.savez(path, data=np.zeros((20, 2)), labels=labels)
    np.testing.assert_array_equal(data.load_labels(str(path)), labels)
    centres, shapes = data.load_digits()[:, 3:5, 3:5], data.load_labels("digits")
    # Zeros have a hole where ones have ink.
    assert centres[shapes == 0].mean() < -0.5 < 0.5 < centres[shapes == 1].mean()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"holds no labels.* numpy\.savez\('samples\.npz', data=\.\.\., labels=\.\.\.\)"),
        (np.arange(19), r"one integer for each of the 20 samples; it holds int64 of .*\(19,\)"),
        (np.arange(20.0), "it holds float64"),
        (np.full(20, "cat"), "it holds <U3"),
        (np.eye(20, 3, dtype=int), r"of shape \(20, 3\)"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, labels, message):
    path = tmp_path / "samples.npz"
    arrays = {} if labels is None else {"labels": labels}
    np.savez(path, data=np.zeros((20, 2)), **arrays)
    with pytest.raises(ValueError, match=message):
        data.load_labels(str(path))


@pytest.mark.parametrize("shape", [(3,), (4, 6), (4, 6, 3)])
def test_classes_of_a_file_are_in_their_proportions_in_both_parts(tmp_path, shape):
    """Samples tell their class; of 100 zeros, 100 ones and 40 twos, the ones are too many."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 100, 40]))
    samples = labels.reshape(-1, *(1 for _ in shape)) + np.zeros(shape)
    path = str(tmp_path / "samples.npz")
    np.savez(path, data=samples, labels=labels)
    shrink = 2 if len(shape) > 1 else 1
    source = data.Source(path, None, (0, 1, 2), (5, 2, 2), shrink)
    found = data.load_labelled_split(source)
    assert [np.bincount(part).tolist() for part in found.labels] == [[85, 34, 34], [15, 6, 6]]
    for part, of in zip(found.samples, found.labels, strict=True):
        assert part.shape[1:] == (shape if shrink == 1 else (2, 3, *shape[2:]))
        np.testing.assert_array_equal(part.reshape(len(part), -1)[:, 0], of)
    np.testing.assert_array_equal(data.load_split(source).test, found.samples.test)
    assert data.load_labelled_split(data.Source(path)).labels is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": (0, 7)}, r"classes must be some of \[0, 1\]; got \(0, 7\)"),
        ({"proportions": (2, 1)}, r"proportions \(2, 1\) need classes"),
        ({"folder": "somewhere"}, r"files of \('mnist', 'fashion-mnist'\); got somewhere"),
        ({"shrink": 2}, "images must be floats of shape"),
        ({"classes": (0, 1), "proportions": (4, 1)}, "at least 10 samples .*; it holds 5"),
    ],
)
def test_a_file_without_what_is_asked_for_is_refused(tmp_path, changes, message):
    path = tmp_path / "samples.npz"
    np.savez(path, data=np.zeros((12, 2)), labels=np.repeat([0, 1], [7, 5]))
    with pytest.raises(ValueError, match=message):
        data.load_split(data.Source(str(path))._replace(**changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("arrays")


_KINDS = ("f2", "f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


@given(
    kind=st.sampled_from(_KINDS),
    byte_order=st.sampled_from("<>"),
    order=st.sampled_from("CF"),
    values=npst.arrays(np.int8, st.sampled_from([(12, 3), (10, 2, 3)])),
)
def test_a_file_is_read_alike_whatever_holds_its_numbers(
    folder, kind, byte_order, order, values
):
    values = np.abs(values // 2)
    path = folder / "samples.npy"
    np.save(path, values.astype(byte_order + kind, order=order))
    loaded = data.load_array(path)
    np.testing.assert_array_equal(loaded, values)
    is_wide = np.dtype(kind).itemsize > (4 if kind[0] == "f" else 2)
    assert loaded.dtype.str == np.dtype(np.float64 if is_wide else np.float32).str
    assert loaded.flags.c_contiguous
    np.save(path, values.astype(np.float64))
    expected = data.load_array(path)
    coordinates = [data.find_standard_coordinates(x) for x in (loaded, expected)]
    chex.assert_trees_all_equal(*coordinates)
    np.testing.assert_array_equal(
        *(data.to_standard(coordinates[0], x) for x in (loaded, expected))
    )


@given(
    values=npst.arrays(np.float64, (12, 3), elements=st.integers(-50, 50).map(float)),
    scale=st.floats(1e-6, 1e6),
    offset=st.floats(-1e6, 1e6),
)
def test_standard_coordinates_have_no_units(values, scale, offset):
    """Offsets of up to 1e6 widths cost 6 of the 16 digits, and 1e-6 of scale as many."""
    moved = scale * (values + offset)
    plain, found = (data.find_standard_coordinates(x) for x in (values, moved))
    is_fixed = np.ptp(values, axis=0) == 0
    np.testing.assert_allclose(
        found.scale, np.where(is_fixed, 1, scale * plain.scale), rtol=1e-6
    )
    z = data.to_standard(found, moved)
    np.testing.assert_allclose(z, data.to_standard(plain, values), atol=1e-5)
    np.testing.assert_array_equal(z[:, is_fixed], 0)
    back = data.from_standard(found, z)
    np.testing.assert_allclose(back - moved, 0, atol=1e-5 * np.max(found.scale * abs(z) + 1))
    volume = data.log_volume(plain) + np.sum(~is_fixed) * np.log(scale)
    assert data.log_volume(found) == pytest.approx(volume, abs=1e-5)


@given(
    values=npst.arrays(np.float64, (12, 3), elements=st.floats(-1e6, 1e6)),
    seed=st.integers(0, 99),
)
def test_the_order_of_samples_and_columns_makes_no_difference(values, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(12), rng.permutation(3)
    plain = data.find_standard_coordinates(values)
    found = data.find_standard_coordinates(values[rows][:, columns])
    np.testing.assert_allclose(found.scale, plain.scale[columns], rtol=1e-12)
    np.testing.assert_allclose(found.mean, plain.mean[columns], atol=1e-15 * 12e6)


def test_pixels_keep_their_proportions():
    rng = np.random.default_rng(0)
    images = 1e4 + rng.normal(size=(500, 2, 3)) * np.array([[1.0, 2, 3], [4, 5, 0]])
    found = data.find_standard_coordinates(images)
    assert len(np.unique(found.scale)) == 1
    assert found.scale[0, 0] == pytest.approx(np.sqrt(np.mean(np.var(images, axis=0))))
    np.testing.assert_allclose(found.mean, images.mean(axis=0))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_a_file_cannot_hold_is_refused(tmp_path, dtype):
    rng = np.random.default_rng(0)
    far = {np.float16: 4e4, np.float32: 1.7e9, np.float64: 1e17}[dtype]
    values = np.stack([rng.normal(size=50), far + 100 * rng.normal(size=50)], axis=1)
    path = tmp_path / "samples.npy"
    np.save(path, values.astype(dtype))
    words = rf"samples\.npy vary in column 1 .* {np.dtype(dtype)} are .* apart.*1 of 2 are such"
    with pytest.raises(ValueError, match=words):
        data.load_array(path)


def test_what_no_file_of_integers_lost_is_kept(tmp_path):
    path = tmp_path / "samples.npy"
    far = 1_700_000_000 + np.arange(20).reshape(10, 2) % 3
    np.save(path, far)
    np.testing.assert_array_equal(data.load_array(path), far)
    np.save(path, far * 10**10)  # neighbours in float64 are 2048 apart there, and these 1e10
    assert data.load_array(path).std() == pytest.approx(far.std() * 1e10, rel=1e-6)
    np.save(path, far + 2**60)
    with pytest.raises(ValueError, match=r"column 0 by .* float64 are .* apart"):
        data.load_array(path)


def test_an_image_may_have_pixels_that_hardly_vary(tmp_path):
    images = np.random.default_rng(0).normal(size=(20, 2, 2)).astype(np.float32)
    images[:, 0, 0] = 1
    images[3, 0, 0] = np.nextafter(np.float32(1), np.float32(0))
    np.save(tmp_path / "samples.npy", images)
    np.testing.assert_array_equal(data.load_array(tmp_path / "samples.npy"), images)


def _bad_value(value):
    values = np.zeros((20, 3))
    values[7, 1] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (_bad_value(np.nan), "1 values that are NaN or infinite"),
        (_bad_value(np.inf), "1 values that are NaN or infinite"),
        (_bad_value(1e300), "1 values that are NaN or infinite"),
        (np.zeros(20), r"shape \(n, d\), or of images, .*; got shape \(20,\)"),
        (np.zeros((20, 2, 2, 2)), r"1, 3 or 4 channels .* shape \(20, 2, 2, 2\) is neither"),
        (np.zeros((20, 3, 8, 3)), r"shape \(20, 3, 8, 3\) could be either"),
        (np.zeros((20, 1, 1, 1)), "could be either"),
        (np.zeros((5, 2)), "at least 10 samples"),
        (np.zeros((20, 0)), "at least 10 samples"),
        (np.zeros((20, 2), complex), "real numbers"),
        (np.full((20, 2), "a"), "real numbers"),
        (np.array([{}] * 20, dtype=object), "cannot be read"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path, values, message):
    path = tmp_path / "samples.npy"
    np.save(path, values, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        data.load_array(path)


@pytest.mark.parametrize("name", ["broken.npy", "broken.npz"])
@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04 truncated"])
def test_corrupt_files_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        data.load_array(path)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "samples.npy"
    np.save(path, np.zeros((1000, 3)))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="cannot be read"):
        data.load_array(path)


def test_missing_file_and_unknown_ending_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        data.load_array(tmp_path / "nothing.npy")
    table = tmp_path / "table.csv"
    table.write_text("1,2")
    with pytest.raises(ValueError, match=r"\.npy or \.npz"):
        data.load_array(table)


def test_npz_with_several_arrays_needs_a_name(tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, a=np.zeros((20, 2)), b=np.zeros((20, 2)))
    with pytest.raises(ValueError, match="one named 'data'"):
        data.load_array(path)


def test_split_is_disjoint_complete_and_fixed():
    values = np.arange(100)[:, None]
    parts = data.split(values, 0.15)
    assert (len(parts.train), len(parts.test)) == (85, 15)
    assert sorted(np.concatenate(parts).ravel()) == list(range(100))
    np.testing.assert_array_equal(parts.test, data.split(values, 0.15).test)
    with pytest.raises(ValueError, match="leaves one part"):
        data.split(values, 1.0)


def test_batch_is_of_the_data_with_noise_of_the_right_size():
    values = jnp.arange(4.0)[:, None] * 100
    clean = data.draw_batch(jax.random.key(0), values, 1000)
    assert set(clean.ravel().tolist()) == {0.0, 100.0, 200.0, 300.0}
    noisy = data.draw_batch(jax.random.key(0), values, 20000, noise_scale=0.3)
    residual = noisy - jnp.round(noisy / 100) * 100
    # 20000 squares of a normal: the standard error of the mean square is 1 % of it.
    assert abs(float(jnp.mean(residual**2)) / 0.09 - 1) < 0.05


def test_integers_with_noise_are_floating_point():
    values = np.arange(20, dtype=np.uint8)
    labels = data.draw_batch(jax.random.key(0), values, 100)
    noisy = data.draw_batch(jax.random.key(0), values, 100, noise_scale=0.1)
    assert (labels.dtype, noisy.dtype) == (np.uint8, np.float32)
    # 100 squares of a normal: the standard error of the mean square is 14 % of it.
    assert 0.5 < float(jnp.mean((noisy - labels) ** 2)) / 0.01 < 1.5
    with pytest.raises(ValueError, match="must be real numbers; got dtype complex64"):
        data.draw_batch(jax.random.key(0), values.astype(np.complex64), 100)
    with pytest.raises(ValueError, match=r"no size 0; got shape \(0,\)"):
        data.draw_batch(jax.random.key(0), values[:0], 100)


FINE = {
    "a list": ([[1, 2], [3, 4]], np.float32),
    "numbers alone": (np.arange(5.0), np.float32),
    "bool": (np.ones((2, 2), bool), np.float32),
    "uint8": (np.ones((2, 2), np.uint8), np.float32),
    "wide integers": (np.full((2, 2), 2**24), np.float32),
    "big endian": (np.ones((2, 2), ">f8"), np.float32),
    "long double": (np.ones((2, 2), np.longdouble), np.float32),
    "float16": (np.ones((2, 2), np.float16), np.float16),
    "bfloat16": (jnp.ones((2, 2), jnp.bfloat16), jnp.bfloat16),
    "JAX's own": (jnp.ones((2, 2)), np.float32),
    "rounding errors": (np.array([[0.1], [0.1 + 2e-17], [0.3 - 0.2]]), np.float32),
    "a scalar offset": (np.array([[1e3], [1e3 + 1]]), np.float32),
}


@pytest.mark.parametrize("name", FINE)
def test_samples_become_floating_point(name):
    values, dtype = FINE[name]
    found = data.as_samples(values)
    assert isinstance(found, jax.Array)
    assert found.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(found, np.float64), np.asarray(values, np.float64).astype(dtype)
    )


REFUSED = {
    "no samples": (np.ones((0, 2)), r"no size 0; got shape \(0, 2\)"),
    "no columns": (np.ones((3, 0)), r"no size 0; got shape \(3, 0\)"),
    "a scalar": (np.array(3.0), r"no size 0; got shape \(\)"),
    "complex": (np.ones((3, 2), complex), "real numbers; got dtype complex128"),
    "strings": (np.full((3, 2), "a"), "real numbers; got dtype <U1"),
    "objects": (np.array([{}] * 3), "real numbers; got dtype object"),
    "dates": (np.zeros((3, 2), "M8[s]"), "real numbers; got dtype datetime64"),
    "keys": (jax.random.split(jax.random.key(0), 3), "real numbers; got dtype key"),
    "NaN": (np.array([[1, 2], [3, np.nan], [np.inf, 1]]), "2 of 3 samples .* at index 1:"),
    "NaN in JAX": (jnp.array([1, jnp.nan]), "1 of 2 samples .* at index 1: leave them out"),
    "too large": (np.array([[1.0], [1e300]]), "finite in float32; 1 of 2 .* at index 1:"),
    "far away": (np.array([[0, 1.7e9], [2, 1.7e9 + 2]]), "in column 1 .* float32 are .* apart"),
    "far pixels": (1e9 + np.arange(8.0).reshape(2, 2, 2), r"in entry \(0, 0\) by"),
    "far numbers": (1.7e9 + np.arange(9.0), "data vary by a standard deviation of 2.58 about"),
    "int32": (np.arange(6, dtype=np.int32).reshape(3, 2) + 10**9, "column 0 .* float32 are"),
    "int64": (np.arange(6).reshape(3, 2) + 2**60, "column 0 .* float32 are .* apart"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_samples_that_are_none_are_refused(name):
    values, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        data.as_samples(values)


def test_in_64_bits_samples_stay_as_they_are(x64):
    values = np.array([[1.7e9], [1.7e9 + 2]])
    np.testing.assert_array_equal(data.as_samples(values), values)
    np.testing.assert_array_equal(data.as_samples(values.astype(np.int64)), values)
    with pytest.raises(ValueError, match=r"float64 are .* apart"):
        data.as_samples(np.arange(6).reshape(3, 2) + 2**60)


def test_fingerprint_sees_values_shape_and_dtype():
    values = np.arange(6.0)
    prints = {
        data.fingerprint(v)
        for v in (values, values + 1, values.reshape(2, 3), values.astype(np.float32))
    }
    assert len(prints) == 4


def test_known_samples_are_checked_where_a_function_is_traced():
    good, bad = jnp.ones((3, 2)), jnp.array([[1.0, jnp.nan]])
    assert jax.jit(lambda: data.as_samples(good).sum())() == 6
    with pytest.raises(ValueError, match="1 of 1 samples are not"):
        jax.jit(lambda: data.as_samples(bad).sum())()
