"""`requant engines`: what each engine can do, or why it is not usable."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from requant.integration.cli.options import AsJson
from requant.integration.cli.output import print_json, print_lines, print_table

if TYPE_CHECKING:
    from requant.adapters.protocol import Capabilities, Support
    from requant.adapters.registry import EngineStatus

HEADINGS = ("precision", "type", "metrics", "order", "filters", "deletes")
_WIDTH = 80
_STORAGE = {
    "file": "one file, written when the index is flushed",
    "live": "its own, at the place where the index is made",
}


def engines(as_json: AsJson = False) -> None:
    """Show every engine: its version, where it lives and what it can do, or why it is not usable.

    order: exact, or near where the engine approximates; own, where it
    compresses the vectors itself. filters: in the engine, or after it on more
    candidates. deletes: at once, or marked and cleared out later.

    --json answers: engines (name, usable, version, versions (by package),
    reason, capabilities (storage, places, mmap, parallel, survives_fork,
    params, secrets, supports (format, index_type, metrics, exact, key_sets,
    codes, lossy, deletes); null where the engine cannot be used)).
    """
    from requant.adapters import registry

    found = [registry.status(name) for name in registry.names()]
    if as_json:
        print_json({"engines": [*map(_engine_json, found)]})
        return
    for status in found:
        _tell_engine(status)


def table(capabilities: Capabilities) -> Iterator[tuple[str, ...]]:
    """Yield what an engine can do as rows under `HEADINGS`, equal precisions in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for support in capabilities.supports:
        rows.setdefault(_words(support), []).append(support.format)
    for words, formats in rows.items():
        yield (", ".join(formats), *words)


def title(status: EngineStatus) -> str:
    """Return the name of an engine and the versions of its packages."""
    packages = (f"{package} {version}" for package, version in status.versions.items() if version)
    return f"{status.name} ({', '.join(packages) or 'unknown version'})"


def traits(capabilities: Capabilities) -> list[str]:
    """Return what holds for all indexes of an engine, as lines."""
    has = {
        "learns from a sample": capabilities.learns_from_sample,
        "maps its files": capabilities.mmap,
        "searches a batch on several cores": capabilities.parallel,
        "survives a fork": capabilities.survives_fork,
    }
    lines = [f"places: {', '.join(capabilities.places)}"]
    lines.append(f"storage: {_STORAGE[capabilities.storage]}")
    told = [trait for trait, true in has.items() if true]
    return [*lines, f"also: {', '.join(told)}"] if told else lines


def _words(support: Support) -> tuple[str, ...]:
    order = "exact" if support.exact else "near"
    return (
        support.index_type,
        ", ".join(support.metrics),
        "own" if support.format == "native" else order,
        "in engine" if support.key_sets else "after",
        "at once" if support.deletes == "in place" else "marked",
    )


def _tell_engine(status: EngineStatus) -> None:
    if status.backend is None:
        print_lines(f"{status.name}: not usable. {status.reason}", "")
        return
    able = status.backend.capabilities
    print_lines(title(status), *(f"  {line}" for line in traits(able)))
    print_table(HEADINGS, table(able), wrap=("precision",), width=_WIDTH)
    for name, meaning in able.params.items():
        _tell(f"--param {name}=...  {meaning}")
    for name, meaning in able.secrets.items():
        _tell(f"never stored: {name}  {meaning}")
    print_lines("")


def _tell(line: str) -> None:
    wrapped = textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent=" " * 6)
    print_lines(*wrapped)


def _engine_json(status: EngineStatus) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "name": status.name,
        "usable": status.usable,
        "version": status.version,
        "versions": dict(status.versions),
        "reason": status.reason,
    }
    if status.backend is None:
        return {**answer, "capabilities": None}
    able = status.backend.capabilities
    return {
        **answer,
        "capabilities": {
            "storage": able.storage,
            "places": list(able.places),
            "mmap": able.mmap,
            "parallel": able.parallel,
            "survives_fork": able.survives_fork,
            "params": dict(able.params),
            "secrets": dict(able.secrets),
            "supports": [asdict(row) for row in able.supports],
        },
    }
