"""Quantizers as bytes: a JSON header, raw little-endian arrays, a SHA-256. No pickle, ever.

Layout: `RQNT`, version (u16), header length (u32), header (UTF-8 JSON: kind, fields, arrays with
dtype and shape), the arrays in the header's order, and the SHA-256 of all before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.errors import CorruptDataError

# What is written says the least version that reads it: 2 has codes that are true to length, and
# int1.
VERSION = 2
_MAGIC = b"RQNT"
_HEAD = struct.Struct("<4sHI")
_DTYPES = frozenset({"<f4", "<f8", "|i1", "|u1"})


@dataclass(frozen=True)
class State:
    """The content of a quantizer: its kind, plain JSON fields and arrays; `version` of the format.

    What an earlier requant would read wrongly has a version that it refuses.
    """

    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    version: int = 1


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
    head = _HEAD.pack(_MAGIC, state.version, len(text))
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
    # The checksum keeps accidents away, not people: the header is believed no more than it has to.
    try:
        header = json.loads(body[_HEAD.size : _HEAD.size + length])
        kind, fields, told = header["kind"], header["fields"], list(header["arrays"])
        arrays = _arrays(told, memoryview(body)[_HEAD.size + length :])
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise CorruptDataError(f"the quantizer's header is none: {error!r}") from error
    if not isinstance(kind, str) or not isinstance(fields, dict):
        raise CorruptDataError("the quantizer's header is none: its kind or fields are missing")
    return State(kind, fields, arrays, version)


def _arrays(told: list[Any], body: memoryview) -> dict[str, NDArray[Any]]:
    """Return the arrays that a header tells of, none larger than the bytes that there are."""
    arrays: dict[str, NDArray[Any]] = {}
    offset = 0
    for name, dtype, shape in told:
        if dtype not in _DTYPES:
            raise CorruptDataError(f"array {name!r} has dtype {dtype!r}, which no quantizer uses")
        count = math.prod(shape)
        if not all(type(size) is int and size > 0 for size in shape) or count > len(body):
            raise CorruptDataError(f"array {name!r} has the shape {str(shape)[:80]}")
        array = np.frombuffer(body, dtype, count, offset).reshape(shape)
        if not np.isfinite(array).all():
            raise CorruptDataError(f"array {name!r} holds NaN or infinity")
        arrays[name] = array
        offset += array.nbytes
    return arrays
