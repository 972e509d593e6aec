"""A wrapped model: codes and similarities that agree."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from requant import InputError, UnsupportedError
from requant.integration.sentence_transformers import Calibration, quantize_embeddings, wrap
from tests.st_model import Model

WORDS = ("tree", "house", "water", "stone", "bird", "cloud")
TEXTS = [f"{word} and {word[::-1]}s" for word in WORDS] * 3


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_codes_and_similarities_agree(precision, tmp_path):
    model = wrap(Model(), precision=precision)
    with pytest.raises(InputError, match="calibrate"):
        model.encode(TEXTS)
    calibration = model.calibrate(TEXTS, "small", path=tmp_path / "small.rqnt")
    floats = model.encode(TEXTS, precision="float32")
    codes = model.encode(TEXTS)
    np.testing.assert_array_equal(codes, quantize_embeddings(floats, precision, calibration))
    np.testing.assert_array_equal(model.encode(TEXTS[3]), codes[3])
    true = floats @ floats.T
    for a in (floats, codes):
        for b in (floats, codes):
            np.testing.assert_allclose(model.similarity(a, b), true, atol=0.02)
    np.testing.assert_allclose(model.similarity_pairwise(codes, codes), np.ones(18), atol=1e-6)
    again = wrap(Model(), precision=precision, calibration=tmp_path / "small.rqnt")
    np.testing.assert_array_equal(again.encode(TEXTS), codes)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_signs_need_no_calibration(precision):
    model = wrap(Model(), precision=precision)
    codes = model.encode(TEXTS)
    assert codes.shape == (18, 4)
    similarities = model.similarity(codes, codes)
    np.testing.assert_allclose(np.diag(similarities), 1, atol=1e-6)
    assert similarities.min() < 1


def test_the_rest_is_the_model():
    inner = Model()
    model = wrap(inner)
    assert model.other == "handed on"
    floats = model.encode_query(TEXTS, prompt_name="query")
    model.encode_document(TEXTS)
    assert inner.calls == [("encode_query", {"prompt_name": "query"}), ("encode", {})]
    np.testing.assert_array_equal(floats, inner.encode(TEXTS))
    assert copy.copy(model).other == "handed on"
    with pytest.raises(AttributeError, match="nothing"):
        _ = model.nothing


def test_the_model_s_own_function():
    inner = Model()
    model = wrap(inner, calibration=Calibration.fit(inner.encode(TEXTS)))
    a, b = model.encode(TEXTS[:2]) * 2, model.encode(TEXTS[2:5])
    inner.similarity_fn_name = "dot"
    np.testing.assert_allclose(model.similarity(a, b), a @ b.T, rtol=1e-5)
    inner.similarity_fn_name = "euclidean"
    expected = -np.linalg.norm(a[:, None] - b[None], axis=2)
    np.testing.assert_allclose(model.similarity(a, b), expected, rtol=1e-5)
    inner.similarity_fn_name = "manhattan"
    with pytest.raises(UnsupportedError, match="manhattan"):
        model.similarity(a, b)
