"""Image data: files that are fine, files that are not, choices by class, blocks of pixels."""

import gzip
import os
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets

from jarzynski_jax import data

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def _idx(values):
    """The bytes of an IDX file, written independently of the loader."""
    code = CODES[values.dtype.str[1:]]
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return (
        bytes([0, 0, code, values.ndim])
        + sizes
        + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["values", "values.gz"])
@pytest.mark.parametrize("dtype", CODES)
def test_idx_of_every_dtype(tmp_path, dtype, name, compress):
    values = np.random.default_rng(0).normal(0, 50, (3, 2, 4)).astype(dtype)
    path = tmp_path / name
    path.write_bytes(compress(_idx(values)))
    loaded = data.load_idx(path)
    assert loaded.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(loaded, values)


GOOD = _idx(np.arange(24, dtype="i2").reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with the magic number of IDX"),
        (b"\0\0\x08", "must begin with the magic number of IDX"),
        (b"\x89PNG" + GOOD, "must begin with the magic number of IDX"),
        (b"\0\0\x0a\x01" + GOOD[4:], "must hold a dtype of IDX, .* it holds 0x0A"),
        (b"\0\0\x08\0\x05", "1 to 64 dimensions; it says 0"),
        (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"\x05", "1 to 64 dimensions; it says 255"),
        (GOOD[:10], "3 sizes of 4 bytes each; it ends after 10"),
        (b"\0\0\x08\x02" + bytes(8), r"no size 0; it says shape \(0, 0\)"),
        (GOOD[:-1], r"48 bytes of values, .* \(2, 3, 4\) of int16; it holds 47"),
        (GOOD + b"\0", r"48 bytes of values, .* it holds 49"),
        (b"\0\0\x0e\x03" + b"\xff" * 12 + b"12", "it holds 2"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_wrong_idx_is_refused(tmp_path, compress, content, message):
    path = tmp_path / "train-images"
    path.write_bytes(compress(content))
    with pytest.raises(ValueError, match=f"train-images .*{message}"):
        data.load_idx(path)


def test_damaged_gzip_is_refused_wherever_it_is_cut_or_changed(tmp_path):
    packed = gzip.compress(GOOD, mtime=0)
    cut = [packed[:length] for length in range(len(packed))]
    # Past the header of gzip, where a time stamp may be anything.
    flipped = [
        packed[:i] + bytes([packed[i] ^ 0xFF]) + packed[i + 1 :] for i in range(10, len(packed))
    ]
    path = tmp_path / "train-images.gz"
    for content in [*cut, *flipped, packed + b"more"]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="train-images"):
            data.load_idx(path)


def test_missing_idx_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*nothing"):
        data.load_idx(tmp_path / "nothing")


PIXELS = np.random.default_rng(0).integers(0, 256, (30, 28, 28)).astype(np.uint8)
PIXELS[0, 0, :2] = 0, 255
LABELS = (np.arange(30) % 10).astype(np.uint8)


def _write_mnist(folder, prefix="train", pixels=PIXELS, labels=LABELS):
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(pixels))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(labels)))


def test_mnist_from_a_folder(tmp_path):
    _write_mnist(tmp_path)
    _write_mnist(tmp_path, "t10k", PIXELS[:4], LABELS[:4])
    train = data.load_mnist(tmp_path)
    assert train.images.dtype == np.float32
    assert train.images.shape == (30, 28, 28)
    assert train.images[0, 0, :2].tolist() == [-1, 1]
    np.testing.assert_allclose((train.images + 1) * 127.5, PIXELS, atol=1e-4)
    assert train.labels.dtype == np.int32
    np.testing.assert_array_equal(train.labels, LABELS)
    test = data.load_mnist(tmp_path, name="fashion-mnist", part="test")
    np.testing.assert_array_equal(test.images, train.images[:4])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pixels": PIXELS.astype("i2")}, "it holds .* of int16"),
        ({"pixels": LABELS}, r"\(n, h, w\) of uint8; it holds shape \(30,\) .* 'labels'"),
        ({"labels": PIXELS}, r"\(n,\) of uint8; it holds shape \(30, 28, 28\)"),
        ({"labels": LABELS.astype("i4")}, "it holds .* of int32"),
        ({"labels": LABELS[:7]}, r"30 images and labels of shape \(7,\)"),
    ],
)
def test_wrong_mnist_is_refused(tmp_path, files, message):
    _write_mnist(tmp_path, **files)
    with pytest.raises(ValueError, match=message):
        data.load_mnist(tmp_path)


