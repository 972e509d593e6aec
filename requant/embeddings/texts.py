"""Texts to vectors by whatever model the caller has; nothing here imports one.

A model is an object with `encode_document` and `encode_query`, or with `encode`, as
sentence-transformers' are, or with `embed_documents` and `embed_query`, as LangChain's are, or a
function from a list of texts to vectors; or the name of one, see `registry`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np

from requant.embeddings.models import Model
from requant.embeddings.patience import patiently
from requant.embeddings.registry import resolve
from requant.embeddings.tensors import as_array
from requant.errors import InputError, RequantError
from requant.quantizers.arrays import Float32s, as_vectors

# Texts that are handed to the model at once, in its batches: it sorts them by length.
_BATCHES = 32
_BATCH = 32

Progress = Callable[[int, int], object]


def embed(
    model: Any,
    texts: Sequence[str],
    kind: Literal["document", "query"],
    dim: int | None,
    *,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    patient: bool = True,
) -> Float32s:
    """Return the vectors of `texts`, `(n, dim) float32`; without a `dim`, as the model has it.

    `options` go to the model (`prompt_name`, `prompt`, `batch_size`, `normalize_embeddings`...).
    Without `progress`, a bar is shown where stderr is a terminal. `patient`: try again what may
    be gone in a moment, see `patience`.

    Raises:
        InputError: no model, no texts, or a model that gives codes; DimensionError, NonFiniteError;
            each names the texts of the batch.
        ModelError: it failed again and again.

    >>> embed(lambda texts: [[len(text), 1] for text in texts], ["a", "bcd"], "document", 2)
    array([[1., 1.],
           [3., 1.]], dtype=float32)
    """
    encode = _encoder(resolve(model).encoder, kind)
    check_texts(texts)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    step = _BATCHES * int(given.get("batch_size", _BATCH))
    if 0 < len(texts) <= step and progress is None:  # as mostly
        # A model may write its next answer into the same array.
        return _embedded(encode, texts, given, dim, patient).copy()
    vectors = np.empty((len(texts), dim or 0), np.float32)
    with _shown(len(texts), step, progress) as report:
        for start in range(0, len(texts), step):
            part = texts[start : start + step]
            rows = _embedded(encode, part, given, dim, patient, start, len(texts) > step)
            if dim is None:
                dim = rows.shape[1]
                vectors = np.empty((len(texts), dim), np.float32)
            vectors[start : start + step] = rows
            report(start + len(part), len(texts))
    return vectors


def _embedded(
    encode: Callable[..., Any],
    texts: Sequence[str],
    options: Mapping[str, Any],
    dim: int | None,
    patient: bool,
    first: int = 0,
    one_of_many: bool = False,
) -> Float32s:
    """Return the vectors of one batch, whose first text has the number `first`."""
    what = f"texts {first} to {first + len(texts) - 1}"
    call = partial(encode, list(texts), **options)
    found = patiently(call, what) if patient else call()
    try:
        return _checked(found, len(texts), dim)
    except RequantError as error:
        if not one_of_many:
            raise
        raise type(error)(f"{what}: {error}") from error


def check_texts(texts: Sequence[str]) -> None:
    """Raise InputError, with the row, where something else is among the texts."""
    if isinstance(texts, str):
        raise InputError("texts must be a list of texts, not one: wrap it in a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts row {row} is {type(text).__name__}, not text")


def check_model(model: Model) -> Model:
    """Return a model that can embed texts; raises InputError."""
    _encoder(model.encoder, "document")
    return model


def _encoder(model: Any, kind: str) -> Callable[..., Any]:
    for name in (f"encode_{kind}", "encode"):
        found = getattr(model, name, None)
        if callable(found):
            encode: Callable[..., Any] = found
            return encode
    many: Callable[..., Any] | None = getattr(model, "embed_documents", None)
    if callable(many) and callable(getattr(model, "embed_query", None)):
        if kind == "query":
            return lambda texts: [model.embed_query(text) for text in texts]
        return many
    if not callable(model):
        raise InputError(
            f"a {type(model).__name__} is no model: it has neither encode(texts) nor is it a "
            "function from texts to vectors"
        )
    function: Callable[..., Any] = model
    return function


def _checked(embeddings: Any, n: int, dim: int | None) -> Float32s:
    try:
        array = as_array(embeddings)
    except RequantError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unequal lengths, say
        raise InputError(f"what the model gave for {n} texts is no array: {error}") from error
    if array.dtype in (np.int8, np.uint8):
        raise InputError(
            f"the model gave {array.dtype} codes: a collection keeps floats and quantizes them "
            "itself, so ask the model for float32"
        )
    if array.shape[:1] != (n,):
        raise InputError(f"the model gave an array of shape {array.shape} for {n} texts")
    return as_vectors(array, dim, "embeddings")


@contextmanager
def _shown(total: int, step: int, progress: Progress | None) -> Iterator[Progress]:
    """Yield the caller's `progress`, or a bar if there is somebody to see it."""
    if progress is not None:
        yield progress
        return
    if total <= step or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("embedding", total=total)
        yield lambda done, _total: bar.update(task, completed=done)
