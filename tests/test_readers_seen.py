"""Ids that occur twice are found, however far apart."""

from __future__ import annotations

import random

from requant.tables import SeenIds


def test_against_a_set():
    draw = random.Random(5)
    for _ in range(200):
        seen, known = SeenIds(), set()
        for _ in range(draw.randint(1, 12)):
            batch = [draw.randint(0, 400) for _ in range(draw.randint(0, 20))]
            expected = None
            for place, value in enumerate(batch):
                if value in known and expected is None:
                    expected = place
                known.add(value)
            assert seen.first_repeated(batch) == expected


def test_many_batches_without_a_repetition_and_then_one():
    seen = SeenIds()
    for first in range(0, 100_000, 500):
        assert seen.first_repeated([f"id-{i}" for i in range(first, first + 500)]) is None
    assert seen.first_repeated(["new", "id-31415"]) == 1


def test_ids_are_compared_as_the_store_keeps_them():
    seen = SeenIds()
    assert seen.first_repeated([7, "8"]) is None
    assert seen.first_repeated(["x", "7"]) == 1
    assert seen.first_repeated([8]) == 0