def test_other_images_in_mnists_files(tmp_path):
    """Of another size, and of more classes than ten."""
    _write_mnist(tmp_path, pixels=PIXELS[:, :14, :20], labels=LABELS + np.uint8(100))
    _write_mnist(tmp_path, "t10k", PIXELS[:4, :14], LABELS[:4])
    train = data.load_mnist(tmp_path)
    assert train.images.shape == (30, 14, 20)
    np.testing.assert_array_equal(train.labels, LABELS + 100)
    with pytest.raises(ValueError, match=r"one size; .* of \(14, 20\) and of \(14, 28\)"):
        data.load_split(data.Source("mnist", str(tmp_path)))


def test_missing_files_of_mnist_are_named(tmp_path):
    _write_mnist(tmp_path)
    names = "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each with or without .gz"
    with pytest.raises(ValueError, match=names):
        data.load_mnist(tmp_path, part="test")
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"there is no train-labels-idx1-ubyte$"):
        data.load_mnist(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere must hold .* there is no train-images"):
        data.load_mnist(tmp_path / "nowhere")


def test_unknown_name_and_part_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\('mnist', 'fashion-mnist'\); got 'kmnist'"):
        data.load_mnist(None, name="kmnist")
    for load in (data.load_mnist, data.load_cifar10):
        with pytest.raises(ValueError, match=r"\('train', 'test'\); got 't10k'"):
            load(tmp_path, part="t10k")


def _openml(value=None, num_images=70_000, num_labels=70_000):
    """As scikit-learn gives it: pixels float64, labels strings; image k is all k % 256."""
    shades = np.arange(num_images) % 256.0 if value is None else np.full(num_images, value)
    pixels = np.broadcast_to(shades[:, None], (num_images, 784))
    target = np.array([str(k % 10) for k in range(num_labels)], dtype=object)
    return SimpleNamespace(data=pixels, target=target)


@pytest.mark.parametrize(
    ("name", "openml_name"), [("mnist", "mnist_784"), ("fashion-mnist", "Fashion-MNIST")]
)
@pytest.mark.parametrize(
    ("part", "first", "size"), [("train", 0, 60_000), ("test", 60_000, 10_000)]
)
def test_mnist_from_openml(monkeypatch, name, openml_name, part, first, size):
    calls = []
    monkeypatch.setattr(
        sklearn.datasets,
        "fetch_openml",
        lambda *args, **kw: calls.append((args, kw)) or _openml(),
    )
    images, labels = data.load_mnist(None, name, part)
    options = {"version": 1, "as_frame": False, "parser": "liac-arff"}
    assert calls == [((openml_name,), options)]
    assert images.shape == (size, 28, 28)
    assert images.dtype == np.float32
    order = np.arange(first, first + size)
    np.testing.assert_allclose(images[:, 5, 7], order % 256 / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(labels, order % 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_images": 69_999}, r"must be 70000 images .* \(69999, 784\)"),
        ({"num_labels": 60_000}, r"must be 70000 images .* \(60000,\)"),
        ({"value": 0.5}, "whole numbers from 0 to 255; got values from 0.5 to 0.5"),
        ({"value": 256.0}, "whole numbers from 0 to 255; got values from 256.0"),
    ],
)
def test_wrong_answer_of_openml_is_refused(monkeypatch, options, message):
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *_, **__: _openml(**options))
    with pytest.raises(ValueError, match=message):
        data.load_mnist(None, part="test")


def test_openml_out_of_reach_says_what_else_can_be_done(monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fail)
    with pytest.raises(ValueError, match=r"no route to host.* a folder with its IDX files"):
        data.load_mnist(None)


def _labelled(counts):
    """Images that carry their own number, with so many of each class, in mixed order."""
    labels = np.random.default_rng(1).permutation(
        np.repeat(list(counts), list(counts.values()))
    )
    images = np.arange(len(labels), dtype=np.float32)[:, None, None] * np.ones((1, 2, 2))
    return data.LabelledImages(images, labels.astype(np.int32))


