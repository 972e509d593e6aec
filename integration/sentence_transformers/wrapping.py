"""A model whose codes and similarities agree, without changing the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from requant.embeddings import Calibration, like, pairwise_similarity, similarity
from requant.errors import InputError, UnsupportedError
from requant.integration.sentence_transformers.quantize import (
    Precision,
    Ranges,
    quantize_embeddings,
)
from requant.quantizers.dialect_codes import Release
from requant.scores import Metric

_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}


def wrap(
    model: Any,
    *,
    precision: Precision = "float32",
    calibration: Ranges | None = None,
    dialect: Release = "6",
) -> QuantizedModel:
    """Return `model` with `encode(precision=...)` and `similarity` that agree with each other.

    Args:
        model: a SentenceTransformer, or whatever has `encode(texts) -> (n, d)` floats.
        precision: of `encode` unless a call says otherwise.
        calibration: the ranges of int8 and uint8 codes: a `Calibration`, its path or an array;
            or call `calibrate(texts)` on the result.
        dialect: "5" for the codes of sentence-transformers up to 5.1.

    >>> class Model:
    ...     def encode(self, texts):
    ...         return np.array([[len(text), 1.0] for text in texts], np.float32)
    >>> model = wrap(Model(), precision="int8")
    >>> calibration = model.calibrate(["a", "a much longer text"])
    >>> codes = model.encode(["abc", "abcdef"])
    >>> codes.dtype, model.similarity(codes, codes).round(1).tolist()
    (dtype('int8'), [[1.0, 1.0], [1.0, 1.0]])
    """
    return QuantizedModel(model, precision, calibration, dialect)


class QuantizedModel:
    """A model, and the ranges of its codes; every other attribute is the model's own."""

    def __init__(
        self, model: Any, precision: Precision, calibration: Ranges | None, dialect: Release
    ) -> None:
        """Stand before `model`; see `wrap`."""
        self.model = model
        self.precision = precision
        self.dialect = dialect
        self.calibration = None if calibration is None else Calibration.of(calibration)

    def __getattr__(self, name: str) -> Any:
        """Hand on what is not here."""
        if name == "model":
            raise AttributeError(name)  # not yet set: while it is copied or unpickled
        return getattr(self.model, name)

    def calibrate(
        self,
        texts: Sequence[str],
        name: str = "",
        *,
        path: str | Path | None = None,
        **options: Any,
    ) -> Calibration:
        """Embed `texts`, keep their ranges for int8 and uint8 codes, and return them.

        A few thousand texts of the kind to be encoded are enough. `path` saves them as well;
        `options` go to the model's `encode`.
        """
        self.calibration = Calibration.fit(self.model.encode(texts, **options), name)
        if path is not None:
            self.calibration.save(path)
        return self.calibration

    def encode(self, inputs: Any, *args: Any, precision: Precision | None = None, **kw: Any) -> Any:
        """Return embeddings, as codes of `precision`; everything else is the model's `encode`.

        Raises:
            InputError: int8 or uint8 without a calibration.
        """
        return self._codes(self.model.encode, inputs, args, precision, kw)

    def encode_query(
        self, inputs: Any, *args: Any, precision: Precision | None = None, **kw: Any
    ) -> Any:
        """Return embeddings of queries, with the model's prompt for them."""
        encode = getattr(self.model, "encode_query", self.model.encode)
        return self._codes(encode, inputs, args, precision, kw)

    def encode_document(
        self, inputs: Any, *args: Any, precision: Precision | None = None, **kw: Any
    ) -> Any:
        """Return embeddings of documents, with the model's prompt for them."""
        encode = getattr(self.model, "encode_document", self.model.encode)
        return self._codes(encode, inputs, args, precision, kw)

    def similarity(self, a: Any, b: Any, *, precision: Any = None, dim: int | None = None) -> Any:
        """Return `(n, m)` similarities of embeddings of any precision, by the model's function.

        What the integers are is told by their width. Raises UnsupportedError for a model that
        compares by Manhattan distance.
        """
        options = self._options(precision, dim)
        return self._named(similarity(a, b, **options))

    def similarity_pairwise(
        self, a: Any, b: Any, *, precision: Any = None, dim: int | None = None
    ) -> Any:
        """Return the similarity of row i of `a` and row i of `b`, `(n,)`."""
        options = self._options(precision, dim)
        return self._named(pairwise_similarity(a, b, **options))

    def _codes(
        self, encode: Any, inputs: Any, args: Any, precision: Precision | None, kw: Any
    ) -> Any:
        wanted = precision or self.precision
        embeddings = encode(inputs, *args, **kw)
        if wanted == "float32":
            return embeddings
        ranges = None
        if wanted in ("int8", "uint8"):
            if self.calibration is None:
                raise InputError(
                    f"{wanted} codes need ranges that stay the same from batch to batch: call "
                    "calibrate(texts) with some thousand texts first, or pass calibration= to wrap"
                )
            ranges = self.calibration
        codes = quantize_embeddings(embeddings, wanted, ranges, dialect=self.dialect)
        return like(codes, embeddings) if isinstance(codes, np.ndarray) else codes

    def _options(self, precision: Any, dim: int | None) -> dict[str, Any]:
        return {
            "metric": self._metric,
            "precision": precision,
            "calibration": self.calibration,
            "dim": dim or self._dim,
        }

    @property
    def _function(self) -> str:
        return str(getattr(self.model, "similarity_fn_name", None) or "cosine")

    @property
    def _metric(self) -> Metric:
        if self._function not in _METRICS:
            raise UnsupportedError(
                f"the model compares by {self._function}, and codes are compared by "
                f"{', '.join(_METRICS)}"
            )
        return _METRICS[self._function]

    @property
    def _dim(self) -> int | None:
        if self.calibration is not None:
            return self.calibration.dim
        for name in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
            if hasattr(self.model, name):
                found: int | None = getattr(self.model, name)()
                return found
        return None

    def _named(self, scores: Any) -> Any:
        # A model's `euclidean` is the negated distance itself, ours is its square.
        return -((-scores) ** 0.5) if self._function == "euclidean" else scores
