"""The indexes that a collection has, for the manifest: enough to make the same codes again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from requant.collection import Collection
from requant.quantizers.serial import loads
from requant.store import ledger

# Where an index stood is of no use elsewhere, and what opens a server must not be told.
_PRIVATE = ("url", "remote_name")
_SECRET = ("key", "secret", "token", "password", "credential", "storage_options")


def described(collection: Collection) -> list[dict[str, Any]]:
    """Return what every index is, and the quantizer of its newest generation, if it has one."""
    active = {info.name: info.active for info in collection.indexes}
    found = []
    for row in ledger.every(collection._store, collection._row.id):
        config = {name: v for name, v in asdict(row.config).items() if name not in _PRIVATE}
        config["params"] = shareable(config["params"])
        published = ledger.generations(collection._store, row.id)
        quantizer = _quantizer(*published[0]) if published else None
        about = {"name": row.name, "active": active.get(row.name, False)}
        found.append({**about, **config, "quantizer": quantizer})
    return found


def _quantizer(generation: ledger.Generation, body: bytes) -> dict[str, Any]:
    state = loads(body)
    ranges = state.arrays.get("ranges")
    return {
        "kind": state.kind,
        "fingerprint": generation.fingerprint,
        "fit_rows": generation.fit_rows,
        "fields": dict(state.fields),
        "ranges": None if ranges is None else ranges.tolist(),
        "base64": b64encode(body).decode(),
    }


def shareable(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without what opens a server, at any depth."""
    return {
        name: shareable(value) if isinstance(value, Mapping) else value
        for name, value in params.items()
        if not any(word in name.lower() for word in _SECRET)
    }
