"""Random histories, long and different in every run; what fails is told as a short program."""

from __future__ import annotations

from tests import test_stateful as short


class Long:
    examples = 1000
    steps = 60
    seeded = False


class TestFaiss(Long, short.TestFaiss):
    pass


class TestUsearch(Long, short.TestUsearch):
    pass


class TestQdrant(Long, short.TestQdrant):
    examples = 300


class TestLancedb(Long, short.TestLancedb):
    examples = 200


class TestPostgresql(Long, short.TestPostgresql):
    examples = 200
