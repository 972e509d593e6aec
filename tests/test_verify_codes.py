"""`verify` accepts a code that is as near to its vector as the expected one, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from requant import quantizers
from requant.verification.checks import codes_stand_for

TRUE = {"true_to_length": True}
KINDS = [("int8", {"rotate": True}), ("int4", {}), ("int2", {}), ("binary", {"bits": 1}),
         ("int4", TRUE), ("int2", TRUE), ("int1", TRUE), ("binary", TRUE)]  # fmt: skip


@pytest.fixture
def vectors():
    return np.random.default_rng(3).standard_normal((400, 96)).astype(np.float32)


@pytest.mark.parametrize(("precision", "options"), KINDS)
def test_a_value_on_a_threshold_may_fall_on_either_side(vectors, precision, options):
    quantizer = quantizers.fit(precision, vectors, **options)
    right = quantizer.encode(vectors)
    # Find a step along which one vector crosses a single threshold, as rounding may.
    start, direction = vectors[:1], np.eye(96, dtype=np.float32)[:1]
    low, high = 0.0, 4.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        same = (quantizer.encode(start + middle * direction) == right[:1]).all()
        low, high = (middle, high) if same else (low, middle)
    before = quantizer.encode(start + np.float32(low) * direction)
    after = quantizer.encode(start + np.float32(high) * direction)
    assert (before != after).any()
    between = start + np.float32((low + high) / 2) * direction
    assert codes_stand_for(quantizer, between, before, after).all()
    assert codes_stand_for(quantizer, between, after, before).all()


@pytest.mark.parametrize(("precision", "options"), [*KINDS, ("float32", {}), ("binary", {})])
def test_any_other_code_is_wrong(vectors, precision, options):
    quantizer = quantizers.fit(precision, vectors, **options)
    right = quantizer.encode(vectors)
    wrong = right.copy()
    wrong.view(np.uint8)[7] ^= 0x11
    good = codes_stand_for(quantizer, vectors, wrong, right)
    assert np.flatnonzero(~good).tolist() == [7]
    shifted = np.roll(right, 1, axis=0)
    assert not codes_stand_for(quantizer, vectors, shifted, right).any()
