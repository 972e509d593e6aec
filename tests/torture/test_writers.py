"""Writers of PostgreSQL beside one another, in every order, cut off and clashing, for long."""

from __future__ import annotations

import os

from tests import beside

MINUTES = float(os.environ.get("REQUANT_TORTURE_MINUTES", "2"))


def test_writers_beside_one_another(empty_postgres, tmp_path):
    commits, searches = beside.run(empty_postgres, tmp_path, 60 * MINUTES, seed=11, writers=5)
    print(f"{commits} transactions were committed, {searches} searches answered")
    assert commits
    assert searches
