"""Models that are asked for by name, so that another process or the command line can ask, too.

A name is looked up among those of `register_model`, then among the entry points of the group
`requant.models`, whole or by its first part ("acme" stands for "acme/large"), and is else one of
sentence-transformers'. Whoever is found gets the name and returns the model; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from requant.embeddings.models import Model, ModelInfo, named
from requant.errors import InputError, UnsupportedError

GROUP = "requant.models"
_DEFAULT = "requant.integration.sentence_transformers.loading"

Loader = Callable[[str], Any]
_registered: dict[str, Loader] = {}
_loaded: dict[str, Any] = {}  # a model takes seconds to load, and is not loaded twice


def register_model(name: str, load: Loader) -> None:
    """Let `model=name`, and `model="name/anything"`, stand for what `load(name)` returns.

    Known to this process; a package is known to all by an entry point of the group
    `requant.models`. `load` is called once a name, when it is first used.

    >>> import requant
    >>> requant.register_model("lengths", lambda name: lambda texts: [[len(t), 1] for t in texts])
    >>> notes = requant.open(":memory:").create_collection("notes", dim=2, model="lengths")
    >>> notes.upsert_texts(["a"], ["one"])
    1
    """
    Model(name, None)  # which refuses what is no name
    if not callable(load):
        raise InputError(f"load must be a function of a name, not {type(load).__name__}")
    _registered[name] = load
    for known in [one for one in _loaded if one == name or one.startswith(f"{name}/")]:
        del _loaded[known]


def resolve(model: Any) -> Model:
    """Return a model with its name, loaded if it is given by name: "name" or "name@revision"."""
    return load_model(model) if isinstance(model, str) else named(model)


def load_model(name: str) -> Model:
    """Return the model of a name; raises InputError, PackageMissingError, or what loading does."""
    if not name.strip():
        raise InputError("the name of a model is empty")
    plain, _, revision = name.partition("@")
    if name not in _loaded:
        _loaded[name] = _loader(plain)(name)
    encoder = _loaded[name]
    return Model(plain, encoder, revision or named(encoder).revision)


def load_stored(info: ModelInfo) -> Model:
    """Return the model that a collection names; raises UnsupportedError for what is no plain name.

    A function that was imported is not imported by name: a stranger may have written the name.
    """
    known = info.name in _registered or info.name.partition("/")[0] in _registered
    if not known and (not info.is_plain or ":" in info.name):
        raise UnsupportedError(
            f"the collection was embedded by {info.shown}, which cannot be loaded by that name: "
            "pass it as model=, or register it with requant.register_model"
        )
    found = load_model(info.name if info.revision is None else f"{info.name}@{info.revision}")
    return Model(info.name, found.encoder, info.revision)


def _loader(name: str) -> Loader:
    first = name.partition("/")[0]
    for one in (name, first):
        if one in _registered:
            return _registered[one]
    points = _points()
    for one in (name, first):
        if one in points:
            loader: Loader = points[one].load()
            return loader
    default: Loader = import_module(_DEFAULT).load
    return default


@cache
def _points() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=GROUP)}
