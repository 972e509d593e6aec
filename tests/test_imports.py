"""Who imports whom: one direction, no circle, no engine before it is used; and what is exported."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from itertools import takewhile
from pathlib import Path

import pytest

import requant
from requant import errors

ROOT = Path(__file__).parent.parent
ROOMS = {
    "requant.integration": ROOT / "integration",
    "requant.adapters": ROOT / "adapters",
    "requant.quantizers": ROOT / "quantizers",
    "requant": ROOT / "requant",
    # Thin: a part of integration that has to bear another name, since Haystack loads no other.
    "haystack_integrations": ROOT / "haystack_integrations",
}
OURS = ("requant", "haystack_integrations")
# Whoever stands in a row may import from its own row and from those below.
HEIGHT = {
    "haystack_integrations": 3,
    "requant.integration": 3,
    "requant": 2,
    "requant.adapters": 1,
    "requant.quantizers": 0,
}
# The rooms of the core, the lowest first; those of one floor do not know of each other, but for the
# files of the ground floor, which stand side by side.
FLOORS = [
    {"errors", "inputs", "patches", "batches", "scores", "embeddings", "keep_up", "metrics"},
    {"filters", "exchange", "tables"},
    {"store"},
    {"indexes"},
    {"search", "verification", "backup"},
    {"calibration", "migration"},
    {"collection"},
    {"uncommitted"},
    {"database"},
]
# Whoever writes a backend uses it, and nothing of ours does.
APART = {"testing"}
LONGEST = 400
MOST_MODULES = 10
ENGINES = {
    "faiss": "requant.adapters.faiss",
    "usearch": "requant.adapters.usearch",
    "qdrant_client": "requant.adapters.qdrant",
    "qdrant_edge": "requant.adapters.qdrant",
    "lancedb": "requant.adapters.lancedb",
    "turbovec": "requant.adapters.turbovec",
}


def modules():
    """Every module of the package by its installed name; the links to the rooms are not walked."""
    found = {}
    for package, folder in ROOMS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if package == "requant" and parts[0] in ("adapters", "quantizers", "integration"):
                continue
            name = ".".join([package, *parts]).removesuffix(".__init__")
            found[name] = path
    return found


MODULES = modules()


@cache
def tree(module):
    """The syntax tree of a module: made when a test asks, not by every worker that collects."""
    return ast.parse(MODULES[module].read_text())


def each(modules):
    """Look at all of these modules in one test: three thousand tests would take longer to begin."""

    def decorate(check):
        def test():
            faults = []
            for module in modules:
                try:
                    check(module)
                except AssertionError as fault:
                    faults.append(f"{module}: {fault}")
            assert modules
            assert not faults, "\n".join(faults)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


every_module = each(sorted(MODULES))


def room(module):
    """The room in which a module stands."""
    return next(name for name in ROOMS if module == name or module.startswith(name + "."))


@cache
def imports(module, *, at_import):
    """What a module imports: all of it, or what is imported as soon as it is."""
    found = set()

    def visit(node, late):
        if at_import and (late or _for_types(node)):
            for child in getattr(node, "orelse", []) if not late else []:
                visit(child, late)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child, late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))

    visit(tree(module), late=False)
    return frozenset(found)


def _for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def test_all_rooms_are_there():
    assert {room(module) for module in MODULES} == set(ROOMS)
    assert len(MODULES) > 60


@every_module
def test_nothing_points_up(module):
    for name in imports(module, at_import=False):
        if name.split(".")[0] in OURS:
            assert HEIGHT[room(name)] <= HEIGHT[room(module)], f"{module} imports {name}"
        assert name.split(".")[0] not in ("adapters", "quantizers", "integration", "tests")


# The places of the core that know who stands above it: `requant.import_items` and
# `Collection.export` hand on to it, and a model that nobody has registered is one of
# sentence-transformers'. An entry point would hide it, not undo it.
HANDED_ON = {
    "requant.embeddings.registry": {"requant.integration.sentence_transformers.loading"},
    "requant.exchange": {"requant.integration.importing", "requant.integration.export"},
}


@every_module
def test_nothing_is_named_that_stands_above(module):
    """Not in a string either, from which it could be imported; docstrings may tell of it."""
    told = {id(node) for node in _docstrings(tree(module))}
    named = {
        node.value
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Constant) and id(node) not in told and node.value in MODULES
        if node.value != "requant" and HEIGHT[room(node.value)] > HEIGHT[room(module)]
    }
    assert named == HANDED_ON.get(module, set())


CORE = sorted(module for module in MODULES if room(module) == "requant" and module != "requant")


def core_room(module):
    """The room of the core in which a module stands."""
    return module.split(".")[1]


def floor(module):
    """How high in the core a module stands."""
    return next(i for i, rooms in enumerate(FLOORS) if core_room(module) in rooms)


def imported_modules(module):
    """The modules that a module names in its import statements, as they stand there."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_core_has_these_rooms():
    assert {core_room(module) for module in CORE} == set().union(*FLOORS) | APART


