"""Which reader reads which source: one line each."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath

from requant.integration.errors import SourceError
from requant.integration.export.recognising import is_export, open_export
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.chroma import is_chroma, open_chroma
from requant.integration.readers.foreign.faiss_files import is_faiss, open_faiss
from requant.integration.readers.foreign.haystack import is_haystack, open_haystack
from requant.integration.readers.foreign.lancedb_places import is_lancedb
from requant.integration.readers.foreign.lancedb_tables import open_lancedb
from requant.integration.readers.foreign.langchain import is_langchain, open_langchain
from requant.integration.readers.foreign.llama_index import is_llama_index, open_llama_index
from requant.integration.readers.foreign.protocol import ForeignSource
from requant.integration.readers.foreign.qdrant_edge import is_edge, open_edge
from requant.integration.readers.foreign.qdrant_local import is_local, open_local
from requant.integration.readers.foreign.qdrant_server import is_server, open_server
from requant.integration.readers.foreign.txtai import is_txtai, open_txtai
from requant.integration.readers.foreign.usearch_files import is_usearch, open_usearch
from requant.integration.readers.foreign.vdf import is_vdf, open_vdf
from requant.store import refuse_own_file

Recognise = Callable[[str], bool]
Open = Callable[[str, Wanted], ForeignSource]

# The first that recognises a source reads it: those that look closest come first. A framework's
# folder comes before the engine's file in it.
_READERS: tuple[tuple[Recognise, Open], ...] = (
    (is_server, open_server),
    (is_chroma, open_chroma),
    (is_vdf, open_vdf),
    (is_llama_index, open_llama_index),
    (is_langchain, open_langchain),
    (is_haystack, open_haystack),
    (is_txtai, open_txtai),
    (is_local, open_local),
    (is_edge, open_edge),
    (is_lancedb, open_lancedb),
    (is_usearch, open_usearch),
    (is_faiss, open_faiss),
    (is_export, open_export),
)


def open_foreign(source: str | PathLike[str], wanted: Wanted) -> ForeignSource | None:
    """Open an index or store that requant did not make, None if no reader recognises it.

    Args:
        source: a path or URL; see the readers in this folder for what they take.
        wanted: which column or payload key is what; see `Wanted`.

    Raises:
        InputError: a file of a database that is open here.
        SourceError: it is recognised and cannot be read, or holds no such columns.
        PackageMissingError: reading it needs a package that is not installed.
    """
    name = fspath(source)
    refuse_own_file(name)
    for recognise, opener in _READERS:
        if recognise(name):
            return opener(name, wanted)
    if "://" in name:
        raise SourceError(
            f"{name.partition('://')[0]}://... is no source that can be read: give a file, a "
            "folder, http(s)://host:6333/collections/NAME (Qdrant), or lancedb:///folder/TABLE, "
            "s3://bucket/folder/TABLE (LanceDB)"
        )
    return None
