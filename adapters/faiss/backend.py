"""The FAISS backend."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from requant.adapters.attached_files import state_of
from requant.adapters.errors import EngineError
from requant.adapters.faiss import storage
from requant.adapters.faiss.adopted import AdoptedIndex
from requant.adapters.faiss.attached import AttachedIndex
from requant.adapters.faiss.capabilities import CAPABILITIES
from requant.adapters.faiss.compressed import CompressedIndex
from requant.adapters.faiss.graph import GraphIndex
from requant.adapters.faiss.succession import replace, successor_of
from requant.adapters.faiss.threads import FEW_ROWS, OneThread
from requant.adapters.guards import check_codes, check_supported
from requant.adapters.local import LocalBackend
from requant.adapters.protocol import Attached, Capabilities, IndexSpec, Keys
from requant.quantizers.arrays import Codes

if TYPE_CHECKING:
    from typing_extensions import Self


class FaissBackend(LocalBackend[storage.FaissStructure | AdoptedIndex]):
    """Codes in FAISS's own indexes, in memory; `flush` writes a file that plain FAISS can open.

    `effort` is efSearch of a graph and nprobe of lists. FAISS's threads follow `OMP_NUM_THREADS`
    or `faiss.omp_set_num_threads`.

    >>> import numpy as np
    >>> from requant.quantizers.codes import CodeSpec
    >>> index = FaissBackend.create(IndexSpec(CodeSpec("int8", 2), "ip"))
    >>> index.upsert(np.array([7, 9]), np.array([[1, 2], [3, 4]], np.int8))
    >>> index.search(np.array([[1, 1]], np.int8), 2).keys.tolist()
    [[9, 7]]
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(
        self,
        spec: IndexSpec,
        structure: storage.FaissStructure | AdoptedIndex,
        origin: storage.Origin | None = None,
    ) -> None:
        """Guard `structure`, which maps the file `origin` if there is one; users call `create`."""
        super().__init__(spec, structure)
        self._origin = origin
        self._rebuilding = threading.Lock()

    @classmethod
    def create(
        cls, spec: IndexSpec, location: str | None = None, *, sample: Codes | None = None
    ) -> Self:
        """Return an empty index in memory; an ivf index is trained on `sample (n, w)`."""
        check_supported(cls.capabilities, spec)
        if sample is not None:
            sample = check_codes(sample, spec, len(sample))
        return cls(spec, storage.new(spec, sample))

    @classmethod
    def open(cls, spec: IndexSpec, location: str, *, mmap: bool = False) -> Self:
        """Read the file that `flush` wrote, or map it: a mapped index is read on its first write.

        What FAISS cannot map, which is all that it scans in blocks, is read, with a warning.
        The file must have passed `requant.adapters.files.check_digest` before.
        """
        check_supported(cls.capabilities, spec)
        if not mmap:
            return cls(spec, storage.read(spec, location, False))
        path = Path(location).absolute()
        origin = storage.Origin(path, state_of(path))
        structure = storage.read(spec, location, True)
        if storage.is_mapped(structure):
            return cls(spec, structure, origin)
        warnings.warn(
            f"faiss keeps a {spec.code.format}/{spec.index_type} index in blocks, which cannot be "
            "mapped: it is read into memory, in spite of mmap=True",
            stacklevel=2,
        )
        return cls(spec, storage.read(spec, location, False))  # centroids would stay in the file

    @classmethod
    def adopt(cls, index: Any, *, exact: bool = True) -> Self:
        """Search a FAISS index that another program made, as it is; its labels are the keys.

        `spec` tells afterwards what it holds. It cannot be written to. `exact` is of no account:
        what a FAISS index is decides how it searches.

        Raises:
            InputError: no FAISS index, or one whose metric or codes cannot be told.
        """
        adopted = AdoptedIndex(index)
        return cls(adopted.spec, adopted)

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Attached:
        """Ask a FAISS file of another program's, read only; `params` as in `attached.PARAMS`.

        Raises InputError, CorruptIndexError, and EngineError where it is written to meanwhile.
        """
        return AttachedIndex(location, params)

    def native(self) -> Any:
        """Return FAISS's own index, which stays shared with this one; row i was the i-th upsert."""
        with self._guard.shared:
            return self._structure.inner

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store `codes (n, w)` under `keys (n,)`, replacing what is there."""
        with OneThread() if len(codes) < FEW_ROWS else nullcontext():
            super().upsert(keys, codes)
        self._rebuild_if_due()

    def delete(self, keys: Keys) -> int:
        """Remove `keys`, unknown ones aside, and return how many were there."""
        gone = super().delete(keys)
        self._rebuild_if_due()
        return gone

    def _rebuild_if_due(self) -> None:
        """Let an index without the dead rows take the place of one with many, as graphs have.

        It is built beside, while the old one goes on to answer: nobody else waits for it.
        """
        crowded = vars(self).get("_structure")
        if not isinstance(crowded, (GraphIndex, CompressedIndex)):
            return
        if not self._rebuilding.acquire(blocking=False):
            return  # another thread is about it, and takes in what this one wrote
        try:
            while crowded.is_crowded:
                successor = successor_of(crowded, self._reading)
                with self._writing:
                    self._writes += 1  # an export knows rows by number
                    replace(crowded, successor)
        except EngineError:
            if not self._guard.is_closed:  # what was written was accepted
                raise
        finally:
            self._rebuilding.release()

    def _writable(self) -> storage.FaissStructure | AdoptedIndex:
        if self._origin is not None and not isinstance(self._structure, AdoptedIndex):
            self._structure = storage.in_memory(self.spec, self._structure, self._origin)
            self._origin = None
        return self._structure
