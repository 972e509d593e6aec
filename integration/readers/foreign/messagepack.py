"""MessagePack, as much of it as a list of ids needs: text, integers, null and lists."""

from __future__ import annotations

import struct
from typing import Any

# First byte: how the number or the length that follows it is packed.
_INTEGERS = {
    **{0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"},
    **{0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"},
}
_TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_LISTS = {0xDC: ">H", 0xDD: ">I"}


def unpack_list(data: bytes) -> list[Any]:
    """Return the list that `data` holds, all of it.

    Raises:
        ValueError: the data end early, go on after the list, or hold anything else.

    >>> unpack_list(bytes([0x93, 0x01, 0xA1, 0x61, 0xC0]))
    [1, 'a', None]
    """
    length, at = _head(data)
    values = []
    for _ in range(length):
        value, at = _scalar(data, at)
        values.append(value)
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes follow the list")
    return values


def _head(data: bytes) -> tuple[int, int]:
    """Return the length of the list and where its first value begins."""
    first = data[0] if data else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F, 1
    if first in _LISTS:
        return _number(data, 1, _LISTS[first])
    raise ValueError("it does not begin with a list")


def _scalar(data: bytes, at: int) -> tuple[Any, int]:
    """Return the value at a place and where the next one begins."""
    if at >= len(data):
        raise ValueError("it ends early")
    first = data[at]
    if first < 0x80 or first >= 0xE0:
        return first if first < 0x80 else first - 0x100, at + 1
    if first == 0xC0:
        return None, at + 1
    if first in _INTEGERS:
        return _number(data, at + 1, _INTEGERS[first])
    length, start = (first & 0x1F, at + 1) if first & 0xE0 == 0xA0 else _length(data, at)
    if start + length > len(data):
        raise ValueError("it ends early")
    return data[start : start + length].decode(), start + length


def _length(data: bytes, at: int) -> tuple[int, int]:
    if data[at] not in _TEXTS:
        raise ValueError(f"byte {at} begins a value that is neither text nor an integer")
    return _number(data, at + 1, _TEXTS[data[at]])


def _number(data: bytes, at: int, layout: str) -> tuple[int, int]:
    try:
        (value,) = struct.unpack_from(layout, data, at)
    except struct.error:
        raise ValueError("it ends early") from None
    return value, at + struct.calcsize(layout)
