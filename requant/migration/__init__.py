"""Moving a collection to another index: planned, built beside, verified, switched to, undone.

A `Migrator` does it for a collection; `attach` takes over what another program made. What embeds
its texts, and moving to another model, is in `embedding`.
"""

from __future__ import annotations

from requant.migration.attaching import attach, attached_config
from requant.migration.embedding import (
    Asked,
    Embedder,
    Missing,
    Reembedder,
    ReembedInfo,
    ReembedPlan,
    ReembedReport,
    Wanted,
    described,
    remember,
)
from requant.migration.migrator import Migrator
from requant.migration.plan import MigrationPlan, plan_migration
from requant.migration.report import MigrationInfo, MigrationReport

__all__ = [
    "Asked",
    "Embedder",
    "MigrationInfo",
    "MigrationPlan",
    "MigrationReport",
    "Migrator",
    "Missing",
    "ReembedInfo",
    "ReembedPlan",
    "ReembedReport",
    "Reembedder",
    "Wanted",
    "attach",
    "attached_config",
    "described",
    "plan_migration",
    "remember",
]
