"""What the store notes beside items and vectors: collections, indexes, locations, migrations.

Each module holds the statements of its tables; what others need by name is handed out here.
"""

from __future__ import annotations

from requant.store.records import (
    calibrations,
    catalog,
    identity,
    ledger,
    locations,
    migrations,
    models,
)
from requant.store.records.calibrations import Setting
from requant.store.records.catalog import Origin
from requant.store.records.identity import Identity
from requant.store.records.ledger import Generation, IndexConfig, IndexRow
from requant.store.records.migrations import MigrationRow, State

__all__ = [
    "Generation",
    "Identity",
    "IndexConfig",
    "IndexRow",
    "MigrationRow",
    "Origin",
    "Setting",
    "State",
    "calibrations",
    "catalog",
    "identity",
    "ledger",
    "locations",
    "migrations",
    "models",
]
