"""An index on a server or a cluster: made, opened and dropped there."""

from __future__ import annotations

import os
import uuid
import warnings
from dataclasses import replace
from typing import Any

from qdrant_client import QdrantClient, models

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.guards import whole_number
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.client import (
    GRPC_BYTES,
    HTTP_BYTES,
    ClientConnection,
    Manner,
    note_in,
)
from requant.adapters.qdrant.collection import check_layout, settings_of
from requant.adapters.qdrant.collection_layout import Layout, check_mark, is_mark, mark_of
from requant.adapters.qdrant.connection import Limits
from requant.adapters.qdrant.places import Server
from requant.adapters.qdrant.retry import REFUSED, Retry, code_of
from requant.quantizers.errors import InputError

_KEYS = ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY")
# Qdrant's own names, in the order of `Limits`.
_LIMITS = {
    "upsert_max_batchsize": Limits.points,
    "search_max_batchsize": Limits.queries,
    "condition_max_size": Limits.keys,
}


def create(spec: IndexSpec, layout: Layout, place: Server, overwrite: bool) -> ClientConnection:
    """Make a collection; raises LocationTakenError where one stands that may not be replaced."""
    manner = _manner(spec, layout, place)
    client, call = connect(spec, place)
    try:
        _check_name(client, call, place)
        (_clear if overwrite else _check_free)(client, call, place)
        info = _make(client, call, spec, layout, place)
        return _opened(client, call, place.collection, manner, info)
    except BaseException:
        client.close()
        raise


def load(spec: IndexSpec, layout: Layout, place: Server) -> ClientConnection:
    """Open a collection of ours; raises CorruptIndexError if it is missing or does not fit."""
    manner = _manner(spec, layout, place)
    client, call = connect(spec, place)
    try:
        info = info_of(client, call, place)
        if info is None:
            raise CorruptIndexError(f"there is no collection {place}")
        check_layout(info, layout, str(place))
        check_mark(_mark(info), spec, str(place))
        _check_name(client, call, place)
        return _opened(client, call, place.collection, manner, info)
    except BaseException:
        client.close()
        raise


def remove(spec: IndexSpec, place: Server) -> None:
    """Drop a collection of ours, if it is there."""
    client, call = connect(spec, place)
    try:
        _check_name(client, call, place)
        _check_ours(client, call, place)
        _clear(client, call, place)
    finally:
        client.close()


def noted_at(spec: IndexSpec, place: Server) -> str | None:
    """Return the text of a collection, None if there is none."""
    client, call = connect(spec, place)
    try:
        info = info_of(client, call, place)
        return None if info is None else note_in(info)
    finally:
        client.close()


def connect(spec: IndexSpec, place: Server) -> tuple[Any, Retry]:
    """Return a client of the server, and who carries out its calls; the client is to be closed."""
    timeout, grpc = _seconds(spec, "timeout", 30), spec.params.get("prefer_grpc", False)
    if not isinstance(grpc, bool):
        raise InputError(f"parameter prefer_grpc must be True or False, not {grpc!r}")
    found = spec.params.get("api_key") or next(filter(None, map(os.environ.get, _KEYS)), None)
    key = str(found) if found else None
    if key and not place.is_private:
        warnings.warn(
            f"the API key for {place} goes over the network as plain text: use https, or a tunnel "
            "to this machine",
            stacklevel=2,
        )
    seconds = max(_seconds(spec, "total_timeout", 60), timeout)
    call = Retry(str(place), whole_number(spec, "retries", 4, least=0), seconds, key)
    client = call(
        lambda: QdrantClient(
            url=place.url,
            prefer_grpc=grpc,
            grpc_port=whole_number(spec, "grpc_port", 6334),
            timeout=timeout,
            check_compatibility=False,
            # As an argument of its own it is a warning on plain http, which is usual at home.
            headers={"api-key": key} if key else None,
        )
    )
    return client, call


def info_of(client: Any, call: Retry, place: Server) -> Any:
    """Return what the server tells of the collection, None if there is none."""
    try:
        return call(lambda: client.get_collection(place.collection))
    except EngineError as error:
        if code_of(_cause(error)) in (404, "NOT_FOUND"):
            return None
        raise


