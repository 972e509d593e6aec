"""What commands write: JSON for machines, tables for people, one-line warnings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

from requant.adapters.hosts import masked

if TYPE_CHECKING:
    from rich.console import Console

# Every C0 and C1 control character: a document must not be able to steer the terminal.
_CONTROLS = {code: " " for code in (*range(32), *range(127, 160))}
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
# The width of a table that goes to a file or a pipe.
_PIPE_WIDTH = 120


# Whether the command that is running has written its JSON object.
_answered: ContextVar[list[bool]] = ContextVar("answered")


@contextmanager
def answering() -> Iterator[None]:
    """Begin a command, which may write one JSON object."""
    token = _answered.set([])
    try:
        yield
    finally:
        _answered.reset(token)


def has_answered() -> bool:
    """Whether the command has written its JSON object."""
    return bool(_answered.get([]))


def print_json(answer: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout, in ASCII so that no terminal or pipe can spoil it."""
    text = json.dumps(answer, indent=2, default=_json_value)
    _answered.get([]).append(True)
    print(text)


def print_lines(*lines: str) -> None:
    """Write lines to stdout, without markup and without control characters."""
    for line in lines:
        print(line.translate(_CONTROLS))


def print_answer(as_json: bool, answer: Mapping[str, Any], line: str) -> None:
    """Write what was done: as an object, or as a line."""
    if as_json:
        print_json(answer)
    else:
        print_lines(line)


def contents(document: str | None, metadata: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what a table shows of an item's text and metadata."""
    return shortened(document, 70), shortened(readable(metadata), 60)


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    right: Sequence[str] = (),
    wrap: Sequence[str] = (),
    width: int | None = None,
) -> None:
    """Write a table to stdout; a column without a single value is left out.

    Args:
        headings: a heading a column.
        rows: cells, written as `str` has them; None is left empty.
        right: headings of the columns that are set flush right.
        wrap: headings of the columns whose text may run over several lines.
        width: columns at most; None for what the terminal has.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    texts = [
        ["" if cell is None else str(cell).translate(_CONTROLS) for cell in row] for row in rows
    ]
    filled = [place for place in range(len(headings)) if any(row[place] for row in texts)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in (headings[place] for place in filled):
        justify: Any = "right" if heading in right else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading not in wrap)
    for row in texts:
        table.add_row(*(Text(row[place]) for place in filled))
    console().print(table, width=width)


def console() -> Console:
    """Return a Rich console on stdout, of a fixed width where stdout is no terminal."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the exit code is the group's business

    fixed = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Quiet(width=fixed, highlight=False)


def warn(text: str) -> None:
    """Write one line to stderr."""
    print(f"warning: {one_line(masked(text))}", file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    """Return a message without line breaks and control characters.

    >>> one_line("cannot open it:\\n  disk full")
    'cannot open it: disk full'
    """
    return " ".join(text.translate(_CONTROLS).split())


def shortened(text: str | None, length: int) -> str:
    """Return a text in at most `length` characters.

    >>> shortened("an organism that depends on complex organic substances", 20)
    'an organism that de…'
    """
    words = one_line(text or "")
    return words if len(words) <= length else f"{words[: length - 1]}…"


def readable(entries: Mapping[str, Any] | None) -> str:
    """Return metadata or options for people.

    >>> readable({"pos": "noun", "lemmas": ["bat", "club"], "deep": {"n": 1}})
    'pos: noun; lemmas: bat, club; deep: {"n": 1}'
    """
    return "; ".join(f"{name}: {_value(value)}" for name, value in (entries or {}).items())


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(inner, str) for inner in value):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_json_value)


def size(count: int | None) -> str:
    """Return a number of bytes for people.

    >>> size(812_345), size(12), size(None)
    ('812.3 kB', '12 B', '')
    """
    if count is None:
        return ""
    power = max((len(str(count)) - 1) // 3, 0)
    return f"{count / 1000**power:.1f} {_UNITS[power]}" if power else f"{count} B"


def ratio(part: int | None, whole: int) -> str:
    """Return how many times smaller or larger `part` is than `whole`.

    >>> ratio(1000, 16_000), ratio(3000, 2000)
    ('1/16.0', '1.5 x')
    """
    if not part or not whole:
        return ""
    return f"1/{whole / part:.1f}" if part <= whole else f"{part / whole:.1f} x"


def _json_value(value: Any) -> Any:
    if isinstance(value, UUID | os.PathLike):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
