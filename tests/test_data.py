"""Data: files that are fine, files that are not, splits and mini-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, values.astype(np.float32))


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
        (np.zeros(20), r"shape \(n, d\) or \(n, h, w\); got shape \(20,\)"),
        (np.zeros((20, 2, 2, 2)), "got shape"),
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


def test_fingerprint_sees_values_shape_and_dtype():
    values = np.arange(6.0)
    prints = {
        data.fingerprint(v)
        for v in (values, values + 1, values.reshape(2, 3), values.astype(np.float32))
    }
    assert len(prints) == 4
