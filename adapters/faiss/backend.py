"""The FAISS backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from requant.adapters.faiss import storage
from requant.adapters.faiss.adopted import AdoptedIndex
from requant.adapters.faiss.attached import AttachedIndex
from requant.adapters.faiss.capabilities import CAPABILITIES
from requant.adapters.guards import check_codes, check_supported
from requant.adapters.local import LocalBackend
from requant.adapters.protocol import Attached, Capabilities, IndexSpec
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
    _mapped = False

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
        """Read the file that `flush` wrote, or map it: a mapped index is copied on its first write.

        The file must have passed `requant.adapters.files.check_digest` before.
        """
        check_supported(cls.capabilities, spec)
        index = cls(spec, storage.read(spec, location, mmap))
        index._mapped = mmap
        return index

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

    def _writable(self) -> storage.FaissStructure | AdoptedIndex:
        if self._mapped and not isinstance(self._structure, AdoptedIndex):
            self._structure = storage.private_copy(self.spec, self._structure)
            self._mapped = False
        return self._structure
