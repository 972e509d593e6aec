"""Progress on stderr: a bar where a person is watching, JSON lines with REQUANT_LOG=json."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import cast

_LOG_SECONDS = 1.0

Advance = Callable[[int, int | None], None]


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Yield a callback that takes (done, total): a bar with rate and time left, or log lines.

    `total` may be None, or change while the work is going on.
    """
    if os.environ.get("REQUANT_LOG") == "json":
        yield from _logged(what)
        return
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f}/s" if speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _logged(what: str) -> Iterator[Advance]:
    """Write a line at the start, one a second, and one at the end, however that comes."""
    start = last = time.monotonic()
    done, total = 0, cast("int | None", None)

    def log(event: str, **more: object) -> None:
        taken = time.monotonic() - start
        rate = done / taken if taken > 0 else 0.0
        left = None if total is None or not rate else round(max(total - done, 0) / rate, 1)
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "event": event, "what": what, "done": done, "total": total,
            "seconds": round(taken, 3), "rate": round(rate, 1), "seconds_left": left, **more,
        }  # fmt: skip
        print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)

    def advance(now_done: int, now_total: int | None) -> None:
        nonlocal done, total, last
        done, total = now_done, now_total
        if time.monotonic() - last >= _LOG_SECONDS:
            last = time.monotonic()
            log("progress")

    log("start")
    try:
        yield advance
    except BaseException as error:
        log("stopped", error=f"{type(error).__name__}: {error}")
        raise
    log("done")


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that something is going on whose length is unknown."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
