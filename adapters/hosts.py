"""Which host a URL means, and what of it may be shown."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from requant.quantizers.errors import InputError

# The place of engines that imitate a server in memory.
_MEMORY = ":memory:"
_PORTS = {"http": 80, "https": 443}
# What parsers of URLs read in different ways: who checks and who connects must mean the same host.
_PLAIN = re.compile(r"[a-z][a-z0-9+.-]*://[\w.:\[\]-]*(/(?:[^\s\\?#]| )*)?")
# Whoever has masked the password only, as SQLAlchemy does, has done enough.
_USER = re.compile(r"//(?![^/\s'\"@]*:\*\*\*@)[^/\s'\"]*@")
_BARE_USER = re.compile(r"[^/\\\s]*:[^/\\\s]*@")
_QUERY = re.compile(r"(?<=[a-z0-9/])\?[^\s'\"]*=[^\s'\"]*")


class Host(NamedTuple):
    """A host, as far as it was said: no scheme and no port stand for any."""

    scheme: str | None
    name: str
    port: int | None
    path: str

    def __str__(self) -> str:
        """Return it as a URL, or as it would be told."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        port = "" if self.port in (None, _PORTS.get(self.scheme or "")) else f":{self.port}"
        return f"{self.scheme}://{name}{port}" if self.scheme else f"{name}{port}"

    @property
    def loopback(self) -> bool:
        """Whether it is this machine."""
        if self.scheme not in (*_PORTS, None):
            return False  # the name of a bucket
        if self.name == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.name).is_loopback
        except ValueError:
            return False

    def covers(self, other: Host) -> bool:
        """Whether what is said of this one is said of `other`, which is whole.

        >>> host_of("https://qdrant.example").covers(host_of("https://qdrant.example:443/a"))
        True
        """
        below = self.path.rstrip("/") + "/"
        return (
            self.name == other.name
            and self.scheme in (None, other.scheme)
            and self.port in (None, other.port)
            and (other.path + "/").startswith(below)
        )


def host_of(url: str) -> Host | None:
    """Return the host of a URL; None for a path, a file or memory.

    Raises InputError for a URL that holds more than a host and a path, or that can be misread.

    >>> host_of("http://localhost:6333/notes")
    Host(scheme='http', name='localhost', port=6333, path='/notes')
    """
    scheme, found, _ = url.partition("://")
    if not found or scheme.lower() == "file":
        return None
    if not _PLAIN.fullmatch(scheme.lower() + url[len(scheme) :]):
        raise InputError(f"{masked(url)!r} is no plain URL of a host and a path")
    parts = urlsplit(url)
    try:
        name, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{masked(url)!r} is no URL: {error}") from error
    if not name:
        raise InputError(f"{masked(url)!r} names no host or bucket")
    if ".." in unquote(parts.path).split("/"):
        raise InputError(f"{masked(url)!r} leads out of its own path")
    port = _PORTS.get(parts.scheme) if port is None else port
    return Host(parts.scheme, name.rstrip("."), port, parts.path.rstrip("/"))


def folder_of(url: str | None) -> Path | None:
    """Return the folder that a stored URL means; None for a server, for memory, and without one.

    Raises InputError for a path that is not whole, which no requant stores: its meaning would
    depend on who opens the database where.

    >>> folder_of("file:///srv/a%20b"), folder_of("https://host/a")
    (PosixPath('/srv/a b'), None)
    """
    if url is None or url.startswith(_MEMORY) or host_of(url) is not None:
        return None
    path = Path(unquote(urlsplit(url).path) if "://" in url else url)
    if not path.is_absolute() or "\0" in url:
        raise InputError(f"{url[:80]!r} is no whole path")
    return path


def told_host(text: str) -> Host:
    """Return the host that somebody names: a URL, or a host with or without a port.

    >>> str(told_host("qdrant.example:6333"))
    'qdrant.example:6333'
    """
    whole = isinstance(text, str) and "://" in text
    host = host_of(text if whole else f"any://{text}") if isinstance(text, str) else None
    if host is None:
        raise InputError(f"{str(text)[:80]!r} names no host: write it as https://host:port")
    return host if whole else host._replace(scheme=None)


def check_stored(url: str) -> None:
    """Raise InputError for a URL that a database must not hold: one with a user or a key in it."""
    if "://" not in url and _BARE_USER.match(url):
        shown = masked(f"//{url}").removeprefix("//")
        raise InputError(f"{shown!r} has no scheme, and a user in it: pass keys by secrets=")
    host_of(url)


def masked(text: str) -> str:
    """Return a text whose URLs show no user, password or key.

    >>> masked("s3://user:secret@bucket/notes")
    's3://***@bucket/notes'
    """
    return _QUERY.sub("?***", _USER.sub("//***@", text))
