"""The usearch backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from requant.adapters.guards import check_supported
from requant.adapters.local import LocalBackend
from requant.adapters.protocol import Attached, Capabilities, IndexSpec
from requant.adapters.usearch.adopted import AdoptedIndex
from requant.adapters.usearch.arguments import kind_of
from requant.adapters.usearch.attached import AttachedIndex
from requant.adapters.usearch.capabilities import CAPABILITIES
from requant.adapters.usearch.flat import FlatIndex
from requant.adapters.usearch.graph import GraphIndex
from requant.adapters.usearch.scanned import ScannedIndex
from requant.quantizers.errors import UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import Self


class UsearchBackend(LocalBackend[FlatIndex | GraphIndex]):
    """Codes in a usearch graph, or in plain arrays that usearch scans; `effort` is its expansion.

    >>> import numpy as np
    >>> from requant.quantizers.codes import CodeSpec
    >>> index = UsearchBackend.create(IndexSpec(CodeSpec("int8", 2), "ip"))
    >>> index.upsert(np.array([7, 9]), np.array([[1, 2], [3, 4]], np.int8))
    >>> index.search(np.array([[1, 1]], np.int8), 2).keys.tolist()
    [[9, 7]]
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    @classmethod
    def create(cls, spec: IndexSpec, location: str | None = None) -> Self:
        """Return an empty index in memory."""
        check_supported(cls.capabilities, spec)
        return cls(spec, _kind(spec)(spec))

    @classmethod
    def open(cls, spec: IndexSpec, location: str, *, mmap: bool = False) -> Self:
        """Read the file that `flush` wrote, or map it: a mapped index is copied on its first write.

        The file must have passed `requant.adapters.files.check_digest` before: usearch crashes on
        a flipped bit.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, _kind(spec).load(spec, location, mmap))

    @classmethod
    def adopt(cls, index: Any, *, exact: bool = True) -> Self:
        """Search a usearch index that another program made, as it is.

        `spec` tells afterwards what it holds. It cannot be written to. `exact` searches compare
        every code, others walk the graph.

        Raises:
            InputError: no usearch index, one of another dtype or metric, or a graph to walk that
                has hardly any links.
        """
        adopted = AdoptedIndex(index, exact)
        return cls(adopted.spec, adopted)

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Attached:
        """Ask a usearch file of another program's, read only; `params` as in `attached.PARAMS`.

        A damaged file can end its process: another process opens it first. Raises InputError,
        CorruptIndexError, and EngineError where it is written to meanwhile.
        """
        return AttachedIndex(location, params)

    def native(self) -> Any:
        """Return usearch's own index, shared with this one; raises UnsupportedError if flat."""
        with self._guard.shared:
            if isinstance(self._structure, FlatIndex):
                raise UnsupportedError("a flat index is a table that usearch scans, not an index")
            return self._structure.inner


def _kind(spec: IndexSpec) -> type[FlatIndex] | type[GraphIndex]:
    kind_of(spec)  # a dtype that does not exist is refused before anything is made
    if spec.index_type == "hnsw":
        return GraphIndex
    return ScannedIndex if spec.code.format == "native" else FlatIndex
