"""What `quantize_embeddings` takes and refuses is what sentence-transformers' takes and refuses."""

from __future__ import annotations

import logging
from importlib.util import find_spec

import numpy as np
import pytest

from requant import DimensionError, InputError, NonFiniteError
from requant.integration.sentence_transformers import Calibration, quantize_embeddings
from tests.st_cases import PRECISIONS, SCALARS
from tests.st_reference import BOTH, inputs, theirs

X = inputs()["sample"]
needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="torch is not installed: tensors cannot be tested"
)


def functions(source):
    """Ours, and theirs if it is there: each must behave as the test says."""
    return [quantize_embeddings] + ([theirs().quantize_embeddings] if source != "recorded" else [])


def test_float32_is_a_copy():
    codes = quantize_embeddings(X.astype(np.float64), "float32")
    assert codes.dtype == np.float32
    assert not np.shares_memory(quantize_embeddings(X, "float32"), X)


@pytest.mark.parametrize("source", BOTH)
def test_nothing_stays_nothing(source):
    for quantize in functions(source):
        assert quantize([], "int8") == []
        for precision, width, dtype in (
            ("float32", 12, np.float32),
            ("int8", 12, np.int8),
            ("uint8", 12, np.uint8),
            ("binary", 2, np.int8),
            ("ubinary", 2, np.uint8),
        ):
            codes = quantize(np.zeros((0, 12), np.float32), precision)
            assert (codes.shape, codes.dtype) == ((0, width), dtype)


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_lists(source, precision):
    for quantize in functions(source):
        expected = quantize(X, precision)
        np.testing.assert_array_equal(quantize(list(X), precision), expected)


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_matrices_share_their_ranges(source, precision):
    for quantize in functions(source):
        expected = quantize(X, precision)
        parts = quantize([X[:70], X[70:71], X[71:71], X[71:]], precision)
        assert [len(part) for part in parts] == [70, 1, 0, 49]
        np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("precision", SCALARS)
def test_one_embedding_has_no_ranges(source, precision):
    for quantize in functions(source):
        for one in (X[:1], X[0], [X[0]]):
            with pytest.raises(ValueError, match="from a single embedding"):
                quantize(one, precision)


@pytest.mark.parametrize("source", BOTH)
def test_codes_are_not_quantized_again(source):
    for quantize in functions(source):
        for dtype in (np.int8, np.uint8):
            with pytest.raises(Exception, match="must be float rather than int8 or uint8"):
                quantize(np.ones((3, 8), dtype), "binary")


@pytest.mark.parametrize("source", BOTH)
def test_an_unknown_precision(source):
    for quantize in functions(source):
        with pytest.raises(ValueError, match="Precision 'int4' is not supported"):
            quantize(X, "int4")


@pytest.mark.parametrize("source", BOTH)
def test_few_embeddings_are_warned_about(source, caplog):
    for quantize in functions(source):
        with caplog.at_level(logging.WARNING):
            quantize(X[:99], "int8")
        assert "Computing int8 quantization buckets based on 99 embeddings" in caplog.text
        caplog.clear()
        quantize(X[:100], "int8")
        quantize(X[:5], "int8", calibration_embeddings=X)
        quantize(X[:5], "binary")
        assert not caplog.records


@needs_torch
@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensors(source, precision):
    import torch

    for quantize in functions(source):
        for dtype in (torch.float32, torch.float16, torch.float64, torch.bfloat16):
            tensor = torch.from_numpy(X).to(dtype)
            plain = (tensor.float() if dtype == torch.bfloat16 else tensor).numpy()
            expected = quantize(plain, precision)
            for given in (tensor, list(tensor)):
                codes = quantize(given, precision)
                assert isinstance(codes, np.ndarray)
                np.testing.assert_array_equal(codes, expected)
        parts = quantize([torch.from_numpy(X[:50]), torch.from_numpy(X[50:])], precision)
        np.testing.assert_array_equal(np.concatenate(parts), quantize(X, precision))


def test_ranges_may_be_a_calibration_or_its_path(tmp_path):
    calibration = Calibration.fit(X, "small")
    calibration.save(tmp_path / "small.rqnt")
    expected = quantize_embeddings(X, "int8")
    for ranges in (calibration, tmp_path / "small.rqnt", str(tmp_path / "small.rqnt")):
        np.testing.assert_array_equal(quantize_embeddings(X[:3], "int8", ranges), expected[:3])
    np.testing.assert_array_equal(np.asarray(calibration), inputs()["ranges"])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dialect", ["6", "5"])
def test_what_is_not_finite_is_refused(precision, value, dialect):
    bad = X.copy()
    bad[37, 3] = value
    with pytest.raises(NonFiniteError, match="row 37"):
        quantize_embeddings(bad, precision, ranges=inputs()["ranges"], dialect=dialect)
    if precision in SCALARS:
        with pytest.raises(NonFiniteError, match="row 37"):
            quantize_embeddings(bad, precision)


@pytest.mark.parametrize(
    ("embeddings", "precision", "options", "error", "text"),
    [
        (X, "int8", {"ranges": np.zeros((2, 5))}, DimensionError, "24 dimensions"),
        (X, "int8", {"ranges": np.zeros((3, 24))}, InputError, "ranges"),
        (X, "int8", {"ranges": [[1.0] * 24, [0.0] * 24]}, InputError, "exceeds"),
        (X, "int8", {"dialect": "7"}, InputError, "dialect"),
        (X, "int8", {"calibration_embeddings": X[:, :5]}, DimensionError, "24 dimensions"),
        (np.array(["a"]), "int8", {}, InputError, "real numbers"),
        (X.astype(complex), "binary", {}, InputError, "real numbers"),
        ([[1.0], [1.0, 2.0]], "binary", {}, InputError, "array"),
        (X.reshape(6, 20, 24), "int8", {}, InputError, r"\(n, d\)"),
    ],
)
def test_what_cannot_be_meant(embeddings, precision, options, error, text):
    with pytest.raises(error, match=text):
        quantize_embeddings(embeddings, precision, **options)
