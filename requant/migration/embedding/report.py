"""What a move to another model came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from requant.embeddings import ModelInfo

# What becomes of items that have a vector, and no document to make another from.
Missing = Literal["refuse", "drop"]


@dataclass(frozen=True)
class ReembedReport:
    """What a move to another model came to.

    `embedded` items were embedded in this run, others before. `without_document` items have
    nothing to embed; `lost` of these have a vector now, and will have none. `overlap` is the share
    of the `k` nearest that both models find, over `queries` queries: "stored documents" by their
    vectors, or "given". `relevance_before` and `relevance_after` are the shares of the relevant
    items among the first `k`. None is what could not be asked; `notes` say why.
    """

    name: str
    model: ModelInfo
    state: Literal["building", "ready", "switched"]
    items: int
    embedded: int
    without_document: int
    lost: int
    k: int
    queries: int
    queries_from: str
    overlap: float | None
    relevance_before: float | None
    relevance_after: float | None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the switch."""
        return not self.problems


@dataclass(frozen=True)
class ReembedInfo:
    """A move that stands: the other collection, its model, and how many items it has to look at.

    `switched`: the collection has moved, and the other one is what it was before.
    """

    name: str
    model: ModelInfo | None
    left: int
    switched: bool
