"""A complete backend in plain NumPy: slow, exact, and an example of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from requant.adapters.errors import CorruptIndexError
from requant.adapters.guards import check_supported
from requant.adapters.local import LocalBackend
from requant.adapters.protocol import Candidates, Capabilities, IndexSpec, Keys, Support
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import FORMATS
from requant.quantizers.distance import code_distances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self


class Rows:
    """Codes in a dictionary."""

    def __init__(self, spec: IndexSpec) -> None:
        """Begin empty."""
        self._spec = spec
        self._codes: dict[int, Codes] = {}

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._codes)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store copies."""
        self._codes.update(zip(keys.tolist(), codes.copy(), strict=True))

    def delete(self, keys: Keys) -> int:
        """Remove keys and return how many were there."""
        return sum(self._codes.pop(key, None) is not None for key in keys.tolist())

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Sort all distances."""
        keys, stored = self.arrays()
        if among is not None:
            chosen = np.isin(keys, among)
            keys, stored = keys[chosen], stored[chosen]
        n, q, spec = min(k, len(keys)), len(queries), self._spec
        answer = Candidates.empty(spec, q, k, codes)
        for row in range(q):
            distances = code_distances(queries[row : row + 1], stored, spec.code, spec.metric)[0]
            best = np.lexsort((keys, distances))[:n]
            answer.keys[row, :n], answer.distances[row, :n] = keys[best], distances[best]
            if answer.codes is not None:
                answer.codes[row, :n] = stored[best]
        return answer

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        keys, codes = self.arrays()
        for start in range(0, len(keys), batch):
            yield keys[start : start + batch], codes[start : start + batch]

    def save(self, location: str) -> None:
        """Write one file."""
        keys, codes = self.arrays()
        with open(location, "wb") as file:  # noqa: PTH123 - np.savez appends a suffix to a path
            np.savez(file, keys=keys, codes=codes, meaning=np.array(_meaning(self._spec)))

    def arrays(self) -> tuple[Keys, Codes]:
        """Return all keys and codes."""
        code, n = self._spec.code, len(self._codes)
        keys = np.fromiter(self._codes, np.int64, n)
        rows = list(self._codes.values())
        return keys, np.stack(rows) if rows else np.empty((0, code.width), code.dtype)


class ReferenceBackend(LocalBackend[Rows]):
    """Every code format in a flat index, by `requant.quantizers.distance`."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        engine="reference",
        storage="file",
        places=("memory",),
        supports=tuple(
            Support(
                format,
                "flat",
                ("hamming",) if format == "binary" else ("ip", "l2"),
                exact=True,
                key_sets=True,
                codes=True,
            )
            for format in FORMATS
        ),
    )

    @classmethod
    def create(cls, spec: IndexSpec, location: str | None = None) -> Self:
        """Return an empty index."""
        check_supported(cls.capabilities, spec)
        return cls(spec, Rows(spec))

    @classmethod
    def open(cls, spec: IndexSpec, location: str) -> Self:
        """Read the file that `flush` wrote."""
        index = cls.create(spec)
        try:
            with np.load(location, allow_pickle=False) as file:
                keys, codes, meaning = file["keys"], file["codes"], str(file["meaning"])
        except (OSError, ValueError, KeyError) as error:
            raise CorruptIndexError(f"{location} is not a reference index: {error}") from error
        if meaning != _meaning(spec) or codes.shape[1:] != (spec.code.width,):
            raise CorruptIndexError(f"{location} holds {codes.shape} codes of {meaning}")
        index.upsert(keys, codes)
        return index


def _meaning(spec: IndexSpec) -> str:
    return f"{spec.code.format} by {spec.metric}"
