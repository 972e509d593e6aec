"""requant's and the installed sentence-transformers' quantization side by side.

    pip install torch sentence-transformers faiss-cpu usearch
    OMP_NUM_THREADS=1 python -m benchmarks.against_sentence_transformers --data FOLDER

Prints Markdown tables: time of `quantize_embeddings`, recall@10 and time of the searches, peak
memory. Times are CPU; contenders take turns. Recall counts a hit by distance. Without `--data` the
subset in examples/ is used. `docs/embeddings-int8.md` shows a recorded run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dataset import Dataset, K, load

MULTIPLIERS = (2, 4, 8, 32)
PATHS = (("faiss", "uint8"), ("faiss", "ubinary"), ("usearch", "int8"), ("usearch", "binary"))
SIDES = ("sentence-transformers", "requant")
Results = list[list[dict[str, Any]]]


def main() -> None:
    """Run all, or one search in a process of its own whose memory is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--one", nargs=4, metavar=("SIDE", "ENGINE", "PRECISION", "MULTIPLIER"))
    args = parser.parse_args()
    if args.one:
        measure_memory(args.data, args.queries, *args.one)
        return
    data = load(args.data)
    queries = data.queries[: args.queries]
    print(f"{len(data.vectors):,} x {data.vectors.shape[1]} vectors, {len(queries)} queries\n")
    quantizing(data.vectors)
    for engine, precision in PATHS:
        searching(data, queries, engine, precision)
    memory(args)


def quantizing(vectors: Any) -> None:
    """Print the times of `quantize_embeddings`, with ranges given and with the batch's own."""
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    print("| quantize_embeddings | sentence-transformers, ms | requant, ms | times as fast |")
    print("|---|---|---|---|")
    cases: list[tuple[str, Any]] = [(precision, ranges) for precision in ("int8", "uint8")]
    cases += [("binary", None), ("ubinary", None), ("int8", "own"), ("uint8", "own")]
    for precision, ends in cases:
        given = {} if ends is None or isinstance(ends, str) else {"ranges": ends}
        name = f"{precision}, ranges of the batch" if isinstance(ends, str) else precision
        calls = [partial(functions(side)[0], vectors, precision, **given) for side in SIDES]
        assert (calls[0]() == calls[1]()).all(), f"{precision} codes differ"
        times = in_turn(calls, 9)
        ratio = float(np.median([theirs / ours for theirs, ours in zip(*times, strict=True)]))
        theirs, ours = (float(np.median(one)) * 1e3 for one in times)
        print(f"| {name} | {theirs:.1f} | {ours:.1f} | {ratio:.2f} |", flush=True)
    print()


def searching(data: Dataset, queries: Any, engine: str, precision: str) -> None:
    """Print recall and time: from floats to results, and with an index that is already there."""
    print(
        f"| {engine} {precision}, rescore_multiplier | recall@10 sentence-transformers | requant "
        "| CPU s sentence-transformers | requant | its share |"
    )
    print("|---|---|---|---|---|---|")
    built: list[Any] = [None, None]

    def whole(side: int) -> Results:
        results, _, built[side] = journey(SIDES[side], data.vectors, queries, engine, precision, 2)
        return results

    row("2, from float vectors", data, queries, [lambda: whole(0), lambda: whole(1)], 1)
    if engine == "usearch":
        args = (data.vectors, queries, engine, precision, 2)
        row(
            "2, from float vectors, no index returned",
            data,
            queries,
            [lambda: whole(0), lambda: journey("requant", *args, output_index=False)[0]],
            1,
        )
    ranges = np.stack([data.vectors.min(axis=0), data.vectors.max(axis=0)])
    for multiplier in MULTIPLIERS:
        fixed = (data.vectors, queries, engine, precision, multiplier, ranges)
        calls = [partial(search, SIDES[side], *fixed, built[side]) for side in (0, 1)]
        row(f"{multiplier}, with the index", data, queries, calls, 3)
    print()


