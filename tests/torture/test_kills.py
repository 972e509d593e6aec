"""A thousand times kill -9, half for engines that keep an index of their own; and migrations."""

from __future__ import annotations

import random

import pytest

from tests import test_faults_kill as kills
from tests import test_migrate as migrations


@pytest.mark.parametrize("run", range(100, 150))
@pytest.mark.parametrize("indexes", [kills.FILES, kills.LIVE], ids=["files", "live"])
def test_killed_at_random_moments(tmp_path, run, indexes):
    kills.kill_and_look(tmp_path, run, indexes)


@pytest.mark.parametrize("run", range(10))
@pytest.mark.parametrize("engine", migrations.ENGINES)
def test_a_migration_is_killed_at_random_moments(tmp_path, run, engine):
    chance = random.Random(run)
    lives = [(chance.choice([0, 0, 1, 2]), chance.uniform(0.0, 0.3)) for _ in range(13)]
    migrations.kill_and_go_on(tmp_path / "x.db", engine, lives)
