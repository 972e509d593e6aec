"""Rows that are screened in float32: the same results as those of float64, whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from requant.indexes import Batch
from requant.scores import ExactRows, Queries, rounded
from requant.search.scanning import nearest
from tests import inside

ScreenedRows = inside.ScreenedRows
METRICS = ["cosine", "ip", "l2"]
LARGEST = float(np.finfo(np.float32).max)


def kinds(rng, n, d):
    """Rows that float32 can tell apart, and such that it cannot."""
    plain = rng.standard_normal((n, d)).astype(np.float32)
    yield "plain", plain
    yield "almost equal", (1 + plain * np.float32(1e-6)).astype(np.float32)
    yield "equal", np.repeat(plain[:5], n // 5, axis=0)
    yield "far from the origin", (plain + np.float32(1e4)).astype(np.float32)
    yield "of many lengths", (plain * np.logspace(-30, 18, n)[:, None]).astype(np.float32)
    yield "tiny", (plain * np.float32(1e-40)).astype(np.float32)
    yield "huge", (plain * np.float32(3e37)).astype(np.float32)
    mixed = plain.copy()
    mixed[::7], mixed[3] = 0, LARGEST
    yield "zeros, and one too large", mixed
    whole = rng.integers(-2, 3, (n, d)).astype(np.float32)
    yield "whole numbers, which tie", whole


def answers(rows, queries, keys, wanted, k, metric, kind):
    batches = []
    for start in range(0, len(rows), 350):
        at = slice(start, start + 350)
        mask = None if wanted is None else wanted[at]
        batches.append(Batch(keys[at], kind(rows[at], metric), mask))
    return nearest(queries, batches, k)


def exactly(query, rows, metric):
    """Scores in double precision, and how far they may be off."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    lengths, length = np.linalg.norm(rows, axis=1), np.linalg.norm(query)
    if metric == "l2":
        scores, size = -np.square(rows - query).sum(axis=1), (lengths + length) ** 2
    else:
        scores, size = (rows * query).sum(axis=1), lengths * length
    if metric == "cosine":
        scores, size = scores / np.where(size, size, 1), np.ones(len(rows))
    return np.clip(scores, -LARGEST, LARGEST), 1e-13 * size + 1e-300


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 3, 64, 500])
def test_no_better_one_is_missed(metric, d):
    rng = np.random.default_rng(d)
    n = 1000
    keys = np.sort(rng.choice(10 * n, n, replace=False))
    for name, rows in kinds(rng, n, d):
        queries = np.concatenate([rows[:2], rng.standard_normal((1, d)), np.zeros((1, d))])
        queries = queries.astype(np.float32)
        for wanted in (None, rng.random(n) < 0.5, np.arange(n) > n - 4):
            for k in (1, 10, 1500):
                given = (rows, queries, keys, wanted, k, metric)
                found, true = answers(*given, ScreenedRows), answers(*given, ExactRows)
                for query, (some, scores), (best, known) in zip(queries, found, true, strict=True):
                    assert len(set(some.tolist())) == len(best), (name, k)
                    np.testing.assert_allclose(scores, known, rtol=3e-7, atol=1e-12, err_msg=name)
                    exact, off = exactly(query, rows, metric)
                    at, left = np.searchsorted(keys, some), np.ones(n, bool)
                    left[at] = False
                    left = left if wanted is None else left & wanted
                    if len(at) and left.any():
                        worst = at[np.argmin(exact[at])]
                        # Scores are rounded, and tie then.
                        worse = rounded(exact[worst] + off[worst])
                        assert (rounded(exact - off)[left] <= worse).all(), (name, k)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_ones_come_in_the_order_of_their_keys(metric):
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.standard_normal((3, 32)).astype(np.float32), 1000, axis=0)
    keys = np.arange(3000)
    ((found, _),) = answers(rows, rows[1500:1501], keys, None, 50, metric, ScreenedRows)
    first = int(np.argmax(exactly(rows[1500], rows[::1000], metric)[0])) * 1000
    assert found.tolist() == list(range(first, first + 50))


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_is_found_where_nothing_is_wanted(metric):
    rows = np.ones((2000, 4), np.float32)
    keys, nobody = np.arange(2000), np.zeros(2000, bool)
    ((found, _),) = answers(rows, rows[:1], keys, nobody, 5, metric, ScreenedRows)
    assert not len(found)


def test_few_of_them_are_scored_exactly():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((8000, 64)).astype(np.float32)
    for metric in METRICS:
        screened = ScreenedRows(rows, metric)
        (at, scores), *_ = screened.leading(Queries(rows[:1]), 10, None, [-np.inf])
        assert 10 <= len(at) == len(scores) < 20
        worth = float(np.sort(scores)[-3])
        (at, scores), *_ = screened.leading(Queries(rows[:1]), 10, None, [worth])
        assert 3 <= len(at) < 6
