"""Whether an index is to be fitted anew: its quantizer has seen too little of what there is now."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from requant.adapters import making, registry
from requant.adapters.protocol import Keys
from requant.indexes.loaded import Loaded
from requant.indexes.sampling import ENOUGH_ROWS, prepared, sample_rows, spread
from requant.indexes.spec import fit_quantizer
from requant.quantizers.arrays import Float32s
from requant.quantizers.protocol import Quantizer
from requant.scores import score_many
from requant.store import CollectionRow, CollectionState, IndexConfig, Reader

# A search builds anew in passing what takes no longer than this.
_SECONDS = 0.05
_A_ROW = 20e-6  # until it is known
# So much more than after a new fit may codes lose of vectors, as long as nobody waits for the fit.
_LOSS = 1.25
_JUDGED_ROWS = 512
# So much of what an engine's own codes would find if they were learned anew have they to find, but
# for what chance does to a few hundred.
_LIKE_NEW = 0.8
_CHANCE = 0.02
_NEAREST = 10
_ASKED = 64
# Fewer than so many tell nothing: any codes find ten of hardly more.
_LEAST_JUDGED = 4 * _NEAREST
# Lists of so many times as many items as they were learned for are a third of what they should be.
_LISTS_GROWTH = 8


def is_outgrown(loaded: Loaded, owner: CollectionRow, state: CollectionState) -> bool:
    """Tell whether a quantizer has seen too little of what there is now."""
    if loaded.fit_rows >= sample_rows(owner.dim):
        return False
    # Of few left among many keys the last fit may have found no more.
    return _size(loaded, state) >= max(4 * loaded.fit_rows, 2 * loaded.built)


def outgrown_lists(loaded: Loaded) -> str | None:
    """Return what to tell where an index has many more items than its lists were learned for.

    Its answers are right all the same. That it is built anew, which takes long, is for its owner to
    say.
    """
    spec = loaded.backend.spec
    if spec.index_type != "ivf" or loaded.attached:
        return None
    # Where nothing was expected, the lists are of another program's making.
    if not spec.expected or loaded.size < _LISTS_GROWTH * spec.expected:
        return None
    return (
        f"its lists were learned for {spec.expected:,} items and hold {loaded.size:,}: searches "
        "read more of them than they would have to; rebuild it to learn them anew"
    )


def needs_building(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    config: IndexConfig,
    wait: bool,
) -> bool:
    """Tell whether to build an index anew: whoever does not `wait` does so only where it has to."""
    if not is_outgrown(loaded, owner, state):
        return False
    return wait or not _can_wait(loaded, reader, owner, state, config)


def _can_wait(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    config: IndexConfig,
) -> bool:
    """Tell whether an outgrown index answers well enough until somebody has time to build it."""
    size = _size(loaded, state)
    if loaded.fit_rows < min(ENOUGH_ROWS, sample_rows(owner.dim)):
        return False
    if size * (loaded.seconds_a_row or _A_ROW) < _SECONDS:
        return False
    # What an engine has learned itself cannot be judged here.
    if config.precision == "native" or config.index_type == "ivf":
        return False
    if size >= 2 * loaded.judged:
        if not _fits(loaded, reader, owner, state, config):
            return False
        loaded.judged = size
    return True


def has_drifted(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    config: IndexConfig,
    wait: bool,
) -> bool:
    """Tell whether codes were fitted to vectors that others have come instead of.

    Looked at each time that `is_to_be_judged`; where an engine is told how to learn its codes,
    which may take it long, by who can `wait`.
    """
    if not is_to_be_judged(loaded):
        return False
    fits = _fits
    if config.precision == "native":
        if not loaded.watermark.covers(state) or (config.params and not wait):
            return False  # later
        fits = _finds_as_much
    loaded.followed = 0
    return not fits(loaded, reader, owner, state, config)


def is_to_be_judged(loaded: Loaded) -> bool:
    """Tell whether an index has followed as many rows as half of what it holds."""
    return loaded.size >= ENOUGH_ROWS and loaded.followed >= loaded.size // 2


def _learns(loaded: Loaded, config: IndexConfig) -> bool:
    """Whether the engine has learned codes from a sample, and can be asked about another one."""
    learns = registry.load(config.engine).capabilities.learns_from_sample
    return learns and config.index_type != "ivf" and loaded.takes_key_sets


def _finds_as_much(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    config: IndexConfig,
) -> bool:
    """Tell whether an engine finds as many of some rows as if it had learned from their like.

    Of one that learns nothing from a sample, or lists, that cannot be told.
    """
    if not _learns(loaded, config):
        return True
    keys, vectors = spread(reader, owner, state, 2 * _JUDGED_ROWS)
    if len(keys) < 2 * _LEAST_JUDGED:
        return True  # wide vectors, or few left among many keys
    vectors = prepared(owner, vectors)
    codes, spec = loaded.quantizer.encode(vectors), loaded.backend.spec
    sample, keys, vectors, codes = codes[::2], keys[1::2], vectors[1::2], codes[1::2]
    queries = vectors[:: max(len(vectors) // _ASKED, 1)]
    asked = loaded.quantizer.encode_query(queries, spec.metric)
    nearest = [_nearest(keys, scores) for scores in score_many(queries, vectors, owner.metric)]
    with closing(making.create(registry.load(config.engine), spec, sample=sample)) as fresh:
        fresh.upsert(keys, codes)
        new = _found(nearest, fresh.search(asked, _NEAREST).keys)
    old = _found(nearest, loaded.backend.search(asked, _NEAREST, among=keys).keys)
    return old >= _LIKE_NEW * new - _CHANCE


def _nearest(keys: Keys, scores: Float32s) -> Keys:
    """Return the nearest, and all as near as the last: which of equal ones is found is chance."""
    nearest: Keys = keys[scores >= np.partition(scores, -_NEAREST)[-_NEAREST]]
    return nearest


def _found(nearest: list[Keys], answers: Keys) -> float:
    """Return the share of the nearest that were found."""
    hits = [len(np.intersect1d(one, row)) for one, row in zip(nearest, answers, strict=True)]
    return float(np.mean(hits)) / _NEAREST


def _fits(
    loaded: Loaded,
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    config: IndexConfig,
) -> bool:
    _, vectors = spread(reader, owner, state, _JUDGED_ROWS)
    vectors = prepared(owner, vectors)
    fresh = fit_quantizer(config, vectors[::2], owner.metric)
    return _loss(loaded.quantizer, vectors[1::2]) <= _LOSS * _loss(fresh, vectors[1::2])


def _size(loaded: Loaded, state: CollectionState) -> int:
    return loaded.size + max(state.next_key - loaded.watermark.key, 0)


def _loss(quantizer: Quantizer, vectors: Float32s) -> float:
    apart = quantizer.decode(quantizer.encode(vectors)) - vectors
    return float(np.square(apart, dtype=np.float64).sum())
