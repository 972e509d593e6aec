"""sentence-transformers' codes, bit for bit: by its formulas, and as its 6.2.0 made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from requant import quantizers
from requant.quantizers import BinaryQuantizer, MinMaxQuantizer

RECORDED = Path(__file__).parent / "data" / "sentence_transformers.npz"


def theirs(x, ranges, precision):
    """`quantize_embeddings` of sentence-transformers 6, line by line."""
    starts = ranges[0, :]
    steps = (ranges[1, :] - starts) / 255
    steps = np.where(steps == 0, 1, steps)
    values = np.clip(np.floor((x - starts) / steps), 0, 255)
    return values.astype(np.uint8) if precision == "uint8" else (values - 128).astype(np.int8)


@pytest.fixture(scope="module")
def recorded():
    """The recorded codes; tests/data/make_sentence_transformers.py made them."""
    with np.load(RECORDED) as file:
        return dict(file)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_scalar_codes_equal_the_recorded_ones(recorded, precision):
    fitted = quantizers.fit(precision, recorded["sample"], dialect="sentence-transformers")
    np.testing.assert_array_equal(fitted.encode(recorded["vectors"]), recorded[precision])
    half = recorded["vectors"].astype(np.float16)
    np.testing.assert_array_equal(fitted.encode(half), recorded[f"{precision}_half"])


def test_binary_codes_equal_the_recorded_ones(recorded):
    vectors = recorded["vectors"]
    fitted = quantizers.fit("binary", vectors, dialect="sentence-transformers")
    codes = fitted.encode(vectors)
    np.testing.assert_array_equal(codes, recorded["ubinary"])
    np.testing.assert_array_equal((codes ^ 0x80).view(np.int8), recorded["binary"])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dim=st.integers(1, 40), precision=st.sampled_from(["int8", "uint8"]))
def test_scalar_codes_follow_the_formulas(data, dim, precision):
    floats = st.floats(-1e4, 1e4, width=32)
    sample = data.draw(arrays(np.float32, (data.draw(st.integers(2, 12)), dim), elements=floats))
    x = data.draw(arrays(np.float32, (data.draw(st.integers(1, 12)), dim), elements=floats))
    ranges = np.stack([sample.min(axis=0), sample.max(axis=0)])
    fitted = MinMaxQuantizer.fit(sample, precision)
    with np.errstate(over="ignore"):
        expected = theirs(x, ranges, precision)
    np.testing.assert_array_equal(fitted.encode(x), expected)


@pytest.mark.parametrize("dim", [1, 6, 8, 13, 384])
def test_signs_are_packed_bits(dim):
    x = np.random.default_rng(dim).standard_normal((9, dim)).astype(np.float32)
    x[0] = 0
    plain = quantizers.fit("binary", x, bits=1, centre=False, rotate=False)
    expected = np.packbits(x > 0, axis=1)
    np.testing.assert_array_equal(plain.encode(x), expected)
    np.testing.assert_array_equal(BinaryQuantizer.signs(dim).encode(x), expected)


def test_the_folded_query_ranks_as_the_decoded_vectors_do():
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((500, 48)) * rng.uniform(0.1, 2, 48)).astype(np.float32)
    fitted = MinMaxQuantizer.fit(x)
    query = rng.standard_normal((20, 48)).astype(np.float32)
    products = fitted.encode_query(query, "ip").astype(float) @ fitted.encode(x).T.astype(float)
    decoded = query.astype(float) @ fitted.decode(fitted.encode(x)).T.astype(float)
    for mine, exact in zip(products, decoded, strict=True):
        assert np.corrcoef(mine, exact)[0, 1] > 0.999


def test_a_dead_dimension_does_not_take_the_range_of_the_query():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((300, 16)).astype(np.float32)
    x[:, 3] = 1000.0
    fitted = MinMaxQuantizer.fit(x)
    query = x[:1].copy()
    assert fitted.encode_query(query, "ip")[0, 3] == 0
    assert np.abs(fitted.encode_query(query, "ip")).max() == 127


def test_ranges_are_checked():
    with pytest.raises(ValueError, match="at least 2 sample rows"):
        MinMaxQuantizer.fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match="dimension 1"):
        MinMaxQuantizer.from_ranges([[0.0, 3.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"\(2, d\)"):
        MinMaxQuantizer.from_ranges([[0.0, 3.0]])
