"""Dates as Haystack compares them: texts in ISO 8601, as instants or by the clock on the wall."""

from __future__ import annotations

from datetime import datetime, timedelta

from dateutil.parser import isoparse

# A text that stands for a date begins with a digit, and ":" is the character after "9".
FIRST, BEYOND = "0", ":"
# No two offsets from UTC are further apart than this.
_MARGIN = timedelta(days=2)


def looks_like(text: str) -> bool:
    """Whether a text begins as a full date does, as Haystack asks."""
    return (
        len(text) >= 10
        and text[:4].isdigit()
        and text[4] == "-"
        and text[5:7].isdigit()
        and text[7] == "-"
        and text[8:10].isdigit()
        and (len(text) == 10 or text[10] in "Tt ")
    )


def when(value: object) -> datetime | None:
    """Return the time that a value stands for, None where it stands for none.

    >>> when("2024-05-01T24:00"), when("next week")
    (datetime.datetime(2024, 5, 2, 0, 0), None)
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not looks_like(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        try:
            time: datetime = isoparse(value)
            return time
        except (ValueError, OverflowError):
            return None


def aligned(one: datetime, other: datetime) -> tuple[datetime, datetime]:
    """Return both with an offset or both without: a time that has none is in the other's zone."""
    if (one.tzinfo is None) is (other.tzinfo is None):
        return one, other
    if one.tzinfo is None:
        return one.replace(tzinfo=other.tzinfo), other
    return one, other.replace(tzinfo=one.tzinfo)


def around(time: datetime) -> tuple[str, str]:
    """Return texts between which every text stands that may be the same time."""
    return _day(time, -_MARGIN, FIRST), _day(time, _MARGIN + timedelta(days=1), BEYOND)


def _day(time: datetime, by: timedelta, otherwise: str) -> str:
    try:
        return (time.replace(tzinfo=None) + by).date().isoformat()
    except OverflowError:
        return otherwise
