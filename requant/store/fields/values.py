"""What stands in a field of an item's metadata, as bytes that sort as filters compare.

The first byte says what kind of value it is. Both databases sort bytes in the same way, so that an
equality is one value, and an order or a prefix a range of them.
"""

from __future__ import annotations

import re
import struct
from datetime import datetime, timedelta
from typing import Any

MISSING = b"\x01"  # the item has no such key
NULL = b"\x02"
BOOL = b"\x03"
NUMBER = b"\x04"
TEXT = b"\x05"
ARRAY = b"\x06"  # an array, whatever it holds
OBJECT = b"\x07"
ELEMENT = b"\x08"  # of an array, followed by the element's own bytes
INSTANT = b"\x09"  # a text that is a date, beside the text
ODD = b"\x0a"  # something in it has no bytes here: a filter has to look at the item
FLOAT = b"\x0b"  # a float that is equal to an integer is in it, which is listed alike
ITEM = b"\x00"  # there is an item; of no field, but of the collection

# PostgreSQL has room for 2,700 bytes in an index.
MAX_TEXT = 1000
MAX_ELEMENTS = 1000
NOTHING: Any = object()

_INT64 = 1 << 63
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
# Integers up to here are doubles.
_EXACT = 1 << 53
_DOUBLE, _BITS, _NUMBER = struct.Struct(">d"), struct.Struct(">Q"), struct.Struct(">QH")
_NEAREST = b"\x80\x00"
_POSITIVE = [bytes([first | 0x80]) for first in range(0x80)]
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:(Z|z)|([+-])(\d\d):?(\d\d)?)?)?",
    re.ASCII,
)
_FALSE, _TRUE = BOOL + b"\x00", BOOL + b"\x01"


def after(value: bytes) -> bytes:
    """Return the first bytes that sort after `value` itself."""
    return value + b"\x00"


def beyond(prefix: bytes) -> bytes:
    """Return the first bytes that sort after all that begin with `prefix`.

    No prefix ends in the highest byte: UTF-8 has none, and neither are there so many kinds.
    """
    return prefix[:-1] + bytes([prefix[-1] + 1])


def scalar(value: str | int | float | bool | None) -> bytes | None:
    """Return the bytes of a value, None where it has none.

    >>> scalar(2) == scalar(2.0), scalar(2) < scalar(2.5) < scalar(10), scalar(1) == scalar(True)
    (True, True, False)
    """
    if isinstance(value, str):
        text = TEXT + value.encode()
        return text if len(text) <= MAX_TEXT else None
    if value is None:
        return NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    return NUMBER + number(value) if isinstance(value, float) or -_INT64 <= value < _INT64 else None


def plain(value: bytes) -> str | int | float | bool | None:
    """Return what `scalar` has made bytes of; a number that may be an integer as such.

    >>> [plain(scalar(value)) for value in (None, True, -7, 2**53 + 1, 0.5, "a")]
    [None, True, -7, 9007199254740993, 0.5, 'a']
    """
    kind, rest = value[:1], value[1:]
    if kind == TEXT:
        return rest.decode()
    if kind != NUMBER:
        return value == _TRUE if kind == BOOL else None
    bits, beside = _NUMBER.unpack(rest)
    (nearest,) = _DOUBLE.unpack(_BITS.pack(bits ^ (_SIGN if bits & _SIGN else _ALL)))
    return int(nearest) + beside - 0x8000 if nearest.is_integer() else float(nearest)


def number(value: int | float) -> bytes:
    """Return a number as the nearest double, and how far it is from that: integers are exact."""
    if -_EXACT <= value <= _EXACT:
        # Without -0.0; negative numbers sort the other way round.
        packed = _DOUBLE.pack(value + 0.0)
        if packed[0] < 0x80:
            return _POSITIVE[packed[0]] + packed[1:] + _NEAREST
    nearest = float(value)
    beside = 0 if isinstance(value, float) else value - int(nearest)
    (bits,) = _BITS.unpack(_DOUBLE.pack(nearest + 0.0))
    bits = bits ^ (_ALL if bits & _SIGN else _SIGN)
    return _NUMBER.pack(bits, beside + 0x8000)


def instant_bytes(when: int) -> bytes:
    """Return the bytes of an instant, in microseconds."""
    return INSTANT + struct.pack(">Q", when + _SIGN)


def instant(text: str) -> int | None:
    """Return the instant that an ISO 8601 date or time names, None where it names none.

    Without an offset it is UTC, a date alone the beginning of its day; digits after the
    microseconds do not count.

    >>> instant("2024-05-01T12:00:00+02:00") == instant("2024-05-01T10:00Z")
    True
    >>> instant("next week")
    """
    if not 10 <= len(text) <= 40:
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, ahead, more = found.groups()
    try:
        whole = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError:
        return None
    offset = 60 * int(ahead or 0) + int(more or 0)
    if int(ahead or 0) > 23 or int(more or 0) > 59:
        return None
    offset = -offset if sign == "-" else offset
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    return (whole - _EPOCH) // _MICROSECOND + micro - offset * 60_000_000


def values_of(value: Any, dates: bool) -> tuple[bytes, ...]:
    """Return all that a field is listed under where `value` stands in it, each once."""
    if value is NOTHING:
        return (MISSING,)
    if isinstance(value, list):
        return _array(value)
    if isinstance(value, dict):
        return (OBJECT,)
    found = scalar(value)
    if found is None:
        return (ODD,)
    if dates and isinstance(value, str) and (when := instant(value)) is not None:
        return found, instant_bytes(when)
    return (found, FLOAT) if isinstance(value, float) and value.is_integer() else (found,)


def _array(elements: list[Any]) -> tuple[bytes, ...]:
    if len(elements) > MAX_ELEMENTS:
        return ARRAY, ODD
    found = {ARRAY}
    for element in elements:
        if not isinstance(element, list | dict):
            one = scalar(element)
            found.add(ODD if one is None else ELEMENT + one)
            if isinstance(element, float) and element.is_integer():
                found.add(FLOAT)
    return tuple(found)
