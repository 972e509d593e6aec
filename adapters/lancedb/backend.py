"""The LanceDB backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from requant.adapters.guards import check_supported
from requant.adapters.lancedb import noting
from requant.adapters.lancedb import table as tables
from requant.adapters.lancedb.attached import AttachedTable
from requant.adapters.lancedb.capabilities import CAPABILITIES
from requant.adapters.lancedb.place import place_of
from requant.adapters.lancedb.plan import plan_of
from requant.adapters.lancedb.rows import Rows
from requant.adapters.live import LiveBackend
from requant.adapters.protocol import Attached, Capabilities, IndexSpec

if TYPE_CHECKING:
    from typing_extensions import Self


class LancedbBackend(LiveBackend[Rows]):
    """Codes in a LanceDB table with the columns `key` and `code`, which plain LanceDB opens.

    A location is a folder, in which the table is called `codes`, or a URI whose last part is the
    name of the table: `s3://bucket/prefix/name`, `gs://`, `az://`, `db://database/name` (LanceDB
    Cloud, which was never tried). A store that ignores `If-None-Match` is refused by `create`.

    Every write is one commit, seen at once by all processes. `flush` builds the index, when there
    are `index_from` rows, extends it, and compacts the table; rows that are not yet in it are
    scanned. `effort` is ef of a graph and nprobes of partitions.

    >>> import numpy as np, tempfile
    >>> from requant.quantizers.codes import CodeSpec
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     index = LancedbBackend.create(IndexSpec(CodeSpec("int8", 2), "ip"), f"{folder}/notes")
    ...     index.upsert(np.array([7, 9]), np.array([[1, 2], [3, 4]], np.int8))
    ...     index.search(np.array([[1, 1]], np.int8), 2).keys.tolist()
    ...     index.close()
    [[9, 7]]
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES
    one_version: ClassVar[bool] = True

    def __init__(self, spec: IndexSpec, rows: Rows) -> None:
        """Guard `rows`; users call `create` or `open`."""
        # Readers need not wait for a writer: a search sees one version of the table.
        super().__init__(spec, rows, "all")

    @classmethod
    def create(
        cls, spec: IndexSpec, location: str | None = None, *, overwrite: bool = False
    ) -> Self:
        """Return a new, empty table at `location`; LanceDB learns from the rows themselves.

        Raises:
            UnsupportedError: LanceDB has no such index; the text lists what it has.
            InputError: a bad parameter or location.
            LocationTakenError: something stands there, and it is not an index to be overwritten.
            EngineError: the place cannot be reached or written to.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, Rows(tables.create(place_of(location, spec), plan_of(spec), overwrite)))

    @classmethod
    def open(cls, spec: IndexSpec, location: str) -> Self:
        """Return the index at `location`.

        Raises:
            CorruptIndexError: nothing stands there, another thing than `spec` says, or a table
                that has lost its newest versions.
            EngineError: the place cannot be reached.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, Rows(tables.open_table(place_of(location, spec), plan_of(spec))))

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove the index at `location`; nothing there is no error.

        Raises:
            EngineError: what stands there was not made by requant, or cannot be reached.
        """
        place = place_of(location, spec)
        tables.drop(place)
        noting.drop(place)

    @classmethod
    def noted_at(cls, spec: IndexSpec, location: str) -> str | None:
        """Return the text of the table at `location`; raises EngineError."""
        return noting.noted_at(place_of(location, spec))

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Attached:
        """Ask a table of another program's, read only; `params` as in `attached.PARAMS`.

        Raises InputError, CorruptIndexError, EngineError.
        """
        return AttachedTable(location, params)
