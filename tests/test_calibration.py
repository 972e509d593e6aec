"""Calibrations survive a file, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from requant import Calibration, CorruptDataError, InputError, NonFiniteError, quantizers
from requant.quantizers import MinMaxQuantizer

X = np.random.default_rng(5).standard_normal((50, 6)).astype(np.float32)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "news.rqnt"
    fitted = Calibration.fit(X, "news")
    fitted.save(path)
    loaded = Calibration.load(path)
    np.testing.assert_array_equal(loaded.ranges, [X.min(axis=0), X.max(axis=0)])
    assert (loaded.name, loaded.rows, loaded.dim) == ("news", 50, 6)
    assert repr(loaded) == "<Calibration 'news': 6 dimensions of 50 embeddings>"
    assert [one.name for one in path.parent.iterdir()] == ["news.rqnt"]


def test_every_flipped_byte_is_seen(tmp_path):
    path = tmp_path / "a"
    Calibration.fit(X).save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptDataError):
            Calibration.load(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(CorruptDataError):
        Calibration.load(path)


def test_a_quantizer_is_no_calibration(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(quantizers.to_bytes(MinMaxQuantizer.fit(X)))
    with pytest.raises(CorruptDataError, match="not a calibration"):
        Calibration.load(path)
    with pytest.raises(FileNotFoundError):
        Calibration.load(tmp_path / "none")


@pytest.mark.parametrize(
    "embeddings", [X[:1], X[0], [], (X * 10).astype(np.int8), np.zeros((3, 4), np.int64)]
)
def test_what_has_no_ranges(embeddings):
    with pytest.raises(InputError):
        Calibration.fit(embeddings)


def test_what_is_not_finite():
    bad = X.copy()
    bad[3, 3] = np.inf
    with pytest.raises(NonFiniteError):
        Calibration.fit(bad)


def test_large_samples_are_read_in_chunks():
    large = np.random.default_rng(1).standard_normal((5000, 130))
    ranges = Calibration.fit(large).ranges
    np.testing.assert_array_equal(ranges[0], large.min(axis=0).astype(np.float32))
    np.testing.assert_array_equal(ranges[1], large.max(axis=0).astype(np.float32))