def _seconds(spec: IndexSpec, name: str, default: int) -> float:
    value = spec.params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise InputError(f"parameter {name} must be seconds above 0, not {value!r}")
    return value


def _manner(spec: IndexSpec, layout: Layout, place: Server) -> Manner:
    """Return how to speak to a collection by the parameters; raises InputError."""
    ordering = spec.params.get("ordering")
    orders = {order.value: order for order in models.WriteOrdering}
    if ordering is not None and ordering not in orders:
        raise InputError(f"parameter ordering must be one of {', '.join(orders)}: {ordering!r}")
    return Manner(
        where=str(place),
        parallel=whole_number(spec, "parallel", 2),
        ordering=orders.get(ordering),
        limits=Limits(*(whole_number(spec, name, most) for name, most in _LIMITS.items())),
        bytes=GRPC_BYTES if spec.params.get("prefer_grpc") else HTTP_BYTES,
        size=layout.size,
    )


def _opened(client: Any, call: Retry, name: str, manner: Manner, info: Any) -> ClientConnection:
    """Return a connection that keeps to what the server tells of the collection."""
    strict = getattr(info.config, "strict_mode_config", None)
    told = strict if strict is not None and strict.enabled else None
    mine = (manner.limits.points, manner.limits.queries, manner.limits.keys)
    most = [
        min(own, getattr(told, name, None) or own) for name, own in zip(_LIMITS, mine, strict=True)
    ]
    spread = (info.config.params.shard_number or 1) > 1
    return ClientConnection(
        client, name, call, replace(manner, limits=Limits(*most), spread=spread)
    )


def _clear(client: Any, call: Retry, place: Server) -> None:
    """Drop what has the name, whoever made it."""
    if info_of(client, call, place) is not None:
        call(lambda: client.delete_collection(place.collection))


def _check_free(client: Any, call: Retry, place: Server) -> None:
    if info_of(client, call, place) is not None:
        raise LocationTakenError(
            f"the collection {place} exists: give another name, or overwrite=True to replace it"
        )


def _check_name(client: Any, call: Retry, place: Server) -> None:
    """Raise LocationTakenError where the name is an alias: Qdrant drops none, and says it did."""
    try:
        aliases = call(client.get_aliases).aliases
    except EngineError as error:
        if code_of(_cause(error)) in REFUSED:
            return  # a key for one collection need not show all names
        raise
    for alias in aliases:
        if alias.alias_name == place.collection:
            raise LocationTakenError(
                f"{place} is an alias of the collection {alias.collection_name!r}, which whoever "
                "made it may move: give the name of a collection"
            )


def _check_ours(client: Any, call: Retry, place: Server) -> None:
    info = info_of(client, call, place)
    if info is not None and not is_mark(_mark(info)):
        raise LocationTakenError(
            f"the collection {place} was not made by requant: it is not dropped, see to it"
        )


def _make(client: Any, call: Retry, spec: IndexSpec, layout: Layout, place: Server) -> Any:
    """Make the collection, and return what the server tells of it."""
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
        found = _mark(info_of(client, call, place)) if taken else None
        if found is None:
            raise
        # A first try may have been carried out although its answer never came.
        if found != mark:
            raise LocationTakenError(f"the collection {place} was made meanwhile") from error
    info = info_of(client, call, place)
    if info is None:
        raise EngineError(
            f"{place} was made, and the server does not know it: if several servers answer there, "
            "they do not share their collections yet; try again, with overwrite=True"
        )
    if _mark(info) == mark:
        return info
    # Only what is empty for certain is removed again: it might be another one meanwhile.
    if _mark(info) is None and info.points_count == 0:
        call(lambda: client.delete_collection(place.collection))
    raise EngineError(
        f"{place}: the server keeps no metadata of collections, by which requant knows its "
        "own: it takes Qdrant 1.16 or later"
    )


def _mark(info: Any) -> Any:
    metadata = getattr(info.config, "metadata", None) if info is not None else None
    return (metadata or {}).get("requant")


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error
