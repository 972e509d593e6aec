"""FAISS by itself: everything in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import faiss

from benchmarks.dataset import K
from benchmarks.peers.contender import Ask, Contender, Vectors, rows

FILE = "index.faiss"
IP = faiss.METRIC_INNER_PRODUCT


def flat(dim: int) -> faiss.Index:
    return faiss.IndexFlatIP(dim)


def refined_sq8(dim: int) -> faiss.Index:
    coarse = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, IP)
    return refined(coarse)


def refined_lists(dim: int) -> faiss.Index:
    nearest = faiss.IndexFlatIP(dim)
    lists = faiss.IndexIVFRaBitQFastScan(nearest, dim, 256, IP, 32, True)
    nearest.this.disown()
    return refined(lists)


def refined(first: faiss.Index) -> faiss.Index:
    """Rescore by floats; the index in C++ frees what it stands on, since nobody in Python does."""
    both = faiss.IndexRefineFlat(first)
    first.this.disown()
    both.own_fields = True
    return both


def graph(dim: int) -> faiss.Index:
    made = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, 24, IP)
    made.hnsw.efConstruction = 160
    return made


def build(make: Callable[[int], faiss.Index], vectors: Vectors, folder: Path) -> None:
    index = make(vectors.shape[1])
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(folder / FILE))


def asked(index: faiss.Index, parameters: faiss.SearchParameters | None = None) -> Ask:
    return lambda query: rows(index.search(query[None], K, params=parameters)[1])


def serve_flat(folder: Path) -> Mapping[str, Ask]:
    return {"exact": asked(faiss.read_index(str(folder / FILE)))}


def serve_refined(folder: Path) -> Mapping[str, Ask]:
    index = faiss.read_index(str(folder / FILE))
    return {
        f"k_factor {factor}": asked(index, faiss.IndexRefineSearchParameters(k_factor=factor))
        for factor in (1, 2, 4)
    }


def serve_lists(folder: Path) -> Mapping[str, Ask]:
    index = faiss.read_index(str(folder / FILE))
    settings = {}
    for probes, factor in ((8, 8), (16, 10), (32, 10), (64, 12), (256, 12)):
        inside = faiss.IVFSearchParameters(nprobe=probes)
        outside = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inside)
        settings[f"nprobe {probes}, k_factor {factor}"] = asked(index, outside)
    return settings


def serve_graph(folder: Path) -> Mapping[str, Ask]:
    index = faiss.read_index(str(folder / FILE))
    return {
        f"efSearch {ef}": asked(index, faiss.SearchParametersHNSW(efSearch=ef))
        for ef in (16, 32, 64, 128, 256, 512)
    }


CONTENDERS = tuple(
    Contender(f"FAISS {name}", partial(build, make), serve, ("faiss",))
    for name, make, serve in (
        ("IndexFlatIP", flat, serve_flat),
        ("SQ8 + Refine", refined_sq8, serve_refined),
        ("IVF-RaBitQ + Refine", refined_lists, serve_lists),
        ("HNSW-SQ8", graph, serve_graph),
    )
)
