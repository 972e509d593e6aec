"""An index on a server or a cluster: made, opened and dropped there."""

from __future__ import annotations

import os
import uuid
from typing import Any

from qdrant_client import QdrantClient

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.guards import whole_number
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.client import ClientConnection, note_in
from requant.adapters.qdrant.collection import check_layout, settings_of
from requant.adapters.qdrant.collection_layout import Layout, check_mark, is_mark, mark_of
from requant.adapters.qdrant.places import Server
from requant.adapters.qdrant.retry import Retry, code_of
from requant.quantizers.errors import InputError

_KEYS = ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY")


def create(spec: IndexSpec, layout: Layout, place: Server, overwrite: bool) -> ClientConnection:
    """Make a collection; raises LocationTakenError where one stands that may not be replaced."""
    connection, call = _connect(spec, place)
    try:
        (_clear if overwrite else _check_free)(connection.client, call, place)
        _make(connection.client, call, spec, layout, place)
    except BaseException:
        connection.close()
        raise
    return connection


def load(spec: IndexSpec, layout: Layout, place: Server) -> ClientConnection:
    """Open a collection of ours; raises CorruptIndexError if it is missing or does not fit."""
    connection, call = _connect(spec, place)
    try:
        info = _info(connection.client, call, place)
        if info is None:
            raise CorruptIndexError(f"there is no collection {place}")
        check_layout(info, layout, str(place))
        check_mark(_mark(info), spec, str(place))
    except BaseException:
        connection.close()
        raise
    return connection


def remove(spec: IndexSpec, place: Server) -> None:
    """Drop a collection of ours, if it is there."""
    connection, call = _connect(spec, place)
    try:
        _check_ours(connection.client, call, place)
        _clear(connection.client, call, place)
    finally:
        connection.close()


def noted_at(spec: IndexSpec, place: Server) -> str | None:
    """Return the text of a collection, None if there is none."""
    connection, call = _connect(spec, place)
    try:
        info = _info(connection.client, call, place)
        return None if info is None else note_in(info)
    finally:
        connection.close()


def _connect(spec: IndexSpec, place: Server) -> tuple[ClientConnection, Retry]:
    timeout, grpc = spec.params.get("timeout", 30), spec.params.get("prefer_grpc", False)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
        raise InputError(f"parameter timeout must be seconds above 0, not {timeout!r}")
    if not isinstance(grpc, bool):
        raise InputError(f"parameter prefer_grpc must be True or False, not {grpc!r}")
    parallel = whole_number(spec, "parallel", 2)
    call = Retry(str(place), whole_number(spec, "retries", 4, least=0))
    key = spec.params.get("api_key") or next(filter(None, map(os.environ.get, _KEYS)), None)
    client = call(
        lambda: QdrantClient(
            url=place.url,
            prefer_grpc=grpc,
            grpc_port=whole_number(spec, "grpc_port", 6334),
            timeout=timeout,
            check_compatibility=False,
            # As an argument of its own it is a warning on plain http, which is usual at home.
            headers={"api-key": str(key)} if key else None,
        )
    )
    return ClientConnection(client, place.collection, call, parallel), call


def _clear(client: Any, call: Retry, place: Server) -> None:
    """Drop what has the name, whoever made it."""
    if _info(client, call, place) is not None:
        call(lambda: client.delete_collection(place.collection))


def _check_free(client: Any, call: Retry, place: Server) -> None:
    if _info(client, call, place) is not None:
        raise LocationTakenError(
            f"the collection {place} exists: give another name, or overwrite=True to replace it"
        )


def _check_ours(client: Any, call: Retry, place: Server) -> None:
    info = _info(client, call, place)
    if info is not None and not is_mark(_mark(info)):
        raise LocationTakenError(
            f"the collection {place} was not made by requant: it is not dropped, see to it"
        )


def _make(client: Any, call: Retry, spec: IndexSpec, layout: Layout, place: Server) -> None:
    mark = mark_of(spec) | {"token": uuid.uuid4().hex}
    wanted = settings_of(layout)
    for name in ("shard_number", "replication_factor"):
        if name in spec.params:
            wanted[name] = whole_number(spec, name, 1)
    try:
        call(
            lambda: client.create_collection(place.collection, metadata={"requant": mark}, **wanted)
        )
    except EngineError as error:
        taken = code_of(_cause(error)) in (409, "ALREADY_EXISTS", "INVALID_ARGUMENT")
        found = _mark(_info(client, call, place)) if taken else None
        if found is None:
            raise
        # A first try may have been carried out although its answer never came.
        if found != mark:
            raise LocationTakenError(f"the collection {place} was made meanwhile") from error
    if _mark(_info(client, call, place)) != mark:
        call(lambda: client.delete_collection(place.collection))
        raise EngineError(
            f"{place}: the server keeps no metadata of collections, by which requant knows its "
            "own: it takes Qdrant 1.16 or later"
        )


def _info(client: Any, call: Retry, place: Server) -> Any:
    """Return what the server tells of the collection, None if there is none."""
    try:
        return call(lambda: client.get_collection(place.collection))
    except EngineError as error:
        if code_of(_cause(error)) in (404, "NOT_FOUND"):
            return None
        raise


def _mark(info: Any) -> Any:
    metadata = getattr(info.config, "metadata", None) if info is not None else None
    return (metadata or {}).get("requant")


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error
