"""The contract between the core and an engine. A backend knows keys and codes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.codes import CodeMetric, CodeSpec, Format

if TYPE_CHECKING:
    from typing_extensions import Self

Keys: TypeAlias = NDArray[np.int64]
IndexType = Literal["flat", "hnsw", "ivf"]
Storage = Literal["file", "live"]
Place = Literal["memory", "folder", "server"]


@dataclass(frozen=True)
class IndexSpec:
    """What an index holds and how it is built; equal on every open of the same index.

    `params` are the engine's own, by the engine's own names (`M`, `efConstruction`, `nlist`...);
    `expected` is about how many items it will hold, for engines that size a structure by it.
    """

    code: CodeSpec
    metric: CodeMetric
    index_type: IndexType = "flat"
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold secrets
    expected: int = 0


@dataclass(frozen=True)
class Support:
    """One thing an engine can do, as a row of its capability table.

    `exact`: the order is that of the codes, ties aside. `key_sets`: `search(among=...)` is pushed
    down into the engine. `codes`: `search(codes=True)` hands back the candidates' codes as well.
    `lossy`: the engine compresses what it is given, so that `export` yields approximations and
    distances are estimates (native formats only). `deletes`: "in place", or "tombstones" until a
    rebuild. `mmap`: an engine that maps files maps this one; else it reads it, with a warning.
    """

    format: Format
    index_type: IndexType
    metrics: tuple[CodeMetric, ...]
    exact: bool = False
    key_sets: bool = False
    codes: bool = False
    lossy: bool = False
    deletes: Literal["in place", "tombstones"] = "in place"
    mmap: bool = True


@dataclass(frozen=True)
class Capabilities:
    """What an engine declares: the documentation, the core and the conformance suite read it.

    `storage`: a "file" engine lives in memory and `flush` writes one file; a "live" engine keeps
    its own at the location where it was created, and `create(overwrite=True)` replaces what stands
    there. `places`: where that can be. `learns_from_sample`: `create(sample=codes)` learns a
    structure from them. `mmap`: `open(mmap=True)` maps the file instead of reading it.
    `parallel`: a batch of queries uses several cores inside the engine.
    `survives_fork`: an open index can be used in a forked child; else it raises ForkedError there.
    `notes`: a place of a "live" engine keeps a short text of its owner's, see `Noting`.
    `read_only`: the `places` in which `open` and `search` write nothing and lock nothing.
    `params`: the names that `IndexSpec.params` may hold, each with a line of explanation.
    `secrets`: more such names, whose values are passed on opening and never stored.
    `environment`: variables that the engine reads secrets from, each with the schemes of the URLs
    it is read for. `redirects`: those of the `params` that name the host which is asked instead
    of that in the URL, each with the schemes of the URLs for which it does.
    """

    engine: str
    storage: Storage
    places: tuple[Place, ...]
    supports: tuple[Support, ...]
    learns_from_sample: bool = False
    mmap: bool = False
    parallel: bool = False
    survives_fork: bool = False
    notes: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read_only: tuple[Place, ...] = ()
    redirects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def overwrites(self) -> bool:
        """Whether something may stand where an index is created."""
        return self.storage == "live"

    @property
    def create_options(self) -> tuple[str, ...]:
        """The keyword arguments that the engine's `create` has, in this order."""
        options = {"sample": self.learns_from_sample, "overwrite": self.overwrites}
        return tuple(name for name, used in options.items() if used)

    @property
    def open_options(self) -> tuple[str, ...]:
        """The keyword arguments that the engine's `open` has."""
        return ("mmap",) if self.mmap else ()

    def find(self, format: Format, index_type: IndexType) -> Support | None:
        """Return the row of a code format and an index type, None if the engine has none."""
        for row in self.supports:
            if (row.format, row.index_type) == (format, index_type):
                return row
        return None


@dataclass(frozen=True)
class Candidates:
    """The answer of a first pass: `keys (q, k) int64`, `distances (q, k) float32`, best first.

    A row with fewer than k answers is padded at its end with key -1 and distance infinity.
    Distances are those of `requant.quantizers.distance`: lower is nearer, whatever the metric.
    `codes (q, k, w)` are the candidates' own codes, where they were asked for (padding: zeros).
    """

    keys: Keys
    distances: Float32s
    codes: Codes | None = None

    @classmethod
    def empty(cls, spec: IndexSpec, q: int, k: int, codes: bool = False) -> Candidates:
        """Return an answer to q queries in which nothing was found, to be filled or as it is.

        >>> Candidates.empty(IndexSpec(CodeSpec("int8", 4), "ip"), 1, 2).keys.tolist()
        [[-1, -1]]
        """
        return cls(
            np.full((q, k), -1, np.int64),
            np.full((q, k), np.inf, np.float32),
            np.zeros((q, k, spec.code.width), spec.code.dtype) if codes else None,
        )

    @classmethod
    def padded(
        cls,
        spec: IndexSpec,
        keys: Keys,
        distances: NDArray[Any],
        k: int,
        codes: Codes | None = None,
    ) -> Candidates:
        """Return `(q, m)` answers with k columns; where a key is -1, its distance is of no account.

        What has k columns already is not copied. Codes under key -1 are zeros already.
        """
        near = distances.astype(np.float32, copy=False)
        if np.count_nonzero(keys < 0):
            near = np.where(keys < 0, np.float32(np.inf), near)
        q, m = keys.shape
        if m == k:
            return cls(keys, near, codes)
        answer = cls.empty(spec, q, k, codes is not None)
        answer.keys[:, :m], answer.distances[:, :m] = keys, near
        if answer.codes is not None:
            answer.codes[:, :m] = codes
        return answer


