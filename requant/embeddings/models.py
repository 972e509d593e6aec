"""Models by name: what a collection remembers of the one that embedded its texts.

A model has a name if somebody gave it one (`Model`, `register_model`), if it is a function that can
be imported, or if it tells one, as sentence-transformers' and LangChain's do. What has none is used
all the same, and nothing is remembered of it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from requant.errors import CorruptDataError, InputError, OtherModelError

_LONGEST = 200
# Of a provider or a hub, never a path: a database that names one is not to lead anywhere else.
_PLAIN = re.compile(r"[^\W_][\w.+:\-]*(/[^\W_][\w.+:\-]*)*")
_KINDS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "revision": (str, type(None)),
    "dim": (int,),
    "prompt": (str, type(None)),
    "normalised": (bool, type(None)),
}
# What objects say of themselves, the surest first; LangChain's have `model_name` or `model`.
_TELLING = ("model_name", "model_id", "model")


@dataclass(frozen=True)
class Model:
    """An embedding function with a name, by which collections remember it.

    `encoder` is a SentenceTransformer, LangChain's `Embeddings`, anything with `encode(texts)`, or
    a function from texts to vectors. Another `revision` of a name is another model.

    >>> import requant
    >>> letters = requant.Model("letters", lambda texts: [[t.count("a"), len(t)] for t in texts])
    >>> notes = requant.open(":memory:").create_collection("notes", dim=2, model=letters)
    >>> notes.model.name
    'letters'
    """

    name: str | None
    encoder: Any
    revision: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no name; raises InputError."""
        for what, text in (("name", self.name), ("revision", self.revision)):
            if text is not None and (not isinstance(text, str) or not 0 < len(text) <= _LONGEST):
                raise InputError(
                    f"a model's {what} is a text of 1 to {_LONGEST} characters, not {text!r:.80}"
                )

    @property
    def shown(self) -> str:
        """What an error calls it."""
        if self.name is None:
            kind = getattr(self.encoder, "__qualname__", type(self.encoder).__name__)
            return f"a model without a name ({kind})"
        return _shown(self.name, self.revision)


@dataclass(frozen=True)
class ModelInfo:
    """What a collection remembers of the model that embeds its texts.

    `revision` is None where nobody told. `prompt` is that of documents, as it was given to the
    model. `normalised`: whether the first vectors all had length 1; None before the first.
    """

    name: str
    revision: str | None
    dim: int
    prompt: str | None = None
    normalised: bool | None = None

    @property
    def shown(self) -> str:
        """What an error calls it."""
        return _shown(self.name, self.revision)

    @property
    def is_plain(self) -> bool:
        """Whether it may be loaded because a database says so: no path, no address."""
        return len(self.name) <= _LONGEST and _PLAIN.fullmatch(self.name) is not None

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)


def named(model: Any) -> Model:
    """Return a model with its name, if it has one; what is a name already is loaded elsewhere.

    >>> import json
    >>> named(json.dumps).name, named(lambda texts: texts).name
    ('json:dumps', None)
    """
    if isinstance(model, Model):
        return model
    if inspect.isfunction(model):
        hidden = model.__module__ == "__main__" or "<" in model.__qualname__
        return Model(None if hidden else f"{model.__module__}:{model.__qualname__}", model)
    name, revision = _told(model)
    return Model(name, model, revision)


def encode_prompt(options: Mapping[str, Any] | None) -> str | None:
    """Return the prompt that a model is given, None if it is given none."""
    for name in ("prompt", "prompt_name"):
        found = (options or {}).get(name)
        if found is not None:
            return str(found)
    return None


def check_same(stored: ModelInfo, model: Model, collection: str, *, writing: bool) -> None:
    """Raise OtherModelError unless `model` is the one that a collection remembers."""
    same = model.name == stored.name
    if same and (None in (model.revision, stored.revision) or model.revision == stored.revision):
        return
    verb = "written" if writing else "searched for"
    way = f"requant.Model({stored.name!r}, ...)" if model.name is None else "set_model"
    raise OtherModelError(
        f"the texts of collection {collection!r} were embedded by {stored.shown}, and this one is "
        f"to be {verb} by {model.shown}: their vectors have nothing to do with each other. Use "
        f"that model, move to the other one with reembed, or, if they are the same, say so with "
        f"{way}"
    )


def check_alike(stored: ModelInfo, given: ModelInfo, collection: str, metric: str) -> None:
    """Raise OtherModelError where the same model is used so that its vectors do not compare."""
    if stored.prompt != given.prompt:
        raise OtherModelError(
            f"the texts of collection {collection!r} were embedded by {stored.shown} with prompt "
            f"{stored.prompt!r:.80}, and these with {given.prompt!r:.80}: give encode= the same, "
            "embed all anew with reembed, or say that it does not matter with set_model"
        )
    lengths = (stored.normalised, given.normalised)
    if metric != "cosine" and lengths == (True, False):
        raise OtherModelError(
            f"the vectors of collection {collection!r}, by {stored.shown}, have length 1, and "
            f"these have not, which {metric} does not compare: give encode= the same, or say that "
            "it does not matter with set_model"
        )


def checked_model(found: Mapping[str, Any], dim: int, what: str = "a model") -> ModelInfo:
    """Return a model as it was stored, by whomever; what a later version adds is left alone.

    Raises CorruptDataError, which calls it `what`.
    """
    for name, kinds in _KINDS.items():
        if not isinstance(found, Mapping) or type(found.get(name)) not in kinds:
            raise CorruptDataError(f"{what} has no {name!r} that it could have")
    if found["dim"] != dim:
        raise CorruptDataError(f"{what} has {found['dim']} dimensions, and its vectors {dim}")
    return ModelInfo(**{name: found[name] for name in _KINDS})


def _shown(name: str, revision: str | None) -> str:
    return f"model {name!r:.80}" + (f" at revision {revision!r:.80}" if revision else "")


def _told(model: Any) -> tuple[str | None, str | None]:
    """Return the name and revision that an object tells of itself."""
    card = getattr(model, "model_card_data", None)
    name = getattr(card, "base_model", None)
    if isinstance(name, str) and name:
        return name, _text(getattr(card, "base_model_revision", None))
    for attribute in _TELLING:
        name = getattr(model, attribute, None)
        if isinstance(name, str) and 0 < len(name) <= _LONGEST:
            return name, _text(getattr(model, "revision", None))
    return None, None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
