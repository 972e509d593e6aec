"""Texts embedded for a collection: by the model that it remembers, or by none that it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa

from requant.embeddings import (
    Model,
    ModelInfo,
    check_model,
    check_same,
    embed,
    encode_prompt,
    load_stored,
    resolve,
)
from requant.errors import DimensionError, InputError
from requant.quantizers.arrays import Float32s
from requant.store import CollectionRow, Store, models

# More texts take long: whether they may be embedded is then looked at before, too.
_MANY = 256
_TOLERANCE = 1e-3

_NOTHING = ModelInfo("", None, 0)  # of a model without a name

Options = Mapping[str, Any] | None
Embedded = tuple[Model, ModelInfo]


class Embedder:
    """What `Collection` does with texts."""

    def __init__(self, store: Store, owner: CollectionRow, last: Model | None = None) -> None:
        """Embed for `owner`; `last` is what embedded last."""
        self._store = store
        self._owner = owner
        self._last = last
        self._given: tuple[Any, Model] | None = None

    def look(self) -> ModelInfo | None:
        """Return what is remembered."""
        return models.look(self._store, self._owner)

    def known(self, given: Any) -> Model:
        """Return the model that is given, the last one, or the one that is remembered.

        Raises InputError without any.
        """
        if given is None and self._last is not None:
            return self._last
        if given is not None:
            known = self._given
            if known is None or known[0] is not given:  # mostly it is the same all the time
                self._given = known = given, check_model(resolve(given))
            return known[1]
        stored = self.look()
        if stored is None:
            raise InputError(
                "pass model=: a SentenceTransformer, anything with encode(texts), a function from "
                "texts to vectors, or the name of a model"
            )
        return load_stored(stored)

    def used(self, model: Model | None) -> None:
        """Take a model that was no other than the collection's for the last one."""
        self._last = model if model is not None else self._last

    def documents(
        self,
        texts: Sequence[str],
        model: Model,
        options: Options,
        progress: Callable[[int, int], object] | None,
    ) -> tuple[Float32s, Embedded]:
        """Return the vectors of documents, and what is to be remembered of the model."""
        if len(texts) > _MANY:  # before an hour of embedding
            self._check(model, writing=True)
        vectors = self._embed(model, texts, "document", options, progress)
        return vectors, (model, info_of(model, vectors, options))

    def query(self, text: str, model: Model, options: Options) -> Float32s:
        """Return the vector of a text that is searched for."""
        vector: Float32s = self._embed(model, [text], "query", options, None)[0]
        return vector

    def set(self, given: Any, options: Options) -> ModelInfo | None:
        """Remember a model, whatever there was; None forgets it. Raises InputError."""
        info = None if given is None else self.described(given, options)
        with self._store.writing(turn=self._owner.id) as connection:
            models.take_turn(connection, self._store, self._owner)
            models.put(connection, self._store.tables, self._owner.id, info)
        self._last = self._given = None
        return info

    def described(self, given: Any, options: Options) -> ModelInfo:
        """Return what a model is to be remembered by, without loading it."""
        return described(given, self._owner.dim, options)

    def _embed(
        self,
        model: Model,
        texts: Sequence[str],
        kind: Literal["document", "query"],
        options: Options,
        progress: Callable[[int, int], object] | None,
    ) -> Float32s:
        try:
            return embed(model, texts, kind, self._owner.dim, options=options, progress=progress)
        except DimensionError:
            self._check(model, writing=kind == "document")  # which says why they are others
            raise

    def _check(self, model: Model, *, writing: bool) -> None:
        stored = self.look()
        if stored is not None:
            check_same(stored, model, self._owner.name, writing=writing)


def described(given: Any, dim: int, options: Options = None) -> ModelInfo:
    """Return what a model is to be remembered by; raises InputError if it has no name."""
    if isinstance(given, ModelInfo):
        return replace(given, dim=dim)
    if isinstance(given, str):
        name, _, revision = given.partition("@")
        model = Model(name, None, revision or None)
    else:
        model = check_model(resolve(given))
    if model.name is None:
        raise InputError(
            f"{model.shown} cannot be remembered: give it a name, as requant.Model('acme/v3', it)"
        )
    return ModelInfo(model.name, model.revision, dim, encode_prompt(options))


def remember(
    connection: sa.Connection, store: Store, owner: CollectionRow, info: ModelInfo
) -> None:
    """Remember a model, or see that it is the same; raises OtherModelError."""
    models.take_turn(connection, store, owner)
    stored = models.within(connection, store, owner)
    if stored is None:
        models.put(connection, store.tables, owner.id, info)
    else:
        check_same(stored, Model(info.name, None, info.revision), owner.name, writing=True)


def info_of(model: Model, vectors: Float32s, options: Options) -> ModelInfo:
    """Return what is to be remembered of a model that has embedded something."""
    if model.name is None:
        return _NOTHING
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    whole = bool((np.abs(lengths - 1) < _TOLERANCE).all())
    return ModelInfo(model.name, model.revision, vectors.shape[1], encode_prompt(options), whole)