@each([module for module in CORE if core_room(module) not in APART])
def test_nothing_points_up_in_the_core(module):
    for name in imports(module, at_import=False) & set(CORE):
        assert core_room(name) not in APART, f"{module} imports {name}"
        if core_room(name) == core_room(module):
            continue
        below = floor(name) < floor(module)
        assert below or floor(name) == floor(module) == 0, f"{module} imports {name}"


@each(sorted(m for m in MODULES if HEIGHT[room(m)] >= 2))
def test_rooms_are_entered_by_their_faces(module):
    """What `requant.store` hands out is imported from there, not from the file that defines it."""
    own = module.split(".") if _is_face(module) else module.split(".")[:-1]
    for name in set(imported_modules(module)) & set(CORE):
        there = name.split(".")
        shared = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(own, there, strict=False))
        )
        assert len(there) <= shared + 1, f"{module} imports {name}"


def _is_face(module):
    return MODULES[module].name == "__init__.py"


@each(sorted({MODULES[m].parent for m in CORE}))
def test_no_folder_of_the_core_is_crowded(folder):
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MOST_MODULES


@every_module
def test_a_long_file_says_why(module):
    text = MODULES[module].read_text()
    if text.count("\n") > LONGEST:
        assert "This file is long because" in text, f"{module} has {text.count(chr(10))} lines"


def test_no_circle():
    graph = {module: imports(module, at_import=True) & set(MODULES) for module in MODULES}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for needed in sorted(graph[module] - {module}):
            visit(needed)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)


@every_module
def test_an_engine_is_imported_in_its_own_adapter_only(module):
    for name in imports(module, at_import=False):
        home = ENGINES.get(name.split(".")[0])
        # A reader of an engine's own files may import it, when it is asked to read one.
        reads = module.startswith("requant.integration.readers.")
        assert home is None or module.startswith(home) or reads, f"{module} imports {name}"


@each(sorted(m for m in MODULES if room(m) == "requant"))
def test_the_core_names_no_engine(module):
    """Only as a default of a public argument; docstrings and the testing suite may."""
    if module.startswith("requant.testing"):
        return
    docstrings = {id(node) for node in _docstrings(tree(module))}
    defaults = {
        id(default)
        for node in ast.walk(tree(module))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for default in [*node.args.defaults, *node.args.kw_defaults]
    }
    for node in ast.walk(tree(module)):
        text = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = None if id(node) in docstrings | defaults else node.value
        elif isinstance(node, (ast.Name, ast.Attribute)):
            text = node.id if isinstance(node, ast.Name) else node.attr
        for engine in ("faiss", "usearch", "qdrant", "lancedb"):
            assert engine not in (text or "").lower(), f"{module}:{node.lineno} names {engine}"


def _docstrings(parsed):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(parsed):
        if isinstance(node, documented) and ast.get_docstring(node):
            yield node.body[0].value


def test_haystacks_namespace_stays_open_to_others():
    """A file `__init__.py` in it would hide what other packages have there."""
    shared = ROOT / "haystack_integrations"
    faces = {path.parent.relative_to(shared).as_posix() for path in shared.rglob("__init__.py")}
    assert faces == {"components/retrievers/requant", "document_stores/requant"}


