"""Codes rank as the vectors that they stand for: error bounds, thermometers, recall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requant import quantizers
from requant.errors import UnsupportedError
from requant.quantizers import CodeSpec, LevelQuantizer, levels_to_thermometer
from requant.quantizers.codes import level_values, pack_levels, unpack_levels
from requant.quantizers.distance import code_distances
from tests.inside import normalise
from tests.quantizer_kinds import KINDS, fit, gaussian

WORDNET = Path(__file__).parent.parent / "examples" / "wordnet"
THERMOMETERS = ["signs", "binary-1", "binary-2", "binary-3", "binary-4-unrotated"]


def squared(x, y):
    """Squared distances of all pairs, by their definition."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)


# Relative error of the vectors that come back, measured with a third to spare.
ERRORS = {"float16": 5e-4, "int8": 0.01, "int8-rotated": 0.012, "uint8": 0.01, "int4": 0.12,
          "int2": 0.4, "int1": 0.62, "int4-true": 0.12, "int2-true": 0.4, "int1-true": 0.62,
          "binary-true": 0.5, "binary-1": 0.7, "binary-2": 0.55, "binary-3": 0.5, "st-int8": 0.012,
          "st-uint8": 0.012}  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_decoded_vectors_are_near(kind):
    x = gaussian(1000, 64) * np.float32(3)
    x -= x.mean(axis=0)
    quantizer = fit(kind, x)
    decoded = quantizer.decode(quantizer.encode(x))
    assert np.linalg.norm(decoded - x) / np.linalg.norm(x) < ERRORS[kind]


def test_float32_comes_back_as_it_was():
    x = gaussian(50, 9)
    quantizer = fit("float32", x)
    np.testing.assert_array_equal(quantizer.decode(quantizer.encode(x)), x)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_integers_are_off_by_half_a_step_at_most(precision):
    x = gaussian(1000, 24)
    quantizer = quantizers.fit(precision, x)
    decoded = quantizer.decode(quantizer.encode(x))
    inside = np.abs(x - quantizer.affine.centre) < 127 * quantizer.scale
    assert inside.mean() > 0.99
    assert np.abs(decoded - x)[inside].max() < 0.501 * quantizer.scale


RANKED = [
    (kind, metric)
    for kind in KINDS
    if not kind.startswith("st-")  # whose steps weigh the dimensions under l2
    for metric in fit(kind, gaussian(4, 3)).metrics
    if metric != "hamming"
]


@pytest.mark.parametrize(("kind", "metric"), RANKED)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_codes_is_that_of_the_decoded_vectors(kind, metric, seed):
    x = gaussian(400, 40, seed)
    queries = gaussian(10, 40, seed + 100)
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    mine = code_distances(quantizer.encode_query(queries, metric), codes, quantizer.spec, metric)
    decoded = quantizer.decode(codes)
    asked = queries
    if metric == "l2" and not quantizer.spec.levels:  # the query is rounded as documents are
        asked = quantizer.decode(quantizer.encode(queries))
    exact = squared(asked, decoded) if metric == "l2" else -(asked @ decoded.T)
    for row, expected in zip(mine, exact, strict=True):
        assert np.corrcoef(row, expected)[0, 1] > 0.9995


@pytest.mark.parametrize("kind", THERMOMETERS)
def test_hamming_distance_counts_the_levels_between(kind):
    x = gaussian(60, 21)
    quantizer = fit(kind, x)
    values = quantizer.affine.forward(x, np.empty_like(x)) if quantizer.affine else x
    levels = sum((values > t).astype(int) for t in quantizer.thresholds)
    between = np.abs(levels[:, None, :] - levels[None, :, :]).sum(axis=2)
    codes = quantizer.encode(x)
    np.testing.assert_array_equal(code_distances(codes, codes, quantizer.spec, "hamming"), between)


