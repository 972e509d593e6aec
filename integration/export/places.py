"""Targets on this machine: whole or absent, and nobody else's is ever removed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from requant.adapters.hosts import masked
from requant.errors import ExistsError, InputError

IsOurs = Callable[[Path], bool]
_HOST = re.sub(r"[^A-Za-z0-9]", "_", platform.node()) or "host"


@contextmanager
def new_folder(target: Path, overwrite: bool, is_ours: IsOurs) -> Iterator[Path]:
    """Yield a folder beside `target`, which takes its place when the block has succeeded.

    Whatever goes wrong, `target` is the whole new folder or what it was before. A process that is
    killed leaves a hidden `.partial` folder, which the next export to the same place removes.

    Raises:
        ExistsError: something stands there, and `overwrite` is not given or `is_ours` denies it.
    """
    check_free(target, overwrite, is_ours)
    with _parents(target):
        _sweep(target)
        partial = _beside(target, "partial")
        partial.mkdir()
        try:
            yield partial
            sync(partial)
            _put(partial, target, overwrite, is_ours)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    sync(target.parent, below=False)


@contextmanager
def new_files(
    targets: list[Path], overwrite: bool, is_ours: Sequence[IsOurs]
) -> Iterator[list[Path]]:
    """Yield a path beside each of `targets`; what the block has written there takes their places.

    The last one is the file that names the export: it is removed first and comes last, so that
    whoever finds it finds the others that belong to it. What the block has not written is removed
    from the target as well.

    Raises ExistsError where something stands, unless `overwrite` is given and that one of `is_ours`
    that belongs to the target knows it as a file of its kind.
    """
    for target, known in zip(targets, is_ours, strict=True):
        check_free(target, overwrite, known)
    with _parents(targets[-1]):
        for target in targets:
            _sweep(target)
        partials = [_beside(target, "partial") for target in targets]
        try:
            yield partials
            _put_files(partials, targets, overwrite)
        except BaseException:
            for partial in partials:
                with suppress(OSError):
                    partial.unlink()
            raise
    sync(targets[-1].parent, below=False)


def path_of(target: str) -> Path:
    """Return the path that a target means; raises InputError if it means none."""
    if not target or "\0" in target or "://" in target:
        raise InputError(f"{masked(target)!r} is no path: name a file or folder on this machine")
    path = Path(target).expanduser().resolve()
    if not path.name:
        raise InputError(f"{target} cannot be a target: name a file or folder in it")
    return path


def check_free(target: Path, overwrite: bool, is_ours: IsOurs) -> None:
    """Raise ExistsError where something stands that is not to be replaced."""
    if not os.path.lexists(target) or is_empty(target):
        return
    if not overwrite:
        raise ExistsError(f"{target} exists: choose another target, or overwrite it")
    if not is_ours(target):
        kind = "folder" if target.is_dir() else "file"
        raise ExistsError(
            f"the {kind} {target} is no export of this format, so it is not replaced: choose "
            "another target, or see to it yourself"
        )


def begins(path: Path, magic: bytes, at: int = 0) -> bool:
    """Whether it is a file that holds `magic` at a place, or nothing at all."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(min(at, size))
        return file.read(len(magic)) == magic or not size


def is_packed(path: Path) -> bool:
    """Whether it is a file that gzip made."""
    return begins(path, b"\x1f\x8b")


def is_empty(path: Path) -> bool:
    """Whether it is a folder with nothing in it."""
    return path.is_dir() and not any(path.iterdir())


def size_of(path: Path) -> int:
    """Return the bytes of all files in a folder, without the holes that some are made with."""
    return sum(_taken(inner.stat()) for inner in path.rglob("*") if inner.is_file())


def _taken(found: os.stat_result) -> int:
    blocks = getattr(found, "st_blocks", 0)  # of 512 bytes; Windows tells of none
    return min(found.st_size, 512 * blocks) if blocks else found.st_size


def sync(path: Path, *, below: bool = True) -> None:
    """Make a file, or a folder with everything in it, durable."""
    if path.is_dir():
        for inner in path.iterdir() if below else ():
            sync(inner)
        if os.name == "nt":
            return  # Windows cannot open a folder; its rename is durable by the journal.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _parents(target: Path) -> Iterator[None]:
    """Make the folders above, for the block, and for good if it succeeds."""
    made = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in made:
            with suppress(OSError):  # somebody uses it meanwhile
                parent.rmdir()
        raise


def _put_files(partials: list[Path], targets: list[Path], overwrite: bool) -> None:
    for partial in filter(Path.exists, partials):
        sync(partial)
    for target in reversed(targets):
        if overwrite:
            target.unlink(missing_ok=True)
        else:
            check_free(target, overwrite, Path.is_file)  # it may have been made meanwhile
    for partial, target in zip(partials, targets, strict=True):
        if partial.exists():
            partial.replace(target)


def _put(partial: Path, target: Path, overwrite: bool, is_ours: IsOurs) -> None:
    check_free(target, overwrite, is_ours)  # it may have been made meanwhile
    if not os.path.lexists(target):
        partial.rename(target)
        return
    gone = _beside(target, "gone")
    target.rename(gone)
    try:
        partial.rename(target)
    except BaseException:
        gone.rename(target)
        raise
    shutil.rmtree(gone)


def _beside(target: Path, ending: str) -> Path:
    name = f".{target.name}.{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{ending}"
    return target.with_name(name)


def _sweep(target: Path) -> None:
    """Remove what exports to this place left that were killed on this machine."""
    if os.name == "nt":
        return  # nothing tells whether a process is alive without ending it
    left = re.compile(rf"\.{re.escape(target.name)}\.{_HOST}-(\d+)-[0-9a-f]{{8}}\.partial")
    for path in target.parent.iterdir():
        found = left.fullmatch(path.name)
        if found and not _alive(int(found[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
