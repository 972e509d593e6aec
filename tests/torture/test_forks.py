"""For minutes: forked workers of every kind, and a parent that does everything beside them."""

from __future__ import annotations

import collections
import itertools
import os
import random
import shutil
import time

import pytest

from tests import forks
from tests.forks import alone
from tests.test_fork import forking_while_busy

MINUTES = float(os.environ.get("REQUANT_TORTURE_MINUTES", "2"))
ENGINES = ["faiss", "usearch", "qdrant", "lancedb", "none"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def deadline():
    return time.monotonic() + 60 * MINUTES


def test_the_whole_matrix_again_and_again(tmp_path, deadline):
    count = collections.Counter()
    for turn in itertools.count():
        for case in itertools.product(ENGINES, forks.OPENED, forks.PARENT):
            folder = tmp_path / f"{turn}"
            folder.mkdir(exist_ok=True)
            target, indexes = str(folder / "x"), str(folder / "indexes")
            rounds = random.randint(3, 30)
            outcomes, written = alone(forks.matrix, target, indexes, *case, rounds, seconds=300)
            assert [kind for kind, _ in outcomes] == ["ok"] * len(outcomes), (case, outcomes)
            assert forks.problems(target, indexes, written) == [], case
            shutil.rmtree(folder)
            count["databases"] += 1
            count["workers"] += len(outcomes)
            count["acknowledged"] += len(written)
            if time.monotonic() > deadline:
                print(dict(count))
                return


@pytest.mark.parametrize("engine", ENGINES)
def test_forking_while_others_search_and_write(tmp_path, deadline, engine):
    count = collections.Counter()
    for turn in itertools.count():
        target, indexes = str(tmp_path / f"{turn}"), str(tmp_path / f"{turn} indexes")
        outcomes, written = alone(forking_while_busy, target, indexes, engine, seconds=600)
        kinds = collections.Counter(kind for kind, _ in outcomes)
        assert set(kinds) <= {"ok", "forked"}, outcomes
        assert forks.problems(target, indexes, written) == []
        count += kinds
        count["acknowledged"] += len(written)
        if time.monotonic() > deadline:
            print(dict(count))
            return
