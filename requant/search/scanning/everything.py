"""Every vector of a collection scored, block by block as the database has them."""

from __future__ import annotations

from collections.abc import Iterator

from requant.indexes import Batch, ready
from requant.quantizers.arrays import Float32s
from requant.quantizers.chunks import rows_for
from requant.search.request import Found
from requant.search.scanning.scan import merged, nearest
from requant.search.scanning.threads import MOST_THREADS, shared
from requant.store import CollectionRow, CollectionState, Reader, key_range

# Numbers that a thread reads, at least: some milliseconds.
_SHARE = 1 << 20
# A block is worked on while it is near a core; of many queries a block is more work.
_BLOCK_BYTES, _MOST_ROWS, _MANY_QUERIES = 3 << 18, 1024, 8
# Blocks that a thread takes at a time, unless few of very many keys have a vector.
_BLOCKS, _MOST_PARTS = 8, 1024


def nearest_of_all(
    reader: Reader, owner: CollectionRow, state: CollectionState, queries: Float32s, k: int
) -> tuple[list[Found], int]:
    """Return the k best of a collection for each of `queries (q, d)`; and how many were scored."""
    first, rows = key_range(owner.id)[0], _rows(owner.dim, len(queries))
    every = state.end - first
    step = max(rows * _BLOCKS, every // _MOST_PARTS)

    def work(reader: Reader, starts: Iterator[int]) -> tuple[list[Found], int]:
        scored = 0

        def batches() -> Iterator[Batch]:
            nonlocal scored
            for start in starts:
                end = min(start + step, state.end)
                for batch in ready(reader.blocks(start, end, owner.dim, rows), owner):
                    scored += len(batch.keys)
                    yield batch

        return nearest(queries, batches(), k), scored

    most = MOST_THREADS // 2 if len(queries) >= _MANY_QUERIES else MOST_THREADS
    most = min(most, every * owner.dim // _SHARE)
    done = shared(reader, owner, state, range(first, state.end, step), most, work)
    results = done[0][0]
    for more, _ in done[1:]:
        pairs = zip(results, more, strict=True)
        results = [merged(found, *one, k) if len(one[0]) else found for found, one in pairs]
    return results, sum(scored for _, scored in done)


def _rows(dim: int, queries: int) -> int:
    if queries >= _MANY_QUERIES:
        return rows_for(dim)
    return max(1, min(_MOST_ROWS, _BLOCK_BYTES // (4 * dim)))
