"""The indexes that a collection has, for the manifest: enough to make the same codes again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from requant.collection import Collection
from requant.quantizers.serial import loads
from requant.verification import PublishedIndex

# Where an index stood is of no use elsewhere, and what opens a server must not be told.
_PRIVATE = ("url", "remote_name")
_SECRET = ("key", "secret", "token", "password", "credential", "storage_options")


def described(collection: Collection) -> list[dict[str, Any]]:
    """Return what every index is, and the quantizer of its newest generation, if it has one."""
    found = []
    for index in collection.published():
        config = {name: v for name, v in asdict(index.config).items() if name not in _PRIVATE}
        config["params"] = shareable(config["params"])
        about = {"name": index.name, "active": index.active}
        found.append({**about, **config, "quantizer": _quantizer(index)})
    return found


def _quantizer(index: PublishedIndex) -> dict[str, Any] | None:
    generation, body = index.generation, index.quantizer
    if generation is None or body is None:
        return None
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
