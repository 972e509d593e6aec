"""Where a store is, as a pipeline's YAML may tell it: never with a password."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from haystack.utils import Secret

from requant.integration.haystack.errors import DocumentError
from requant.integration.locations import MEMORY, Location, warn_if_new

Place = Location | Secret
_SECRET = ("password", "passwd", "sslpassword", "token", "api_key")


def opened_at(location: Place) -> Location:
    """Return what a location stands for; raises DocumentError for a secret that nobody set."""
    if not isinstance(location, Secret):
        return location
    value = location.resolve_value()
    if not isinstance(value, str) or not value:
        raise DocumentError("the location is a Secret without a value: set its variable")
    return value


def told_place(location: Place) -> Any:
    """Return a location as it may be written down.

    Raises DocumentError for a connection that is open here only, and for a URL with a password.
    """
    if isinstance(location, Secret):
        return location.to_dict()
    if isinstance(location, str):
        return told_text("location", location)
    if isinstance(location, os.PathLike):
        return os.fspath(location)
    raise DocumentError(
        f"the location is a {type(location).__name__}, which is open in this process alone and "
        "cannot be written down: give the store a path, a URL, or Secret.from_env_var"
    )


def warn_of_new(data: Mapping[str, Any]) -> None:
    """Warn where the store that is written down begins with a database that is made now."""
    told = data.get("init_parameters") or {}
    place = told.get("location", MEMORY)
    if not told.get("must_exist"):
        warn_if_new(opened_at(Secret.from_dict(place) if isinstance(place, dict) else place))


def told_index(index: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return options of an index as they may be written down, in which no URL has a password."""
    if index is None:
        return None
    return {name: told_text(f"index[{name!r}]", one) for name, one in index.items()}


def told_text(name: str, text: Any) -> Any:
    """Return what is no URL with a password; raises DocumentError for one."""
    if isinstance(text, str) and "://" in text and _has_password(text):
        raise DocumentError(
            f"{name} is a URL with a password, which is not to stand in a file: set it as an "
            "environment variable and give location=Secret.from_env_var(...)"
        )
    return text


def _has_password(text: str) -> bool:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        return "@" in text
    return bool(url.password) or any(key.lower() in _SECRET for key in url.query)