@runtime_checkable
class Backend(Protocol):
    """Codes under int64 keys, in an engine's native format.

    Keys are unique and satisfy 0 <= key < 2**62. `upsert` and `search` take codes and queries
    exactly as `CodeSpec` describes them. Calls from several threads are safe.
    """

    capabilities: ClassVar[Capabilities]
    spec: IndexSpec

    @classmethod
    def create(
        cls, spec: IndexSpec, location: str | None = None, *args: Any, **options: Any
    ) -> Self:
        """Return an empty index, at `location` if the engine is "live".

        That is a path, or a URL whose last part is its name. Of the `options`, an engine names
        those which mean something to it, by keyword, and no others; `making.create` passes these:

        - `sample: Codes | None = None`, if it `learns_from_sample`: codes to learn a coarse
          structure (IVF) from;
        - `overwrite: bool = False`, if it is "live": what stands there may be replaced, which is
          refused with LocationTakenError else.

        Raises UnsupportedError where `spec` wishes for what `capabilities` do not offer.
        """
        ...

    @classmethod
    def open(cls, spec: IndexSpec, location: str, *args: Any, **options: Any) -> Self:
        """Return the index that `flush` left at `location`.

        An engine that can map a file names `mmap: bool = False`; `making.open` passes it.

        Raises CorruptIndexError where nothing stands there, or not what `spec` says, and
        EngineError where a server cannot be reached or another process has locked the folder.
        """
        ...

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove the index at `location` for good; nothing there is no error."""
        ...

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store `codes (n, w)` under `keys (n,)`, replacing what is there."""
        ...

    def delete(self, keys: Keys) -> int:
        """Remove `keys`, unknown ones aside, and return how many were there."""
        ...

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        among: Keys | None = None,
        effort: int | None = None,
        codes: bool = False,
    ) -> Candidates:
        """Return the k nearest of each query, of `among` (sorted keys) only if it is given.

        `effort` is what a graph or IVF search may spend (efSearch, nprobe, expansion); `codes`
        asks for the candidates' codes. Raises UnsupportedError for `among` and `codes` where the
        engine does not declare them.
        """
        ...

    def export(self, batch: int = 65536) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything the index holds, each code byte for byte as it was given.

        At most `batch` rows at a time, in any order. A write while the export runs may raise
        EngineError, but never tears it silently.
        """
        ...

    def __len__(self) -> int:
        """Return how many keys the index holds."""
        ...

    def flush(self, location: str | None = None) -> None:
        """Make what was accepted durable.

        A "file" engine writes a new file at `location`; the caller makes it durable and whole by
        `requant.adapters.files.publish(path, backend.flush)`. A "live" engine has its location.
        """
        ...

    def close(self) -> None:
        """Let go of memory, files and connections; closing twice is harmless."""
        ...


class Noting(Protocol):
    """A "live" backend whose place keeps a short text, by which its owner knows it again.

    The text belongs to the place, not to this object: it is there for whoever opens the place next,
    goes where its data go (a copied folder, a restored snapshot), and is gone when it is dropped.
    """

    def note(self, text: str) -> None:
        """Replace the text, wholly or not at all; it is durable once `flush` has returned.

        Whoever reads it sees the new text at once. Raises EngineError.
        """
        ...

    def noted(self) -> str | None:
        """Return the text as it stands in the place now, whoever wrote it; None without one.

        Raises EngineError where the place cannot be reached.
        """
        ...

    @classmethod
    def noted_at(cls, spec: IndexSpec, location: str) -> str | None:
        """Return the text of a place without opening it: only the params of `spec` have to fit.

        None where nothing stands, or something without a text. Raises EngineError.
        """
        ...


@runtime_checkable
class Adopting(Protocol):
    """A backend of an engine whose own index objects people hold in their hands."""

    @classmethod
    def adopt(cls, index: Any, *, exact: bool = True) -> Self:
        """Search an index that another program made; raises InputError if it cannot be told."""
        ...

    def native(self) -> Any:
        """Return the engine's own index, which stays shared with this one."""
        ...


@runtime_checkable
class Sparing(Protocol):
    """A backend that knows how many candidates its own compression needs."""

    @property
    def oversample(self) -> float:
        """Candidates for each result of a search that names no number of them."""
        ...


class Attached(Protocol):
    """An index that another program made and keeps: it can be asked, and is never written to.

    `metric` is None where it does not tell; `dim` are those of the vectors that it takes.
    """

    dim: int
    metric: Literal["cosine", "ip", "l2"] | None

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return its own ids of the k nearest of each of `queries (q, d) float32`, as text.

        Nearest first; fewer where it has no more. An index of bits is asked for the signs.
        """
        ...

    def stamp(self) -> str:
        """Return a short text that is another one once what stands there was changed.

        It tells of the place as it is now, which may be newer than what was opened (a file that
        took the place of a mapped one). Asking and opening again leave it as it is, in whatever
        process; work that changes no answer may change it. What an engine cannot see, it says.
        Raises CorruptIndexError where nothing stands there any more, EngineError.
        """
        ...

    def __len__(self) -> int:
        """Return how many vectors it holds."""
        ...

    def close(self) -> None:
        """Let go of files and connections; closing twice is harmless."""
        ...


@runtime_checkable
class Attaching(Protocol):
    """A backend of an engine that can open what its other users leave on disk or on a server."""

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Attached:
        """Open an index as it stands, read only.

        `location` is a path or URL as `Backend.open` takes them, `params` name what is to be
        chosen there (a vector, columns) and how to connect. Raises InputError where it cannot be
        told what is meant, CorruptIndexError where no index stands, EngineError.
        """
        ...
