"""A model of a disk that loses power: what a log of the shim says was written; what stays.

What was written stays for certain once its file was synced. Names (files made, renamed, removed) go
through a journal, as on ext4 and xfs: they stay in their order, and syncing a file or a folder
makes those stay that concern it, with all before them.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

CREATED, WRITTEN, CUT, SYNCED, RENAMED, UNLINKED, MADE, LINKED, MARKED, REMOVED = range(1, 11)
_HEAD = struct.Struct("=6Q")
_SECTOR = 512


class Event(NamedTuple):
    """One record of the log."""

    kind: int
    inode: int
    offset: int
    one: str
    two: str
    data: bytes


def read_log(path: Path) -> list[Event]:
    """Return what the shim recorded."""
    content, at, events = path.read_bytes(), 0, []
    while at < len(content):
        kind, inode, offset, length, one, two = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        ends = at + one, at + one + two, at + one + two + length
        names = content[at : ends[0]].decode(), content[ends[0] : ends[1]].decode()
        events.append(Event(kind, inode, offset, *names, content[ends[1] : ends[2]]))
        at = ends[2]
    return list(_with_unseen(events))


def _with_unseen(events: list[Event]) -> Iterator[Event]:
    """Yield the events, and the renames that were made past the shim, by system calls of Rust's.

    Such a file is made as `.tmp...` and later synced under another name of its folder: it got that
    name, at the earliest, after it was written for the last time.
    """
    names: dict[int, str] = {}
    written: dict[int, int] = {}
    unseen: dict[int, list[Event]] = {}
    for number, event in enumerate(events):
        if event.kind == CREATED:
            names[event.inode] = event.one
        if event.kind in (CREATED, WRITTEN, CUT):
            written[event.inode] = number
        old = names.get(event.inode, "")
        if event.kind == SYNCED and old != event.one and Path(old).name.startswith(".tmp"):
            assert Path(old).parent == Path(event.one).parent
            rename = Event(RENAMED, 0, 0, old, event.one, b"")
            unseen.setdefault(written[event.inode], []).append(rename)
            names[event.inode] = event.one
    for number, event in enumerate(events):
        yield event
        yield from unseen.get(number, [])


@dataclass
class File:
    """What is on the disk of a file for certain, and what was done to it since."""

    number: int
    kept: bytes = b""
    pending: list[Event] = field(default_factory=list)

    def content(self, done: list[Event]) -> bytes:
        """Return what it holds once `done` has come to the disk."""
        data = bytearray(self.kept)
        for event in done:
            if event.kind == CUT:
                del data[event.offset :]
                data.extend(bytes(event.offset - len(data)))
            else:
                data.extend(bytes(max(0, event.offset - len(data))))
                data[event.offset : event.offset + len(event.data)] = event.data
        return bytes(data)


Names = dict[str, File | None]  # None stands for a folder


@dataclass
class Image:
    """What is found when the power is back."""

    names: Names
    contents: dict[int, bytes]

    def digest(self) -> bytes:
        """Return what tells it from others: many cuts leave the same."""
        seen = hashlib.sha256()
        for name, file in sorted(self.names.items()):
            content = b"a folder" if file is None else self.contents[id(file)]
            seen.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
        return seen.digest()

    def put(self, root: Path) -> None:
        """Make it the content of `root`."""
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for name, file in sorted(self.names.items()):
            if file is None:
                Path(name).mkdir(parents=True, exist_ok=True)
        for name, file in self.names.items():
            if file is not None and Path(name).parent.is_dir():
                Path(name).write_bytes(self.contents[id(file)])


class Disk:
    """Follows a log event by event."""

    def __init__(self) -> None:
        """Begin with an empty disk."""
        self.names: Names = {}  # as the processes see them
        self.kept_names: Names = {}
        self.journal: list[tuple[Event, File | None]] = []
        self.files: dict[int, File] = {}

    def follow(self, event: Event) -> None:
        """Take in one event."""
        if event.kind in (WRITTEN, CUT):
            if event.inode in self.files:
                self.files[event.inode].pending.append(event)
        elif event.kind == SYNCED:
            self._sync(event)
        elif event.kind != MARKED:
            file = self._file_of(event)
            self.journal.append((event, file))
            _rename(self.names, event, file)

    def _file_of(self, event: Event) -> File | None:
        if event.kind == CREATED:
            self.files[event.inode] = File(event.inode)
            return self.files[event.inode]
        return self.names.get(event.one)

    def _sync(self, event: Event) -> None:
        file = self.files.get(event.inode)
        if file is not None and self.names.get(event.one) is not None:
            file.kept, file.pending = file.content(file.pending), []
        last = 0
        for number, (entry, about) in enumerate(self.journal, 1):
            inside = any(str(Path(name).parent) == event.one for name in (entry.one, entry.two))
            if inside or (about is not None and about is file):
                last = number
        for entry, about in self.journal[:last]:
            _rename(self.kept_names, entry, about)
        del self.journal[:last]

    def least(self) -> Image:
        """Return what stays for certain."""
        return self._image(0, lambda _file: [])

    def most(self) -> Image:
        """Return what is there if the process dies, and the power stays."""
        return self._image(len(self.journal), lambda file: file.pending)

    def chance(self, rng: random.Random) -> Image:
        """Return what may be left: some names, and some writes, of which one is torn."""

        def some(file: File) -> list[Event]:
            done = [event for event in file.pending if rng.random() < 0.5]
            if done and len(done[-1].data) > _SECTOR:
                sectors = rng.randrange(len(done[-1].data) // _SECTOR)
                done[-1] = done[-1]._replace(data=done[-1].data[: sectors * _SECTOR])
            return done

        return self._image(rng.randint(0, len(self.journal)), some)

    def _image(self, names: int, done) -> Image:  # type: ignore[no-untyped-def]
        found = dict(self.kept_names)
        for entry, file in self.journal[:names]:
            _rename(found, entry, file)
        files = [file for file in found.values() if file is not None]
        return Image(found, {id(file): file.content(done(file)) for file in files})


def _rename(names: Names, event: Event, file: File | None) -> None:
    if event.kind == CREATED:
        names[event.one] = file
    elif event.kind == MADE:
        names[event.one] = None
    elif event.kind == LINKED:
        names[event.two] = file
    elif event.kind in (UNLINKED, REMOVED):
        names.pop(event.one, None)
    else:
        _move(names, event.one, event.two, file)


def _move(names: Names, old: str, new: str, file: File | None) -> None:
    names.pop(old, None)
    names[new] = file
    for name in [name for name in names if name.startswith(old + "/")]:  # a whole folder
        names[new + name.removeprefix(old)] = names.pop(name)


def cuts(events: list[Event], every: int = 1) -> Iterator[tuple[int, Disk]]:
    """Yield the disk after each event that changes something, or after every n-th."""
    disk = Disk()
    for number, event in enumerate(events, 1):
        disk.follow(event)
        if event.kind != MARKED and number % every == 0:
            yield number, disk
