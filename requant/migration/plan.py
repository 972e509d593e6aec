"""What a migration would do, told before anything is done."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from requant.adapters import making, registry
from requant.indexes import Workspace, check_config, fit_quantizer, on_disk, planned_spec, sample
from requant.migration.advice import advice
from requant.quantizers.arrays import Float32s
from requant.store import CollectionRow, IndexConfig, IndexRow, calibrations, ledger

# Rows of the trial that a plan is reckoned from.
_TRIAL_ROWS = 2_000


@dataclass(frozen=True)
class MigrationPlan:
    """What a migration would do: `bytes` and `seconds` are reckoned from a trial of a few rows.

    `advice` says where another index type pays at this size.
    """

    name: str
    rows: int
    carried: list[str]
    changed: list[str]
    dropped: list[str]
    bytes: int
    seconds: float | None
    advice: list[str]


def plan_migration(
    workspace: Workspace, owner: CollectionRow, name: str, config: IndexConfig
) -> MigrationPlan:
    """Tell what would be carried, changed and dropped, and what it would cost."""
    workspace.secrets.trust(config)
    check_config(config, workspace.secrets, owner)
    with workspace.store.reading() as reader:
        state = reader.state_of(owner)
        rows = sample(reader, owner, state)
        count = reader.count(owner.id)
    known = {row.id: row for row in ledger.every(workspace.store, owner.id)}
    used = known[state.active] if state.active is not None else None
    source = None if used is None else used.config
    size, seconds = _trial(workspace, owner, config, rows, count)
    changed, dropped = _differences(source, config)
    kept = "ids, documents, metadata and float32 vectors stay in the store"
    carried = [f"{count:,} items: {kept}"]
    dropped += _calibrated(workspace, owner, used)
    better = advice(config, registry.load(config.engine).capabilities, count)
    return MigrationPlan(name, count, carried, changed, dropped, size, seconds, better)


def _trial(
    workspace: Workspace, owner: CollectionRow, config: IndexConfig, rows: Float32s, count: int
) -> tuple[int, float | None]:
    """Return bytes and seconds of an index of `count` items, from one of a few.

    From two sizes, since engines set some room aside whatever they hold. Of a server only the
    bytes of the codes are known.
    """
    few = rows[:: max(1, len(rows) // _TRIAL_ROWS)][:_TRIAL_ROWS]
    if len(few) < 2:
        return 0, 0.0
    quantizer = fit_quantizer(config, rows, owner.metric)
    if config.url is not None:
        return quantizer.spec.row_bytes * count, None
    spec = planned_spec(config, workspace.secrets, owner.metric, quantizer, len(few))
    half = len(few) // 2
    sizes = []
    with tempfile.TemporaryDirectory(prefix="requant-trial-") as folder:
        where = Path(folder) / "index"
        start = time.perf_counter()
        engine = registry.load(config.engine)
        backend = making.create(engine, spec, str(where), sample=quantizer.encode(rows))
        for part in (slice(0, half), slice(half, len(few))):
            backend.upsert(np.arange(len(few))[part], quantizer.encode(few[part]))
            backend.flush(str(where))
            sizes.append(on_disk(where))
        seconds = time.perf_counter() - start
        backend.close()
    a_row = max((sizes[1] - sizes[0]) / (len(few) - half), quantizer.spec.row_bytes)
    size = max(sizes[1] - a_row * len(few), 0) + a_row * count
    return int(size), seconds * count / len(few)


def _differences(source: IndexConfig | None, target: IndexConfig) -> tuple[list[str], list[str]]:
    """Return what changes from one index to the other, and what of the first has no counterpart."""
    if source is None:
        return [f"searches were exact, and will ask {target.engine} {target.precision}"], []
    changed = [
        f"{what}: {old} becomes {new}"
        for what, old, new in (
            ("engine", source.engine, target.engine),
            ("precision", source.precision, target.precision),
            ("index type", source.index_type, target.index_type),
            ("place", source.url or "here", target.url or "here"),
        )
        if old != new
    ]
    lost = {**source.options, **source.params}
    given = {**target.options, **target.params}
    changed += [
        f"{name}: {lost[name]!r} becomes {given[name]!r}"
        for name in lost
        if name in given and lost[name] != given[name]
    ]
    dropped = [
        f"{name}={value!r} of {source.engine} {source.precision}: no counterpart was given"
        for name, value in lost.items()
        if name not in given
    ]
    abilities = {
        "filters pushed down into the engine": "key_sets",
        "candidates handed back with their codes": "codes",
    }
    old, new = (_support(config) for config in (source, target))
    dropped += [
        text
        for text, ability in abilities.items()
        if getattr(old, ability, False) and not getattr(new, ability, False)
    ]
    return changed, dropped


def _calibrated(workspace: Workspace, owner: CollectionRow, used: IndexRow | None) -> list[str]:
    """Return what to tell where searches name a recall, which another index has to be asked for."""
    if used is None:
        return []
    with workspace.store.reading() as reader:
        settings = calibrations.settings(reader.index_info(owner, used.name), used.name)
    told = ", ".join(f"{one.target:g}" for one in settings)
    if not settings:
        return []
    return [
        f"the calibration of {used.name!r} for recall {told}: searches with recall= fail until the "
        "new index is calibrated, so migrate with switch=False, calibrate(index=...), then switch"
    ]


def _support(config: IndexConfig) -> Any:
    index_type: Any = config.index_type
    precision: Any = config.precision
    return registry.load(config.engine).capabilities.find(precision, index_type)
