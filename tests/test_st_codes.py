"""Codes equal sentence-transformers' bit for bit, in both dialects."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from requant import quantizers
from requant.integration.sentence_transformers import quantize_embeddings
from tests.st_cases import PRECISIONS, SCALARS, code_cases, old_cases
from tests.st_reference import BOTH, answers, inputs, recorded


@pytest.mark.parametrize("source", BOTH)
def test_codes_are_equal(source):
    expected, found = answers(source), code_cases(quantize_embeddings, inputs())
    assert found.keys() == expected.keys()
    for name, codes in found.items():
        assert codes.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(codes, expected[name], err_msg=name)


def test_codes_of_old_releases_are_equal():
    expected = recorded("5")
    found = old_cases(partial(quantize_embeddings, dialect="5"), inputs())
    assert found.keys() == expected.keys()
    for name, codes in found.items():
        assert codes.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(codes, expected[name], err_msg=name)


def test_the_dialects_differ():
    vectors = inputs()["sample"]
    new, old = (quantize_embeddings(vectors, "int8", dialect=one) for one in ("6", "5"))
    assert 0.3 < (new != old).mean() < 0.7


@pytest.mark.parametrize("precision", SCALARS)
def test_a_collection_can_follow_either_dialect(precision):
    vectors = inputs()["sample"]
    for dialect, release in (("sentence-transformers", "6"), ("sentence-transformers-5", "5")):
        fitted = quantizers.fit(precision, vectors, dialect=dialect)
        again = quantizers.from_bytes(quantizers.to_bytes(fitted))
        expected = quantize_embeddings(vectors, precision, dialect=release)
        np.testing.assert_array_equal(again.encode(vectors), expected)
        worst = np.abs(fitted.decode(expected) - vectors) / fitted.steps
        assert worst.max() < (1.01 if release == "5" else 0.51)


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 5000])
@pytest.mark.parametrize("dim", [1, 3, 8, 384])
def test_chunks_do_not_show(rows, dim):
    rng = np.random.default_rng(rows * dim)
    x = rng.standard_normal((rows, dim)).astype(np.float32)
    ranges = np.stack([np.full(dim, -2.5), np.full(dim, 1.5)]).astype(np.float32)
    steps = (ranges[1] - ranges[0]) / 255
    expected = np.clip(np.floor((x - ranges[0]) / steps), 0, 255)
    np.testing.assert_array_equal(quantize_embeddings(x, "uint8", ranges), expected)
    np.testing.assert_array_equal(quantize_embeddings(x, "int8", ranges), expected - 128)
    bits = np.packbits(x > 0, axis=1)
    np.testing.assert_array_equal(quantize_embeddings(x, "ubinary"), bits)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_order_in_memory_does_not_matter(precision):
    x = inputs()["sample"]
    expected = quantize_embeddings(x, precision)
    np.testing.assert_array_equal(quantize_embeddings(np.asfortranarray(x), precision), expected)
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(quantize_embeddings(wide, precision), expected)