def row(
    name: str, data: Dataset, queries: Any, calls: list[Callable[[], Results]], rounds: int
) -> None:
    """Print one row of a table."""
    answers: list[Results] = [[], []]

    def kept(side: int) -> Callable[[], object]:
        return lambda: answers.__setitem__(side, calls[side]())

    times = in_turn([kept(0), kept(1)], rounds)
    share = float(np.median([ours / theirs for theirs, ours in zip(*times, strict=True)]))
    recalls = [recall(data, queries, found) for found in answers]
    theirs, ours = (float(np.median(one)) for one in times)
    found = f"{recalls[0]:.3f} | {recalls[1]:.3f}"
    print(f"| {name} | {found} | {theirs:.2f} | {ours:.2f} | {share:.2f} |", flush=True)


def functions(side: str) -> tuple[Any, dict[str, Any]]:
    """Return `quantize_embeddings` and the searches of one side."""
    if side == "requant":
        from requant.integration import sentence_transformers as module
    else:
        from sentence_transformers.util import quantization as module  # type: ignore[no-redef]
    searches = {name: getattr(module, f"semantic_search_{name}") for name in ("faiss", "usearch")}
    return module.quantize_embeddings, searches


def journey(
    side: str,
    vectors: Any,
    queries: Any,
    engine: str,
    precision: str,
    multiplier: int,
    output_index: bool = True,
) -> tuple[Any, ...]:
    """Go from float vectors to results: quantize, index, search, rescore."""
    quantize, searches = functions(side)
    scalar = precision in ("int8", "uint8")
    options: dict[str, Any] = {"output_index": output_index}
    corpus = vectors
    if side != "requant":
        if scalar:
            options["ranges"] = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
            corpus = quantize(vectors, precision, ranges=options["ranges"])
        else:
            corpus = quantize(vectors, precision)
    found: tuple[Any, ...] = searches[engine](
        queries, corpus, corpus_precision=precision, rescore_multiplier=multiplier, **options
    )
    return found


def search(
    side: str,
    vectors: Any,
    queries: Any,
    engine: str,
    precision: str,
    multiplier: int,
    ranges: Any,
    index: Any,
) -> Results:
    """Search an index that is there; requant has the float vectors beside it."""
    options: dict[str, Any] = {"floats": vectors} if side == "requant" else {}
    if precision in ("int8", "uint8"):
        options["ranges"] = ranges
    found: Results = functions(side)[1][engine](
        queries,
        corpus_index=index,
        corpus_precision=precision,
        rescore_multiplier=multiplier,
        **options,
    )[0]
    return found


def recall(data: Dataset, queries: Any, results: Results) -> float:
    """Return recall@10 of results, counted by the exact distance of what was found."""
    ids = np.array([[hit["corpus_id"] for hit in found] for found in results])
    assert ids.shape == (len(queries), K), ids.shape
    unit = data.vectors[ids]
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    asked = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return data.recall(np.einsum("qkd,qd->qk", unit, asked))


def in_turn(calls: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return CPU seconds of each call, one a round."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, kept in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            kept.append(time.process_time() - start)
    return times


def memory(args: argparse.Namespace) -> None:
    """Print the peak memory of whole journeys, each in a process of its own."""
    print(
        "| peak MB above the float vectors | sentence-transformers | requant | share |\n"
        "|---|---|---|---|"
    )
    for engine, precision in PATHS:
        for multiplier in ("2", "32"):
            peaks = []
            for side in SIDES:
                command = [sys.executable, "-m", "benchmarks.against_sentence_transformers"]
                command += ["--queries", str(args.queries)]
                command += ["--one", side, engine, precision, multiplier]
                command += ["--data", str(args.data)] if args.data else []
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks.append(json.loads(done.stdout)["megabytes"])
            print(
                f"| {engine} {precision}, rescore_multiplier {multiplier} | {peaks[0]:.0f} | "
                f"{peaks[1]:.0f} | {peaks[1] / peaks[0]:.2f} |",
                flush=True,
            )


def measure_memory(
    folder: Path | None, queries: int, side: str, engine: str, precision: str, multiplier: str
) -> None:
    """Print by how much a journey raises the peak of resident memory, as JSON."""
    data = load(folder)
    asked = data.queries[:queries]
    small = data.vectors[:200]
    journey(side, small, asked[:2], engine, precision, 2)  # imports, and an engine's own buffers
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    journey(side, data.vectors, asked, engine, precision, int(multiplier), output_index=False)
    print(json.dumps({"megabytes": resident("VmHWM") - before}))


def resident(field: str) -> float:
    """Return a line of /proc/self/status in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1e3
    raise LookupError(field)


if __name__ == "__main__":
    main()
