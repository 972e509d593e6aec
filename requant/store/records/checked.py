"""What is read from tables and used as more than data: a stranger may have written it.

A database that came by mail is a program if its words are believed: what names engines, files and
places, and what is handed on as arguments, is checked as if a user had said it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from requant.adapters.hosts import check_stored, folder_of
from requant.adapters.own_files import check_remote
from requant.errors import CorruptDataError, CorruptIndexError, InputError
from requant.inputs import check_name
from requant.quantizers.codes import CodeMetric
from requant.scores import Metric

_MAX_DIM = 65_536
_MOST = 1 << 62
_CONFIG: Mapping[str, tuple[type, ...]] = {
    "engine": (str,),
    "precision": (str,),
    "index_type": (str,),
    "options": (dict,),
    "params": (dict,),
    "mmap": (bool,),
    "url": (str, type(None)),
    "remote_name": (str, type(None)),
}
_OPTIONS: Mapping[str, tuple[type, ...]] = {
    "bits": (int,),
    "rotate": (bool,),
    "dialect": (str,),
    "aliases": (bool,),
}


def config(text: object, index: object) -> dict[str, Any]:
    """Return the fields of an index's config; raises CorruptDataError.

    >>> config('{"engine": "faiss", "precision": "int8"}', 1)
    {'engine': 'faiss', 'precision': 'int8'}
    """
    what = f"the config of index {index!r}"
    found = mapping(text, what)
    _fields(found, _CONFIG, what)
    for name in ("engine", "precision"):
        if name not in found:
            raise CorruptDataError(f"{what} has no {name!r}")
    _fields(found.get("options", {}), _OPTIONS, f"{what}, options,")
    try:
        if found.get("url") is not None:
            check_stored(found["url"])
            folder_of(found["url"])
        if found.get("remote_name") is not None:
            check_remote(found["remote_name"])
    except (InputError, CorruptIndexError) as error:
        raise CorruptDataError(f"{what}: {error}") from error
    return found


def spec(text: object, index: object) -> dict[str, Any]:
    """Return what a generation was made with: `metric` and `expected`; raises CorruptDataError.

    Also `followed`, where it is noted.
    """
    what = f"the spec of a generation of index {index!r}"
    found = mapping(text, what)
    names = set(found) - {"followed"}
    if names != {"metric", "expected"} or found["metric"] not in get_args(CodeMetric):
        raise CorruptDataError(f"{what} is not what requant writes: {str(found)[:80]}")
    whole(found["expected"], what)
    whole(found.get("followed", 0), what)
    return found


def collection(number: Any, name: Any, dim: Any, metric: Any) -> tuple[int, str, int, Metric]:
    """Return the columns of a collection; raises CorruptDataError."""
    what = f"collection {str(name)[:80]!r}"
    try:
        check_name(name, "collection")
    except InputError as error:
        raise CorruptDataError(f"in the database, {error}") from error
    if metric not in get_args(Metric):
        raise CorruptDataError(f"{what} has metric {str(metric)[:80]!r}, which there is not")
    if not 1 <= whole(dim, what) <= _MAX_DIM:
        raise CorruptDataError(f"{what} has {dim} dimensions, which none can have")
    return whole(number, what), name, dim, metric


def origins(text: object, collection: str) -> list[dict[str, str]]:
    """Return where the vectors of a collection came from; raises CorruptDataError."""
    what = f"the origins of collection {collection!r}"
    try:
        found = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptDataError(f"{what} are not JSON: {error}") from error
    fields = {"source", "kind", "fidelity"}
    for one in found if isinstance(found, list) else [None]:
        if not isinstance(one, dict) or set(one) != fields:
            raise CorruptDataError(f"{what} are not what requant writes: {str(one)[:80]}")
    return list(found)


def mapping(body: object, what: str) -> dict[str, Any]:
    """Return a JSON object; raises CorruptDataError."""
    try:
        found = json.loads(body)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptDataError(f"{what} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CorruptDataError(f"{what} is no JSON object")
    return found


def whole(value: object, what: str) -> int:
    """Return a number from 0 that a key or a count can be; raises CorruptDataError.

    SQLite keeps whatever is put into a column, texts and blobs too.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise CorruptDataError(f"{what} holds {str(value)[:80]!r} instead of a number")
    return value


def text(value: object, what: str) -> str:
    """Return a text; raises CorruptDataError."""
    if not isinstance(value, str):
        raise CorruptDataError(f"{what} holds {type(value).__name__} instead of a text")
    return value


def _fields(found: Mapping[str, Any], known: Mapping[str, tuple[type, ...]], what: str) -> None:
    for name, value in found.items():
        if name not in known:
            raise CorruptDataError(
                f"{what} names {name[:80]!r}, which this requant does not know: it is damaged, or "
                "written by a newer one"
            )
        if type(value) not in known[name]:
            raise CorruptDataError(f"{what} has a {name!r} of type {type(value).__name__}")
