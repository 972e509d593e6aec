"""Labels for engines that know int64 only, and the file that tells what they stand for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from requant.integration.export.job import Job, Written, count
from requant.quantizers.arrays import Float32s
from requant.scores import lengths_of
from requant.store import Id, Page, Selection

ITEMS = ".items.jsonl.gz"
# float32 vectors that were normalised are this near to length 1.
UNIT = 1e-6


class Labels:
    """Gives each item with a vector its label, and writes down what an engine has no place for.

    The labels are the ids where all of these are integers from 0 to 2^63 - 1, else row numbers:
    those of the items with a vector, from 0.
    """

    def __init__(self, own: bool, file: Any) -> None:
        """Use the items' own ids or not, and write lines to `file`."""
        self.own = own
        self.rows: int = 0
        self.left_out: int = 0
        self.needed: bool = not own
        self._file = file

    def of(
        self, rows: Page, vectors: Float32s, lengths: Sequence[float] | None = None
    ) -> NDArray[np.int64]:
        """Return the labels of those items that have a vector.

        `vectors` are what the engine gets; `lengths` those that they had, where they are normalised
        for it.
        """
        labels: list[int] = []
        for place, there in enumerate(rows.present.tolist()):
            label = length = checksum = None
            if there:
                checksum = crc32(vectors[len(labels)].tobytes())
                length = None if lengths is None else lengths[len(labels)]
                label = int(rows.ids[place]) if self.own else self.rows + len(labels)
                labels.append(label)
            self._write(label, length, checksum, rows, place)
        self.rows += len(labels)
        return np.array(labels, np.int64)

    def written(self, target: Path, bytes: int) -> Written:
        """Return what was made."""
        return Written(str(target), self.rows, 0, bytes, self.left_out)

    def tell(self, job: Job, items: Path) -> None:
        """Add notes on labels, and on what is in the file beside the index only."""
        if not self.own:
            job.notes.append(f"ids are not integers from 0: labels are row numbers, see {items}")
        if self.needed:
            job.notes.append(f"documents, metadata and lengths other than 1 are in {items}")
        if self.left_out:
            what = count(self.left_out, "item")
            job.notes.append(f"{what} without a vector: in {items} only, label null")

    def _write(
        self, label: int | None, length: float | None, checksum: int | None, rows: Page, place: int
    ) -> None:
        name, document, metadata = rows.ids[place], rows.documents[place], rows.metadata[place]
        line: dict[str, Any] = {"label": label, "id": _plain(name)}
        if isinstance(name, UUID):
            line["id_type"] = "uuid"
        line |= {"document": document, "metadata": metadata}
        scaled = length is not None and abs(length - 1) > UNIT
        if scaled:
            line["length"] = length
        if checksum is not None:
            line["crc32"] = checksum
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self.left_out += label is None
        self.needed |= label is None or document is not None or metadata is not None or scaled


@contextmanager
def labels_of(items: Selection, path: Path) -> Iterator[Labels]:
    """Yield labels whose lines are in `path` at the end of the block, where there is a need."""
    own = all(map(_is_label, (name for names in items.ids() for name in names)))
    # Without the time, so that the same items make the same file.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        labels = Labels(own, file)
        yield labels
    if not labels.needed:
        path.unlink()


def exact_lengths(vectors: NDArray[np.float32]) -> list[float]:
    """Return the lengths of vectors; 0 for a vector of zeros."""
    lengths = np.where(vectors.any(axis=1), lengths_of(vectors.astype(np.float64)), 0)
    return [float(length) for length in lengths]


def _is_label(name: Id) -> bool:
    return isinstance(name, int) and 0 <= name < 1 << 63


def _plain(name: Id) -> str | int:
    return str(name) if isinstance(name, UUID) else name
