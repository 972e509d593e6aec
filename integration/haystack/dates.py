"""Dates as Haystack compares them: texts in ISO 8601, as instants or by the clock on the wall."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from dateutil.parser import isoparse

# A text that stands for a date begins with a digit, and ":" is the character after "9".
FIRST, BEYOND = "0", ":"
# No two offsets from UTC are further apart than this.
_MARGIN = timedelta(days=2)
# A year of weeks begins and ends within three days of the calendar's.
_YEAR_MARGIN = _MARGIN + timedelta(days=4)
# A whole date in the other forms of ISO 8601, with a time or without: 20240501, 2024-W18-3, and
# 2024-122. Haystack knows the first two where it asks for an order.
_OTHER_FORM = re.compile(r"\d{4}(\d{4}|-W\d\d(-\d)?|W\d\d\d?|-\d{3})([Tt ].*)?", re.ASCII)


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
    return _parsed(value) if isinstance(value, str) and looks_like(value) else None


def when_ordered(value: object) -> datetime | None:
    """Return the time as `when`, of the other forms of ISO 8601 as well: in an order they count.

    >>> when_ordered("2024-W18-3"), when_ordered("20240501"), when("2024-W18-3")
    (datetime.datetime(2024, 5, 1, 0, 0), datetime.datetime(2024, 5, 1, 0, 0), None)
    """
    if isinstance(value, str) and _OTHER_FORM.fullmatch(value):
        return _parsed(value)
    return when(value)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        try:
            time: datetime = isoparse(text)
            return time
        except (ValueError, OverflowError):
            return None


def told(time: datetime) -> str:
    """Return a time as a field that is indexed as dates takes it."""
    try:
        return (time if time.tzinfo is None else time.astimezone(timezone.utc)).isoformat()
    except OverflowError:
        return time.isoformat()


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


def years_around(time: datetime) -> tuple[str, str]:
    """Return texts as `around`, of all forms: each begins with its year."""
    first = _day(time, -_YEAR_MARGIN, FIRST)[:4]
    last = _day(time, _YEAR_MARGIN, BEYOND)[:4]
    return first, BEYOND if last in (BEYOND, "9999") else f"{int(last) + 1:04}"


def _day(time: datetime, by: timedelta, otherwise: str) -> str:
    try:
        return (time.replace(tzinfo=None) + by).date().isoformat()
    except OverflowError:
        return otherwise
