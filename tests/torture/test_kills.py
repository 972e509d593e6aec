"""A thousand times kill -9, half of them for engines that keep an index of their own."""

from __future__ import annotations

import pytest

from tests import test_faults_kill as kills


@pytest.mark.parametrize("run", range(100, 150))
@pytest.mark.parametrize("indexes", [kills.FILES, kills.LIVE], ids=["files", "live"])
def test_killed_at_random_moments(tmp_path, run, indexes):
    kills.kill_and_look(tmp_path, run, indexes)
