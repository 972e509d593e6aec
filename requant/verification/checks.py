"""Whether a store is whole, and its indexes hold what they should: every key and every code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.errors import CorruptDataError, CorruptIndexError, EngineError, RequantError
from requant.indexes import IndexSet, Loaded, prepared
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.chunks import rows_for
from requant.quantizers.lengths import Stretching
from requant.quantizers.protocol import Quantizer
from requant.store import CollectionRow, CollectionState, Reader, Store, key_range
from requant.verification.lists import wrongly_listed
from requant.verification.report import Report, say
from requant.verification.words import check_text, check_words

# One value of a few hundred in a neighbouring cell loses percents more than the right code does;
# at the border between two cells it loses the same.
_SLACK = 1e-4

Judge = Callable[[Quantizer, Float32s, Codes, Codes], NDArray[np.bool_]]


def verify(store: Store, owner: CollectionRow, indexes: IndexSet, *, deep: bool) -> Report:
    """Bring all indexes of `owner` up to one snapshot, and compare them with it."""
    # The snapshot begins when no index can run ahead of it any more.
    with indexes.pinned(), _numbered(store, owner), store.reading() as reader:
        state = reader.state_of(owner)
        failed: dict[str, RequantError] = {}
        loaded = indexes.every(reader, state, failed)
        behind = _behind(loaded, state) if store.read_only else {}
        whole = {name: one for name, one in loaded.items() if name not in behind}
        report = verify_collection(reader, owner, state, whole, deep=deep)
        check_text(reader, owner, report)
    if deep and report.ok:
        check_words(store, owner, report)
    report.checked += behind.values()
    report.problems += [f"index {name!r}: {error}" for name, error in failed.items()]
    return report


@contextmanager
def _numbered(store: Store, owner: CollectionRow) -> Iterator[None]:
    """Let indexes hold all that is committed by now."""
    store.number(owner.id, wait=True)
    yield


def _behind(indexes: Mapping[str, Loaded | None], state: CollectionState) -> dict[str, str]:
    """Return what cannot be compared with the store, since nobody brings it up to date."""
    return {
        name: f"index {name!r}: behind the store, which is compared by whoever may write"
        for name, one in indexes.items()
        if one is not None and not one.watermark.covers(state)
    }


def verify_collection(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    indexes: Mapping[str, Loaded | None],
    *,
    deep: bool,
) -> Report:
    """Compare indexes (caught up with `state`) with the vectors that `reader` sees."""
    report = Report()
    if deep:
        _check_store(reader, owner, state, report)
        if not report.ok:
            return report  # codes of damaged vectors would say nothing about the index
    for name, loaded in indexes.items():
        if loaded is None:
            report.checked.append(f"index {name!r}: nothing that could be asked")
        elif loaded.attached:
            text = f"index {name!r}: attached, with {loaded.size} vectors; not ours to look into"
            report.checked.append(text)
            if loaded.location.complaint is not None:
                report.problems.append(f"index {name!r}: {loaded.location.complaint}")
        else:
            try:
                _check_index(reader, owner, state, name, loaded, report)
            except (EngineError, CorruptIndexError) as error:
                report.problems.append(f"index {name!r}: {error}")
    return report


def _check_store(
    reader: Reader, owner: CollectionRow, state: CollectionState, report: Report
) -> None:
    first, _ = key_range(owner.id)
    damaged = list(reader.damaged(first, state.end, owner.dim))
    say(report, "stored vector(s) differ from their checksum, key(s)", damaged)
    strays = reader.strays(first, state.end)
    say(report, "stored vector(s) have no item, key(s)", strays)
    report.problems += [f"the database file: {line}" for line in reader.integrity()]
    report.checked.append("the checksum of every stored vector, and the database file")
    _check_lists(reader, owner, state, report)


def _check_lists(
    reader: Reader, owner: CollectionRow, state: CollectionState, report: Report
) -> None:
    try:
        found = wrongly_listed(reader, owner, state)
    except CorruptDataError as error:
        report.problems.append(str(error))
        return
    for name, keys in found.items():
        which = f"indexed field {name!r}" if name else "all items"
        again = "unindex_field it, and index_field it again" if name else "index all fields again"
        say(report, f"item(s) are wrong in the lists of {which} ({again}), key(s)", keys)
    if found:
        report.checked.append(f"what is listed of every item in {len(found) - 1} indexed field(s)")


class _Held(NamedTuple):
    """What an index holds: keys in order, and a digest of each code instead of the code."""

    keys: Keys
    digests: NDArray[np.uint64]


def _check_index(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    name: str,
    loaded: Loaded,
    report: Report,
) -> None:
    held = _held(loaded, rows_for(owner.dim))
    known = np.zeros(len(held.keys), bool)
    missing: list[int] = []
    suspects: list[Keys] = []
    first, _ = key_range(owner.id)
    # Of what has no number yet an index may hold the one or the other.
    fresh = state.fresh.keys(first, state.end)
    for keys, vectors in reader.scan(first, state.next_key, owner.dim):
        at = np.flatnonzero(~np.isin(keys, fresh))
        keys, vectors = keys[at], vectors[at]
        expected = _digests(loaded.quantizer.encode(prepared(owner, vectors)))
        at = np.searchsorted(held.keys, keys)
        there = at < len(held.keys)
        there[there] = held.keys[at[there]] == keys[there]
        known[at[there]] = True
        missing += keys[~there].tolist()
        suspects.append(keys[there][held.digests[at[there]] != expected[there]])
    wrong = list(_wrong(reader, owner, loaded, np.concatenate(suspects) if suspects else held.keys))
    strange = np.setdiff1d(held.keys[~known], fresh, assume_unique=True).tolist()
    say(report, f"vector(s) are missing from index {name!r}, key(s)", missing)
    say(report, f"code(s) of index {name!r} are not those of the vectors, key(s)", wrong)
    say(report, f"item(s) of index {name!r} are not in the store, key(s)", strange)
    report.checked.append(f"index {name!r}: {len(held.keys)} keys and codes")


def _wrong(reader: Reader, owner: CollectionRow, loaded: Loaded, suspects: Keys) -> Iterator[int]:
    """Yield those of `suspects` (ascending) whose code does not stand for their vector either."""
    if not len(suspects):
        return
    judge: Judge = _are_near if loaded.support.lossy else codes_stand_for
    for keys, codes in loaded.backend.export(rows_for(owner.dim)):
        chosen = np.isin(keys, suspects)
        order = np.argsort(keys[chosen])
        keys, codes = keys[chosen][order], codes[chosen][order]
        found, vectors = reader.vectors(keys, owner.dim)
        vectors, codes = prepared(owner, vectors), codes[np.isin(keys, found)]
        good = judge(loaded.quantizer, vectors, codes, loaded.quantizer.encode(vectors))
        yield from found[~good].tolist()


def codes_stand_for(
    quantizer: Quantizer, vectors: Float32s, codes: Codes, expected: Codes
) -> NDArray[np.bool_]:
    """Tell which `codes (n, w)` are what `quantizer` makes of `vectors (n, d)`: `(n,) bool`.

    That is, equal to the `expected` ones, or as near to the vector: on another processor the last
    bit of a rotated value may differ, and with it the side of a threshold that it falls on; and of
    values as large as one another, which of them count among the largest.
    """
    good: NDArray[np.bool_] = (codes == expected).all(axis=1)
    if not good.all():
        at = np.flatnonzero(~good)
        if isinstance(quantizer, Stretching) and quantizer.true_to_length:
            good[at] = quantizer.stands_for(vectors[at], codes[at])
            return good
        lost = [
            np.square(vectors[at] - quantizer.decode(some[at]), dtype=np.float64).sum(axis=1)
            for some in (codes, expected)
        ]
        good[at] = lost[0] <= lost[1] * (1 + _SLACK)
    return good


def _are_near(
    quantizer: Quantizer, vectors: Float32s, codes: Codes, expected: Codes
) -> NDArray[np.bool_]:
    """Tell which `codes (n, d)`, an engine's own approximations, point where `vectors` do.

    Half as much as they do in the middle, since how coarse they are is the engine's and the user's
    choice; but more than chance would have it, where a code of another vector points: the cosine of
    two random directions in d dimensions deviates by 1 / sqrt(d).
    """
    products = np.einsum("ij,ij->i", codes, vectors, dtype=np.float64)
    lengths = np.linalg.norm(codes, axis=1) * np.linalg.norm(vectors, axis=1)
    cosines = np.divide(products, lengths, out=np.ones_like(products), where=lengths > 0)
    chance = min(0.5, 3 / np.sqrt(vectors.shape[1]))
    near: NDArray[np.bool_] = cosines >= max(chance, np.median(cosines) / 2 if len(cosines) else 0)
    return near


def _held(loaded: Loaded, batch: int) -> _Held:
    keys, digests = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for some, codes in loaded.backend.export(batch):
        keys.append(some)
        digests.append(_digests(codes))
    every = np.concatenate(keys)
    order = np.argsort(every)
    return _Held(every[order], np.concatenate(digests)[order])


def _digests(codes: Codes) -> NDArray[np.uint64]:
    """Return 64 bits of each of `codes (n, w)`: all of them may be too much for memory."""
    joined = b"".join(blake2b(row, digest_size=8).digest() for row in np.ascontiguousarray(codes))
    return np.frombuffer(joined, np.uint64)
