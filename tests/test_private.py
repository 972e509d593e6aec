"""What begins with an underscore is touched by its owner only; tests reach inside in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = (
    "integration", "haystack_integrations", "requant", "adapters", "quantizers", "benchmarks",
    "docs", "examples", "tests",
)  # fmt: skip
# Not ours, though they begin with an underscore.
FOREIGN = {
    "_replace": "of every NamedTuple",
    "_exit": "of os: ends a forked child without its parent's cleanup",
    "_client": "of QdrantClient: its local mode, which the stand-in for a server answers by",
    "_sa_registry": "of SQLModel: the registry of its models",
    "_returning": "of SQLAlchemy's insert(), update() and delete(): what the caller asks back",
    "_multi_values": "of SQLAlchemy's insert(): whether it says more rows than one",
    "_post_values_clause": "of SQLAlchemy's insert(): whether it has ON CONFLICT",
    "_conn": "of aiosqlite: the connection of sqlite3, whose autocommit it does not tell",
    "_set_running_loop": "of asyncio: for whoever stands for a loop, or leaves one after a fork",
    "_fut_waiter": "of asyncio's tasks: what one awaits just now, if it is there to be seen",
    "_children": "of what asyncio.gather makes: those that are awaited",
    "_llm": "of LlamaIndex's Settings: to put back what was, which asking for would make",
    "_embed_model": "of LlamaIndex's Settings, too",
    "_dict": "of the store that LangChain pickles, which a test builds",
}
# To test what is damaged, and to measure parts alone, each in one place.
INSIDE = {"tests/inside.py", "benchmarks/inside.py"}


def files():
    """Every Python file, by its path from the root; the links to the rooms are not walked."""
    found = {}
    for top in TOPS:
        for path in (ROOT / top).rglob("*.py"):
            parts = path.relative_to(ROOT).parts
            if parts[:2] not in {("requant", room) for room in TOPS}:
                found["/".join(parts)] = path
    return found


FILES = files()


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in FOREIGN


def touched(tree):
    """Yield each private name of somebody else, and the line where it is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((a.name, node.lineno) for a in node.names if is_private(a.name))
        elif isinstance(node, ast.Call):
            yield from ((name, node.lineno) for name in _by_name(node) if is_private(name))


def _by_name(call):
    """What a call of setattr, getattr and the like names in a string."""
    function = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if function in ("getattr", "setattr", "delattr", "hasattr"):
        for argument in call.args[:2]:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value.rpartition(".")[2]


@pytest.mark.parametrize(
    "code",
    ["a._x", "self._a._x", "f()._x", "A._x", "a._x = 1", "from a import _x", 'getattr(a, "_x")',
     'patch.setattr("a.b._x", 1)', 'm.setattr(a, "_x", 1)', "del a._x"],
)  # fmt: skip
def test_what_is_reached_into_is_seen(code):
    assert [name for name, _ in touched(ast.parse(code))] == ["_x"]


@pytest.mark.parametrize("code", ["self._x", "cls._x", "super()._x", "a.__x__", "_x", "a.x_"])
def test_what_is_ones_own_is_not(code):
    assert not list(touched(ast.parse(code)))


def test_all_folders_are_there():
    assert {name.split("/")[0] for name in FILES} == set(TOPS)


def test_nobody_touches_what_is_private_to_another():
    found = [
        f"{name}:{line} touches {attribute}"
        for name in sorted(set(FILES) - INSIDE)
        for attribute, line in touched(ast.parse(FILES[name].read_text("utf-8")))
    ]
    assert not found, found
