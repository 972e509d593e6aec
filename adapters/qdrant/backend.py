"""The Qdrant backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from requant.adapters.guards import check_supported
from requant.adapters.live import LiveBackend
from requant.adapters.protocol import Attached, Candidates, Capabilities, IndexSpec, Keys
from requant.adapters.qdrant import opening
from requant.adapters.qdrant.attached import AttachedCollection
from requant.adapters.qdrant.capabilities import CAPABILITIES
from requant.adapters.qdrant.points import Points
from requant.quantizers.arrays import Codes

if TYPE_CHECKING:
    from typing_extensions import Self


class QdrantBackend(LiveBackend[Points]):
    """Codes in a collection of Qdrant; `effort` is the number of candidates of a graph (ef).

    The location chooses the place: a path is a folder of the embedded engine,
    `http://host:6333/name` a collection on a server, `local:path` and `:memory:` the client's own
    slow imitation, for tests.
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, spec: IndexSpec, points: Points) -> None:
        """Guard `points`; users call `create` or `open`."""
        super().__init__(spec, points, points.connection.sharing)

    @classmethod
    def create(
        cls, spec: IndexSpec, location: str | None = None, *, overwrite: bool = False
    ) -> Self:
        """Make an empty index at `location`, in memory if it is None.

        Raises LocationTakenError where something stands, unless `overwrite` (a folder that requant
        did not make is never removed);
        EngineMissingError, EngineError, UnsupportedError and InputError.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, opening.create(spec, location, overwrite))

    @classmethod
    def open(cls, spec: IndexSpec, location: str) -> Self:
        """Open the index at `location`.

        Raises CorruptIndexError where there is none, or not what `spec` says; EngineError where
        the server cannot be reached or the folder is in use.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, opening.load(spec, location))

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove the index at `location`; LocationTakenError if requant did not make it."""
        opening.remove(spec, location)

    @classmethod
    def noted_at(cls, spec: IndexSpec, location: str) -> str | None:
        """Return the text of the index at `location`; raises EngineError."""
        return opening.noted_at(spec, location)

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Attached:
        """Ask a collection of another program's, read only; `params` as in `attached.PARAMS`.

        Raises InputError, CorruptIndexError, EngineMissingError, and EngineError, also where a
        shard is open elsewhere.
        """
        return AttachedCollection(location, params)

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        among: Keys | None = None,
        effort: int | None = None,
        codes: bool = False,
    ) -> Candidates:
        """Return the k nearest of each query, once what is new can be searched fast."""
        points = vars(self).get("_structure")  # None once closed, which is told below
        if points is not None and points.late:
            with self._writing:
                if points.late:
                    points.optimize()
        return super().search(queries, k, among=among, effort=effort, codes=codes)
