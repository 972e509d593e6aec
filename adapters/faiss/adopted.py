"""FAISS indexes that people hold in their hands, searched as they are: nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from requant.adapters.faiss.answers import candidates
from requant.adapters.faiss.codecs import codec_for
from requant.adapters.faiss.files import downcast
from requant.adapters.faiss.foreign_files import METRICS
from requant.adapters.faiss.rows import PlainRows
from requant.adapters.keys import KeyColumn
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeSpec, Format
from requant.quantizers.errors import InputError, UnsupportedError

_FORMATS: dict[int, Format] = {
    faiss.ScalarQuantizer.QT_8bit_direct_signed: "int8",
    faiss.ScalarQuantizer.QT_8bit_direct: "uint8",
    faiss.ScalarQuantizer.QT_fp16: "float16",
}
# Indexes whose rows can be read in place; others are asked for each row.
_ROWED = (
    faiss.IndexFlat,
    faiss.IndexFlatIP,
    faiss.IndexFlatL2,
    faiss.IndexScalarQuantizer,
    faiss.IndexBinaryFlat,
)


class AdoptedIndex:
    """A FAISS index as it was handed over; its labels are the keys.

    To read codes out of lists (IVF), FAISS adds a direct map to the index: 8 bytes a row.
    """

    def __init__(self, inner: Any) -> None:
        """Tell what `inner` holds; raises InputError if it is no FAISS index."""
        if not isinstance(inner, (faiss.Index, faiss.IndexBinary)):
            raise InputError(f"a {type(inner).__name__} is no FAISS index")
        self.inner = inner
        self._keys: KeyColumn | None = None
        if isinstance(inner, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)):
            self._keys = KeyColumn(faiss.vector_to_array(inner.id_map))
            inner = downcast(inner.index)
        self._searched = downcast(inner)
        storage = self._searched
        while hasattr(storage, "storage"):  # a graph keeps its codes in a flat index
            storage = downcast(storage.storage)
        self.spec: IndexSpec = _spec_of(storage)
        self._rows = None
        if type(storage) in _ROWED:
            self._rows = PlainRows(storage, codec_for(self.spec.code))

    def __len__(self) -> int:
        """Return the number of codes."""
        return int(self._searched.ntotal)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Refuse: the index is somebody else's."""
        raise UnsupportedError("an index made by another program is searched, not written to")

    def delete(self, keys: Keys) -> int:
        """Refuse: the index is somebody else's."""
        raise UnsupportedError("an index made by another program is searched, not written to")

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Ask FAISS; `effort` is efSearch of a graph."""
        if among is not None:
            raise UnsupportedError("an index made by another program cannot search a key set")
        if not len(self) or not len(queries):
            return Candidates.empty(self.spec, len(queries), k, codes)
        params = None
        if effort is not None and isinstance(self._searched, faiss.IndexHNSW):
            params = faiss.SearchParametersHNSW(efSearch=effort)
        vectors = codec_for(self.spec.code).queries(queries)
        distances, rows = self._searched.search(vectors, min(k, len(self)), params=params)
        found = self._codes(rows) if codes else None
        keys = rows
        if self._keys is not None:
            keys = self._keys.view.take(rows, mode="clip")
            keys[rows < 0] = -1
        return candidates(self.spec, distances, keys, k, found)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        for start in range(0, len(self), batch):
            rows = np.arange(start, min(start + batch, len(self)))
            keys = rows if self._keys is None else self._keys.view[rows]
            yield keys, self._codes(rows)

    def save(self, location: str) -> None:
        """Refuse: the index is somebody else's."""
        raise UnsupportedError("an index made by another program is written by that program")

    def _codes(self, rows: Keys) -> Codes:
        """Return the codes of `rows` of any shape, zeros where a row is -1."""
        flat = np.maximum(rows, 0).ravel()
        gathered = self._rows.gather(flat) if self._rows else self._reconstructed(flat)
        codes = gathered.reshape(*rows.shape, -1)
        codes[rows < 0] = 0
        return codes

    def _reconstructed(self, rows: Keys) -> Codes:
        code = self.spec.code
        out = np.empty((len(rows), code.width), code.dtype)
        if hasattr(self._searched, "make_direct_map"):
            self._searched.make_direct_map()
        for place, row in enumerate(rows.tolist()):
            out[place] = self._searched.reconstruct(row)
        return out


def _spec_of(storage: Any) -> IndexSpec:
    if isinstance(storage, faiss.IndexBinary):
        return IndexSpec(CodeSpec("binary", storage.d), "hamming")
    metric = METRICS.get(storage.metric_type)
    if metric is None:
        raise InputError(
            f"a FAISS index of metric {storage.metric_type} is none of inner product and L2"
        )
    format: Format = "float32"
    if type(storage) is faiss.IndexScalarQuantizer:
        format = _FORMATS.get(storage.sq.qtype, "float32")
        if format == "float32":
            raise InputError(
                f"a FAISS scalar quantizer of type {storage.sq.qtype} is not one of the direct "
                "8-bit types or fp16: its codes cannot be read"
            )
    return IndexSpec(CodeSpec(format, storage.d), metric)