THREE = _labelled({2: 41, 3: 50, 6: 33, 8: 9})


@pytest.mark.parametrize(
    ("proportions", "num_samples", "expected"),
    [
        ((4, 2, 1), 35, (20, 10, 5)),
        ((4, 2, 1), None, (40, 20, 10)),
        ((8, 4, 2), None, (40, 20, 10)),
        ((1, 1, 1), None, (33, 33, 33)),
        ((1, 2, 3), None, (11, 22, 33)),
        (np.array([4, 2, 1]), 7, (4, 2, 1)),
    ],
)
def test_classes_in_exact_proportions(proportions, num_samples, expected):
    chosen = data.select_classes(THREE, (2, 3, 6), proportions, num_samples)
    assert [int(np.sum(chosen.labels == label)) for label in (2, 3, 6)] == list(expected)
    assert len(chosen.images) == len(chosen.labels) == sum(expected)
    origin = chosen.images[:, 0, 0].astype(int)
    assert len(set(origin)) == sum(expected)
    np.testing.assert_array_equal(chosen.labels, THREE.labels[origin])


def test_choice_of_classes_is_shuffled_and_fixed_by_the_seed():
    first, again, other = (
        data.select_classes(THREE, (2, 3, 6), (4, 2, 1), 35, seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert set(first.images[:, 0, 0]) != set(other.images[:, 0, 0])
    # Sorted by class there would be two changes of class; shuffled, 20 on average.
    assert np.sum(np.diff(first.labels) != 0) > 10


@pytest.mark.parametrize(
    ("classes", "proportions", "num_samples", "message"),
    [
        ((2, 7), (1, 1), None, r"some of \[2, 3, 6, 8\]; got \(2, 7\)"),
        ((), (), None, r"some of \[2, 3, 6, 8\]; got \(\)"),
        ((2, 3, 2), (1, 1, 1), None, r"must not be repeated; got \(2, 3, 2\)"),
        ((2, 3), (1, 1, 1), None, r"one for each of the classes \(2, 3\); got \(1, 1, 1\)"),
        ((2, 3), (1, 0), None, r"positive whole numbers; got \(1, 0\)"),
        ((2, 3), (1, -1), None, "positive whole numbers"),
        ((2, 3), (0.5, 0.5), None, "positive whole numbers"),
        ((2, 3, 6), (4, 2, 1), 36, r"positive multiple of 7, for .* \(4, 2, 1\); got 36"),
        ((2, 3, 6), (4, 2, 1), 0, "positive multiple of 7"),
        ((2, 3, 6), (4, 2, 1), -7, "positive multiple of 7"),
        (
            (2, 3, 6),
            (4, 2, 1),
            77,
            r"77 samples .* need \(44, 22, 11\) .* there are \(41, 50, 33\), enough for 70",
        ),
        ((2, 8), (1, 10), None, r"11 samples .* need \(1, 10\) .* there are \(41, 9\)"),
    ],
)
def test_impossible_choice_is_refused(classes, proportions, num_samples, message):
    with pytest.raises(ValueError, match=message):
        data.select_classes(THREE, classes, proportions, num_samples)


def test_choice_needs_a_label_for_each_image():
    with pytest.raises(ValueError, match="133 images and 132 labels"):
        data.select_classes(THREE._replace(labels=THREE.labels[1:]), (2,), (1,))


def test_shrink_averages_blocks_and_keeps_the_mean():
    gray = np.random.default_rng(0).normal(size=(5, 28, 28)).astype(np.float32)
    colour = np.random.default_rng(0).normal(size=(2, 6, 9, 3)).astype(np.float32)
    assert data.shrink(gray).shape == (5, 14, 14)
    assert data.shrink(gray).dtype == np.float32
    np.testing.assert_allclose(
        data.shrink(gray)[3, 2, 5], gray[3, 4:6, 10:12].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        data.shrink(colour, 3)[1, 0, 2], colour[1, :3, 6:].mean(axis=(0, 1)), rtol=1e-5
    )
    np.testing.assert_array_equal(data.shrink(gray, 1), gray)


@pytest.mark.parametrize("factor", [3, 0, -2, 56])
def test_shrink_refuses_what_does_not_divide(factor):
    with pytest.raises(ValueError, match=f"height 28 and width 28; got {factor}"):
        data.shrink(np.zeros((2, 28, 28), np.float32), factor)


@pytest.mark.parametrize("images", [np.zeros((28, 28)), np.zeros((2, 28, 28), np.uint8)])
def test_shrink_refuses_what_are_not_images_of_floats(images):
    with pytest.raises(ValueError, match="floats of shape"):
        data.shrink(images)


TRAIN_BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]


def _write_cifar(folder, num_images=2):
    """Six files whose pixels tell file, record, channel, row and column; returns the pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, num_images, 3, 32, 32))
    for number, name in enumerate([*TRAIN_BATCHES, "test_batch.bin"]):
        records = [
            bytes([number]) + image.astype(np.uint8).tobytes() for image in pixels[number]
        ]
        (folder / name).write_bytes(b"".join(records))
    return pixels


def test_cifar_from_a_folder(tmp_path):
    pixels = _write_cifar(tmp_path)
    train, test = data.load_cifar10(tmp_path), data.load_cifar10(tmp_path, "test")
    assert train.images.shape == (10, 32, 32, 3)
    assert train.images.dtype == np.float32
    assert train.images.flags.c_contiguous
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert test.labels.tolist() == [5, 5]
    for channel in range(3):
        expected = pixels[:, :, channel] / 127.5 - 1
        np.testing.assert_allclose(
            train.images[..., channel].reshape(5, 2, 32, 32), expected[:5], atol=1e-6
        )
        np.testing.assert_allclose(test.images[..., channel], expected[5], atol=1e-6)


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(2 * 3073 + 1)])
def test_cifar_of_another_size_is_refused(tmp_path, content):
    _write_cifar(tmp_path)
    (tmp_path / "data_batch_3.bin").write_bytes(content)
    message = f"data_batch_3.bin .* multiple of 3073 bytes.* it holds {len(content)}"
    with pytest.raises(ValueError, match=message):
        data.load_cifar10(tmp_path)


def test_cifar_with_another_label_is_refused(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073) + bytes([10]) + bytes(3072))
    with pytest.raises(ValueError, match="labels from 0 to 9; got labels from 0 to 10"):
        data.load_cifar10(tmp_path, "test")


def test_missing_files_of_cifar_are_named(tmp_path):
    _write_cifar(tmp_path)
    (tmp_path / "data_batch_2.bin").unlink()
    message = "data_batch_1.bin, .*data_batch_5.bin; there is no data_batch_2.bin$"
    with pytest.raises(ValueError, match=message):
        data.load_cifar10(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_pickles_of_cifar_are_refused(tmp_path, part):
    for name in [*TRAIN_BATCHES, "test_batch.bin"]:
        (tmp_path / name.removesuffix(".bin")).write_bytes(b"\x80\x02}")
    with pytest.raises(ValueError, match="the binary version is needed"):
        data.load_cifar10(tmp_path, part)


def test_real_mnist_has_the_subset_of_the_thesis():
    """With the folder of the four files in JARZYNSKI_JAX_MNIST."""
    folder = os.environ.get("JARZYNSKI_JAX_MNIST")
    if not folder:
        pytest.skip("JARZYNSKI_JAX_MNIST does not say where the files of MNIST are")
    train, test = (data.load_mnist(Path(folder), part=part) for part in ("train", "test"))
    assert train.images.shape == (60_000, 28, 28)
    assert test.images.shape == (10_000, 28, 28)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # MNIST's mean pixel is 0.1307 of white.
    assert abs((train.images.mean(dtype=np.float64) + 1) / 2 - 0.1307) < 1e-4
    digits, shares = (2, 3, 6), (4, 2, 1)
    subset = data.select_classes(train, digits, shares, 9800)
    assert np.bincount(subset.labels).tolist() == [0, 0, 5600, 2800, 0, 0, 1400]
    assert np.bincount(data.select_classes(train, digits, shares).labels)[2] == 5956
    assert np.bincount(data.select_classes(test, digits, shares).labels)[2] == 1032
    assert data.shrink(subset.images).shape == (9800, 14, 14)
