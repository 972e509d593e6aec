"""A new index, still empty; and an index as a generation that is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Collection

from requant.adapters import registry
from requant.errors import CorruptIndexError, EngineError, StoreError
from requant.indexes.loaded import Loaded
from requant.indexes.location import Location, Workspace
from requant.indexes.sampling import beginning, coded_sample, lists_rows
from requant.indexes.spec import fit_quantizer, norms_matter, planned_spec
from requant.quantizers import factory
from requant.quantizers.arrays import Float32s
from requant.store import (
    CollectionRow,
    CollectionState,
    Generation,
    IndexRow,
    Reader,
    Store,
    Watermark,
    key_range,
    ledger,
)


def begin(
    workspace: Workspace,
    owner: CollectionRow,
    row: IndexRow,
    location: Location,
    reader: Reader,
    state: CollectionState,
    rows: Float32s,
    overwrite: bool,
    warn: Callable[[str], None],
) -> Loaded:
    """Return an empty index whose quantizer has learned from `rows`, a sample of two or more."""
    if objection := norms_matter(owner, row.config, rows):
        warn(objection)
    expected = state.end - beginning(reader, owner, state)
    quantizer = fit_quantizer(row.config, rows, owner.metric)
    first, _ = key_range(owner.id)
    spec = planned_spec(row.config, workspace.secrets, owner.metric, quantizer, expected)
    mark = Watermark(first, state.seq)
    codes = quantizer.encode(rows)
    learns = registry.load(row.config.engine).capabilities.learns_from_sample
    more = lists_rows(owner.dim, expected)
    if learns and row.config.index_type == "ivf" and more > len(rows):
        codes = max(coded_sample(reader, owner, state, more, quantizer), codes, key=len)
    name, backend = location.create(spec, codes, mark, overwrite)
    return Loaded(
        quantizer, backend, len(rows), mark, location, name, state.seq, seen=state.seen,
        index=row.name,
    )  # fmt: skip


def record(
    store: Store, row: IndexRow, location: Location, loaded: Loaded, damaged: Collection[str]
) -> tuple[set[str], str]:
    """Make an index durable and record it; return the files that are now useless, and its own.

    Nothing is recorded of an index that was dropped meanwhile, maybe while it was being written.

    Raises StoreError, EngineError: it cannot be written.
    """
    try:
        name, digest = location.write(loaded.name, loaded.backend)
    except (OSError, EngineError, CorruptIndexError) as error:
        if row.id not in ledger.numbers(store, row.collection):
            return set(), loaded.name
        if not isinstance(error, OSError):
            raise
        raise StoreError(f"cannot write index {row.name!r}: {error}") from error
    spec = loaded.backend.spec
    generation = Generation(
        fingerprint=factory.fingerprint(loaded.quantizer),
        fit_rows=loaded.fit_rows,
        spec={"metric": spec.metric, "expected": spec.expected, "followed": loaded.followed},
        watermark=loaded.watermark,
        items=loaded.size,
        file=name,
        digest=digest,
        stamp=location.stamp(name),
    )
    body = factory.to_bytes(loaded.quantizer)
    return ledger.record(store, row, generation, body, loaded.seen, damaged), name
