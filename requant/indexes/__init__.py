"""Indexes that follow the store: added, loaded, caught up, published, dropped.

An `IndexSet` hands out each index as it is (`Loaded`); `spec` says what a backend is told of one.
"""

from __future__ import annotations

from requant.indexes.following import Progress
from requant.indexes.index_set import IndexSet
from requant.indexes.loaded import Loaded
from requant.indexes.location import (
    ATTACHED,
    Workspace,
    folder_for,
    on_disk,
    open_attached,
    sweep,
)
from requant.indexes.memory import Memory, Room
from requant.indexes.nearby import Batch, ready
from requant.indexes.sampling import prepared, sample, spread
from requant.indexes.spec import (
    IndexOptions,
    check_config,
    fit_quantizer,
    index_config,
    planned_spec,
    refuse_secrets,
)
from requant.indexes.trust import Secrets

__all__ = [
    "ATTACHED",
    "Batch",
    "IndexOptions",
    "IndexSet",
    "Loaded",
    "Memory",
    "Progress",
    "Room",
    "Secrets",
    "Workspace",
    "check_config",
    "fit_quantizer",
    "folder_for",
    "index_config",
    "on_disk",
    "open_attached",
    "planned_spec",
    "prepared",
    "ready",
    "refuse_secrets",
    "sample",
    "spread",
    "sweep",
]