def test_only_haystacks_part_of_the_integration_imports_haystack():
    for module in MODULES:
        homes = ("requant.integration.haystack", "haystack_integrations")
        if not module.startswith(homes):
            imported = {name.split(".")[0] for name in imports(module, at_import=False)}
            assert imported.isdisjoint({"haystack", "haystack_integrations"}), module


HEAVY = [
    "haystack",
    "sqlalchemy",
    "pyarrow",
    "typer",
    "rich",
    "psycopg",
    "pytest",
    "torch",
    *ENGINES,
]
LOADED = """
import json, sys
{}
print(json.dumps(sorted(m for m in sys.modules if "." not in m or m.startswith("requant."))))
"""


def loaded_after(code):
    """The modules that are loaded in a fresh process after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_import_requant_imports_little():
    assert loaded_after("import requant").isdisjoint(HEAVY)


def test_a_store_without_an_index_imports_no_engine():
    code = (
        "import requant\n"
        "with requant.open(':memory:') as db:\n"
        "    notes = db.create_collection('notes', 2)\n"
        "    notes.upsert(['a'], [[1, 0]])\n"
        "    notes.search([1, 0])"
    )
    loaded = loaded_after(code)
    assert loaded.isdisjoint({*ENGINES, "pyarrow", "typer", "rich", "psycopg"})
    assert not any(name.startswith(tuple(ENGINES.values())) for name in loaded)


def test_one_engine_does_not_import_another():
    loaded = loaded_after("from requant.adapters import registry; registry.load('usearch')")
    assert "usearch" in loaded
    assert "faiss" not in loaded


def test_every_adapter_is_registered():
    registered = {entry.name: entry.value for entry in entry_points(group="requant.backends")}
    for name in ("faiss", "usearch"):
        assert registered[name].startswith(f"requant.adapters.{name}:")


def test_exports_are_sorted_and_there():
    assert requant.__all__ == sorted(requant.__all__)
    assert errors.__all__ == sorted(errors.__all__)
    for name in requant.__all__:
        assert getattr(requant, name) is not None
    assert set(errors.__all__) <= set(requant.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = requant.nothing


def test_every_error_is_reachable():
    lower = ("requant.quantizers", "requant.adapters")
    defined = {
        node.name
        for module in MODULES
        if room(module) in lower or module == "requant.errors"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Warning"))
        if not node.name.startswith("_")
    }
    assert defined == set(errors.__all__)
    for name in errors.__all__:
        error = getattr(requant, name)
        if not name.endswith("Warning"):
            assert issubclass(error, requant.RequantError)
        assert name in errors.__doc__ or name == "RequantError"


def test_errors_are_also_what_a_caller_would_catch():
    assert issubclass(requant.InputError, ValueError)
    assert issubclass(requant.DimensionError, requant.InputError)
    assert issubclass(requant.NonFiniteError, requant.InputError)
    assert issubclass(requant.DuplicateIdError, requant.InputError)
    assert issubclass(requant.FilterError, requant.InputError)
    assert issubclass(requant.EngineMissingError, ImportError)
    for error in (
        requant.UnknownIdError,
        requant.UnknownIndexError,
        requant.UnknownCollectionError,
    ):
        assert issubclass(error, KeyError)
        assert str(error("a sentence")) == "a sentence"


@every_module
def test_everything_public_has_a_docstring(module):
    if module == "requant.integration.cli.__main__":
        return  # importing it would run it
    for name, value in vars(import_module(module)).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isclass(value):
            assert inspect.getdoc(value), f"{module}.{name}"
            for inner, member in vars(value).items():
                public = not inner.startswith("_")
                if public and (inspect.isfunction(member) or isinstance(member, property)):
                    assert inspect.getdoc(member), f"{module}.{name}.{inner}"
        elif inspect.isfunction(value):
            assert inspect.getdoc(value), f"{module}.{name}"
