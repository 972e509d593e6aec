"""Quantizers as bytes: a JSON header, raw little-endian arrays, a SHA-256. No pickle, ever.

Layout: `RQNT`, version (u16), header length (u32), header (UTF-8 JSON: kind, fields, arrays with
dtype and shape), the arrays in the header's order, and the SHA-256 of all before it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.errors import CorruptDataError

VERSION = 1
_MAGIC = b"RQNT"
_HEAD = struct.Struct("<4sHI")
_DTYPES = frozenset({"<f4", "<f8", "|i1", "|u1"})


@dataclass(frozen=True)
class State:
    """The content of a quantizer: its kind, plain JSON fields and arrays."""

    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def dumps(state: State) -> bytes:
    """Return `state` as bytes, the same ones for the same state on every machine."""
    arrays = {
        name: np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<"), copy=False)
        for name, a in sorted(state.arrays.items())
    }
    header = {
        "kind": state.kind,
        "fields": dict(state.fields),
        "arrays": [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()],
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    head = _HEAD.pack(_MAGIC, VERSION, len(text))
    body = b"".join([head, text, *(a.tobytes() for a in arrays.values())])
    return body + hashlib.sha256(body).digest()


def loads(data: bytes) -> State:
    """Undo `dumps`.

    Raises:
        CorruptDataError: not a quantizer, of a newer version, cut short, or changed.
    """
    body, digest = data[:-32], data[-32:]
    if not body.startswith(_MAGIC) or len(body) < _HEAD.size:
        raise CorruptDataError("these bytes are not a requant quantizer (wrong magic)")
    if hashlib.sha256(body).digest() != digest:
        raise CorruptDataError("the quantizer's bytes are damaged: checksum mismatch")
    _, version, length = _HEAD.unpack_from(body)
    if version > VERSION:
        raise CorruptDataError(
            f"the quantizer has format {version}, this requant reads up to {VERSION}: "
            "upgrade requant"
        )
    header = json.loads(body[_HEAD.size : _HEAD.size + length])
    arrays: dict[str, NDArray[Any]] = {}
    offset = _HEAD.size + length
    for name, dtype, shape in header["arrays"]:
        if dtype not in _DTYPES:
            raise CorruptDataError(f"array {name!r} has dtype {dtype!r}, which no quantizer uses")
        count = int(np.prod(shape))
        array = np.frombuffer(body, dtype, count, offset).reshape(shape)
        if not np.isfinite(array).all():
            raise CorruptDataError(f"array {name!r} holds NaN or infinity")
        arrays[name] = array
        offset += array.nbytes
    return State(header["kind"], header["fields"], arrays)