@pytest.mark.parametrize("precision", ["int2", "int4"])
@pytest.mark.parametrize("dim", [1, 5, 8, 33])
def test_level_codes_become_thermometers(precision, dim):
    x = gaussian(40, dim)
    quantizer = quantizers.fit(precision, x)
    codes = quantizer.encode(x)
    levels = unpack_levels(codes, quantizer.spec).astype(int)
    bits = levels_to_thermometer(codes, quantizer.spec)
    spec = CodeSpec("binary", (len(quantizer.spec.levels) - 1) * dim)
    assert bits.shape == (40, spec.width)
    between = np.abs(levels[:, None, :] - levels[None, :, :]).sum(axis=2)
    np.testing.assert_array_equal(code_distances(bits, bits, spec, "hamming"), between)


@settings(max_examples=50, deadline=None)
@given(bits=st.sampled_from([2, 4]), n=st.integers(0, 5), dim=st.integers(1, 19), data=st.data())
def test_packed_levels_come_back(bits, n, dim, data):
    numbers = st.lists(st.integers(0, 2**bits - 1), min_size=n * dim, max_size=n * dim)
    levels = np.array(data.draw(numbers), np.uint8).reshape(n, dim)
    spec = CodeSpec(f"int{bits}", dim, tuple(range(2**bits)))
    packed = pack_levels(levels, bits)
    assert packed.shape == (n, spec.width)
    np.testing.assert_array_equal(unpack_levels(packed, spec), levels)
    np.testing.assert_array_equal(level_values(packed, spec), levels)


def test_levels_are_the_nearest_ones():
    x = gaussian(100, 16)
    quantizer = LevelQuantizer.fit(x, "int4")
    turned = quantizer.affine.forward(x, np.empty_like(x))
    levels = np.array(quantizer.spec.levels)
    nearest = np.abs(turned[:, :, None] - levels).argmin(axis=2)
    found = unpack_levels(quantizer.encode(x), quantizer.spec)
    assert (found == nearest).mean() > 0.9999


@pytest.mark.parametrize("kind", ["binary-1", "binary-2", "binary-3", "binary-4-unrotated"])
def test_estimates_follow_the_products_with_the_decoded_vectors(kind):
    x = gaussian(300, 48)
    quantizer = fit(kind, x)
    codes = quantizer.encode(x)
    query = gaussian(1, 48, seed=9)
    products = (quantizer.decode(codes) @ query.T)[:, 0]
    assert np.corrcoef(quantizer.estimate(query, codes), products)[0, 1] > 0.99


def test_metrics_without_a_meaning():
    codes = np.zeros((1, 2), np.uint8)
    with pytest.raises(UnsupportedError, match="hamming"):
        code_distances(codes, codes, CodeSpec("binary", 16), "ip")
    with pytest.raises(UnsupportedError, match="int8"):
        code_distances(codes.view(np.int8), codes.view(np.int8), CodeSpec("int8", 2), "hamming")


@pytest.fixture(scope="module")
def wordnet():
    """The example data: normalised vectors, queries, and their exact products."""
    x = normalise(np.load(WORDNET / "vectors_f16.npy").astype(np.float32))
    queries = normalise(np.load(WORDNET / "queries_f16.npy").astype(np.float32))
    return x, queries, queries @ x.T


# Recall@10 by distance at each precision's own `oversample`, measured, less 0.005.
FLOORS = {"float32": 0.995, "float16": 0.995, "int8": 0.995, "int8-rotated": 0.995, "uint8": 0.995,
          "int4": 0.995, "int2": 0.99, "signs": 0.98, "binary-1": 0.98, "binary-2": 0.985,
          "binary-3": 0.985, "st-int8": 0.995}  # fmt: skip


@pytest.mark.parametrize("kind", FLOORS)
def test_recall_on_real_embeddings(kind, wordnet):
    x, queries, products = wordnet
    quantizer = fit(kind, x[::4])
    metric = quantizer.metrics[0]
    asked = quantizer.encode_query(queries, metric)
    distances = code_distances(asked, quantizer.encode(x), quantizer.spec, metric)
    count = int(10 * quantizer.oversample)
    candidates = np.argpartition(distances, count - 1, axis=1)[:, :count]
    tenth = np.partition(products, -10, axis=1)[:, -10]
    found = np.take_along_axis(products, candidates, axis=1) >= tenth[:, None] - 1e-6
    recall = np.minimum(found.sum(axis=1), 10).mean() / 10
    assert recall >= FLOORS[kind]
