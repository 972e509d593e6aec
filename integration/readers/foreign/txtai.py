"""txtai's indexes: folders or archives of config.json, embeddings, and documents or ids."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.json_files import read_object
from requant.integration.readers.foreign.listed import Listed, refuse_wanted
from requant.integration.readers.foreign.txtai_archive import is_archive, members, unpack
from requant.integration.readers.foreign.txtai_content import Section, read_ids, read_sections
from requant.integration.readers.foreign.txtai_vectors import Found, read_vectors

_PARTS = ("config.json", "config", "embeddings", "documents", "ids")
_LEFT = {
    "scoring": "the keyword index (scoring) is left out",
    "indexes": "subindexes are left out",
    "graph": "the graph is left out",
}


def is_txtai(source: str) -> bool:
    """Tell whether a path is a folder or an archive that txtai has saved."""
    path = Path(source)
    if path.is_dir():
        configured = (path / "config.json").is_file() or (path / "config").is_file()
        return configured and (path / "embeddings").is_file()
    return is_archive(path) and "embeddings" in members(path)


def open_txtai(source: str, wanted: Wanted) -> Listed:
    """Read an index that `Embeddings.save` has made.

    Args:
        source: the folder, or the archive (.tar.gz, .tar.bz2, .tar.xz, .zip).
        wanted: nothing, since txtai tells itself what is what.

    Raises:
        SourceError: a part is missing, damaged or a pickle that holds more than a list of ids; the
            vectors are kept by an engine that cannot be read; one id has several sections.
    """
    refuse_wanted(source, "txtai", wanted)
    path = Path(source)
    if path.is_dir():
        return _read(path, path, [file.name for file in path.iterdir()])
    folder = Path(tempfile.mkdtemp(prefix="requant-txtai-"))
    try:
        unpack(path, _PARTS, folder)
        return _read(path, folder, members(path))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path, folder: Path, parts: list[str]) -> Listed:
    if "config.json" not in parts:
        raise SourceError(
            f"{path}: its configuration is a pickle, which is not loaded: open the index with "
            "txtai 7.5 or later, ALLOW_PICKLE=True in the environment, and save it again with "
            '"format": "json" in its configuration'
        )
    config = read_object(folder / "config.json")
    found = read_vectors(folder / "embeddings", config, str(path))
    sections = _sections(path, folder, parts, config, found)
    content = "documents" in parts
    return Listed(
        name=str(path),
        kind=f"txtai index ({found.kind})",
        fidelity=found.fidelity,
        metric="cosine",
        ids=[section.id for section in sections],
        vectors=found.vectors,
        documents=[section.text for section in sections] if content else None,
        metadata=[section.metadata for section in sections] if content else None,
        notes=[*found.notes, *(note for part, note in _LEFT.items() if part in parts)],
    )


def _sections(
    path: Path, folder: Path, parts: list[str], config: dict[str, Any], found: Found
) -> list[Section]:
    """Return what belongs to each vector; raises SourceError where there is nothing."""
    if "documents" in parts:
        known = read_sections(folder / "documents", config)
    elif "ids" in parts or "ids" in config:
        listed = config["ids"] if "ids" in config else read_ids(folder / "ids")
        known = {at: Section(name) for at, name in enumerate(listed) if name is not None}
    else:
        # An index of positions: txtai keeps no ids for it.
        known = {key: Section(key) for key in found.ids.tolist()}
    lost = next((key for key in found.ids.tolist() if key not in known), None)
    if lost is not None:
        raise SourceError(
            f"{path}: vector {lost} has no id: the parts of the index were not saved together"
        )
    return [known[key] for key in found.ids.tolist()]
