"""What a reader of somebody else's index tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from requant.integration.readers.source import Batch

# exact: the float32 vectors that were embedded, to the rounding of float32 where their lengths were
# kept apart from their directions. normalised: these, but for their lengths, which the
# engine did not keep. lossy: made from compressed codes. codes-only: bits, as vectors of -1 and 1.
Fidelity = Literal["exact", "normalised", "lossy", "codes-only"]


class ForeignSource(Protocol):
    """An index that requant did not make, as batches ready to be stored.

    `name`: the path or URL, without secrets. `kind`: what it is, in a few words ("FAISS file
    (IndexHNSWFlat)"). `metric`: how it compares, None where it does not tell. `rows`: how many
    items there are, None where only reading tells. `notes`: what is lost, assumed or changed, a
    sentence each.
    """

    name: str
    kind: str
    metric: Literal["cosine", "ip", "l2"] | None
    dim: int
    rows: int | None

    @property
    def fidelity(self) -> Fidelity:
        """How true the vectors are; final once all have been read."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """See above; final once all items have been read."""
        ...

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all items, at most `size` at a time, in an order that is the same every time.

        Raises:
            SourceError: an item cannot be read, or its id occurs twice; the text says which.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
