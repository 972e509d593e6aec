"""Where an index is: a folder, a server, or this process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from requant.adapters.hosts import masked
from requant.quantizers.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,250}")


@dataclass(frozen=True)
class Folder:
    """A folder of the embedded engine."""

    path: Path


@dataclass(frozen=True)
class Server:
    """A collection on a server or a cluster."""

    url: str
    collection: str

    def __str__(self) -> str:
        """Return the address, without any key."""
        return f"{self.url}/{self.collection}"

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is sent there."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class Local:
    """The client's own local mode: in memory, and in one file of ours if there is a path."""

    path: Path | None


Place = Folder | Server | Local


def parse(location: str | None) -> Place:
    """Return the place that a location means; raises InputError if it means none.

    >>> print(parse("http://localhost:6333/notes"))
    http://localhost:6333/notes
    >>> parse(":memory:")
    Local(path=None)
    """
    if location is None or location.startswith(":memory:"):
        return Local(None)
    if location.startswith("local:"):
        return Local(_path(location.removeprefix("local:")))
    if location.startswith(("http://", "https://")):
        return _server(location)
    if "://" in location:
        raise InputError(
            f"qdrant has no place like {masked(location)!r}: give a path, "
            "http(s)://host:port/collection, local:path or :memory:"
        )
    return Folder(_path(location))


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise InputError(f"qdrant needs a path, not {text!r}")
    return Path(text).resolve()


def _server(location: str) -> Server:
    parts = urlsplit(location)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not repeated in the error: it may hold a key.
        raise InputError(
            "a Qdrant address is http(s)://host:port/collection and nothing else: the key belongs "
            "in requant.open(secrets={'qdrant': {'api_key': ...}}) or REQUANT_QDRANT_API_KEY"
        )
    before, _, name = parts.path.rpartition("/")
    if not _has_host(parts) or not _NAME.fullmatch(name):
        raise InputError(
            f"{masked(location)!r} names no collection: http(s)://host:port/collection, a name "
            "of letters, digits, '_', '-' and '.'"
        )
    return Server(f"{parts.scheme}://{parts.netloc}{before}", name)


def _has_host(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False
