"""Similarities of every precision on either side, beside brute force on what codes stand for."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import requant
from requant import Calibration, DimensionError, InputError, NonFiniteError
from requant.integration.sentence_transformers import quantize_embeddings
from tests import inside

RNG = np.random.default_rng(3)
SCALES = RNG.uniform(0.05, 3, 29)
X = (RNG.standard_normal((150, 29)) * SCALES + RNG.normal(0, 1, 29)).astype(np.float32)
Y = (RNG.standard_normal((40, 29)) * SCALES + RNG.normal(0, 1, 29)).astype(np.float32)
CALIBRATION = Calibration.fit(np.concatenate([X, Y]), "both")
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
TOLERANCE = {"float32": 1e-6, "int8": 0.02, "uint8": 0.02}


def code(rows, precision):
    """Rows as codes."""
    return quantize_embeddings(rows, precision, CALIBRATION)


def stands_for(rows, precision):
    """What codes stand for: signs, or (nearly) the rows."""
    return np.where(rows > 0, 1.0, -1.0) if "binary" in precision else rows.astype(float)


def cosines(a, b):
    """All cosines, in float64."""
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return a @ b.T


@pytest.mark.parametrize("left", PRECISIONS)
@pytest.mark.parametrize("right", PRECISIONS)
def test_every_pair_of_precisions(left, right):
    expected = cosines(stands_for(X, left), stands_for(Y, right))
    found = requant.similarity(code(X, left), code(Y, right), calibration=CALIBRATION)
    assert found.dtype == np.float32
    tolerance = max(TOLERANCE.get(left, 1e-6), TOLERANCE.get(right, 1e-6))
    np.testing.assert_allclose(found, expected, atol=tolerance)
    paired = requant.pairwise_similarity(
        code(X[:40], left), code(Y, right), calibration=CALIBRATION
    )
    np.testing.assert_allclose(paired, np.diag(found[:40]), atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_metrics(metric):
    a, b = X.astype(float), Y.astype(float)
    expected = {
        "cosine": cosines(a, b),
        "ip": a @ b.T,
        "l2": -((a[:, None] - b[None]) ** 2).sum(axis=2),
    }[metric]
    np.testing.assert_allclose(requant.similarity(X, Y, metric=metric), expected, rtol=1e-5)
    paired = requant.pairwise_similarity(X[:40], Y, metric=metric)
    np.testing.assert_allclose(paired, np.diag(expected[:40]), rtol=1e-5, atol=1e-6)


def test_nothing_wraps():
    ends = np.repeat(np.array([[-1], [1]], np.float32), 512, axis=1)
    largest = np.full((1, 512), 127, np.int8)
    found = requant.similarity(largest, largest, metric="ip", calibration=ends)
    assert 500 < found[0, 0] <= 512
    assert requant.similarity(largest, -largest, calibration=ends)[0, 0] < -0.99


def test_chunks_do_not_show(monkeypatch):
    whole = requant.similarity(X, code(Y, "int8"), calibration=CALIBRATION)
    monkeypatch.setattr(inside.SIMILARITY_ROWS, 7)
    parts = requant.similarity(X, code(Y, "int8"), calibration=CALIBRATION)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_each_side_may_have_a_calibration_of_its_own(tmp_path):
    mine, other = Calibration.fit(X), Calibration.fit(Y)
    other.save(tmp_path / "other.rqnt")
    a, b = (quantize_embeddings(rows, "int8") for rows in (X, np.tile(Y, (3, 1))))
    found = requant.similarity(a, b, calibration=(mine, str(tmp_path / "other.rqnt")))
    np.testing.assert_allclose(found, cosines(X, np.tile(Y, (3, 1))), atol=0.02)


def test_one_row_and_lists():
    assert requant.similarity(X[0], X[0]).tolist() == [[1.0]]
    found = requant.similarity(X[0].tolist(), X[:3].tolist())
    np.testing.assert_allclose(found, cosines(X[:1], X[:3]), atol=1e-6)
    assert requant.similarity(np.zeros((1, 29)), X[:2]).tolist() == [[0.0, 0.0]]
    assert requant.similarity(X[:0], Y).shape == (0, 40)


def test_bits_need_no_calibration():
    bits = code(X, "ubinary")
    found = requant.similarity(bits, bits, precision="ubinary", dim=29)
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-6)
    np.testing.assert_allclose(found, cosines(*[stands_for(X, "binary")] * 2), atol=1e-6)
    np.testing.assert_allclose(
        requant.similarity(bits, Y), cosines(stands_for(X, "binary"), Y), atol=1e-6
    )


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_codes_without_calibration_are_refused(precision):
    codes = code(X, precision)
    for options in ({}, {"precision": precision}):
        with pytest.raises(InputError, match="Pass calibration=") as caught:
            requant.similarity(codes, codes, **options)
        assert "cast to float" in str(caught.value)
        with pytest.raises(InputError, match="b holds"):
            requant.pairwise_similarity(X, codes, **options)


@pytest.mark.parametrize(
    ("a", "b", "options", "error"),
    [
        (X, Y[:, :20], {}, DimensionError),
        (X, Y, {"metric": "manhattan"}, InputError),
        (X, Y, {"precision": "int4"}, InputError),
        (code(X, "int8"), Y, {"precision": "uint8"}, InputError),
        (code(X, "int8"), Y, {"calibration": np.zeros((2, 7))}, InputError),
        (code(X, "ubinary"), Y[:, :8], {}, InputError),
        (np.array([["a"]]), Y, {}, InputError),
        (np.array([[np.nan] * 29]), Y, {}, NonFiniteError),
        (X[None], Y, {}, InputError),
    ],
)
def test_what_does_not_fit(a, b, options, error):
    with pytest.raises(error):
        requant.similarity(a, b, **options)


def test_pairs_need_as_many_rows():
    with pytest.raises(DimensionError, match="pairs"):
        requant.pairwise_similarity(X, Y)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: no tensors to test")
def test_tensors_in_and_out():
    import torch

    expected = requant.similarity(X, Y)
    for a, b in ((torch.from_numpy(X), Y), (X, torch.from_numpy(Y))):
        found = requant.similarity(a, b)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    half = requant.similarity(torch.from_numpy(X).bfloat16(), Y)
    np.testing.assert_allclose(half.numpy(), expected, atol=0.01)
    codes = torch.from_numpy(code(X, "int8"))
    pairs = requant.pairwise_similarity(codes, codes, calibration=CALIBRATION)
    assert torch.allclose(pairs, torch.ones(150), atol=1e-5)


def test_the_function_is_not_hidden_by_a_module():
    program = (
        "import sys, requant, requant.integration.sentence_transformers\n"
        "assert callable(requant.similarity)\n"
        "requant.similarity([[1.0]], [[1.0]])\n"
        "assert not {'torch', 'faiss', 'usearch', 'sentence_transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
