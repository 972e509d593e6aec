"""An index in the memory of each process, kept as files that never change."""

from __future__ import annotations

import contextlib
import time
import uuid
from contextlib import AbstractContextManager, nullcontext

from requant.adapters import making, registry
from requant.adapters.files import Digest, check_digest, publish
from requant.adapters.own_files import check_own, own_entries, refuse_link
from requant.adapters.protocol import Backend, IndexSpec
from requant.errors import CorruptIndexError
from requant.indexes.location.workspace import Workspace
from requant.quantizers.arrays import Codes
from requant.store import Generation, Head, IndexRow, Reader, Watermark

_ORPHAN_SECONDS = 3600.0


class FileLocation:
    """Each process has the index in its memory; generations are files that never change."""

    readable = True
    live = False
    own = True
    attached = False
    complaint: str | None = None

    def __init__(self, workspace: Workspace, row: IndexRow) -> None:
        """Keep the files of `row` in a folder of their own."""
        self._workspace = workspace
        self._folder = workspace.folder_of(row.id)
        self._config = row.config

    def write_lock(self, wait: bool) -> AbstractContextManager[bool]:
        """Nobody else writes to our memory."""
        return nullcontext(True)

    def create(
        self, spec: IndexSpec, sample: Codes, mark: Watermark, overwrite: bool
    ) -> tuple[str, Backend]:
        """Return an empty index in memory."""
        return "", making.create(registry.load(self._config.engine), spec, sample=sample)

    def open(self, generation: Generation, spec: IndexSpec) -> Backend:
        """Read or map a file, once its digest has been checked."""
        path = check_own(self._folder, generation.file)
        try:
            check_digest(path, generation.digest)
            engine = registry.load(self._config.engine)
            backend = making.open(engine, spec, str(path), mmap=self._config.mmap)
        except OSError as error:
            raise CorruptIndexError(f"{path} cannot be read: {error}") from error
        if len(backend) != generation.items:
            raise CorruptIndexError(
                f"{path} holds {len(backend)} items, {generation.items} were written"
            )
        return backend

    def write(self, name: str, backend: Backend) -> tuple[str, Digest]:
        """Write a new file."""
        self._workspace.claim()
        refuse_link(self._folder)
        name = f"{uuid.uuid4().hex}.{self._config.engine}"
        return name, publish(self._folder / name, backend.flush)

    def head(self, reader: Reader | None) -> Head | None:
        """A file never changes."""
        return None

    def stamp(self, name: str) -> str | None:
        """A file has its digest."""
        return None

    def holds(self, name: str, backend: Backend) -> bool:
        """Nobody else writes to it."""
        return True

    def followed_to(self, name: str, backend: Backend, seq: int) -> bool:
        """Nobody else writes to it."""
        return True

    def announce(self, name: str, backend: Backend, seq: int) -> None:
        """Nobody needs to know."""

    def check_turn(self, name: str) -> None:
        """Nobody else writes there."""

    def advance(self, name: str, mark: Watermark, items: int) -> None:
        """Nobody needs to know."""

    def clear(self, useless: set[str], keep: set[str]) -> None:
        """Delete files of ours that no row names; old ones only, if they may be in the making."""
        long_ago = time.time() - _ORPHAN_SECONDS
        for path in own_entries(self._folder):
            with contextlib.suppress(FileNotFoundError):
                ours = path.name in useless
                if path.name not in keep and (ours or path.stat().st_mtime < long_ago):
                    path.unlink()
        if not keep:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
