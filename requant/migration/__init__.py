"""Moving a collection to another index: planned, built beside, verified, switched to, undone.

A `Migrator` does it for a collection; `attach` takes over what another program made.
"""

from __future__ import annotations

from requant.migration.attaching import attach, attached_config
from requant.migration.migrator import Migrator
from requant.migration.plan import MigrationPlan, plan_migration
from requant.migration.report import MigrationInfo, MigrationReport

__all__ = [
    "MigrationInfo",
    "MigrationPlan",
    "MigrationReport",
    "Migrator",
    "attach",
    "attached_config",
    "plan_migration",
]
