"""The manifest of a Parquet export: what is in it, by which every byte of it can be checked."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from requant.embeddings import checked_model
from requant.integration.errors import SourceError
from requant.quantizers import factory
from requant.quantizers.errors import CorruptDataError
from requant.quantizers.protocol import Quantizer

NAME = "manifest.json"
FORMAT = "requant-export"
VERSION = 1
# The digest is that of the file with zeros in its place, so that it covers every other byte.
_DIGEST = re.compile(rb'"sha256_of_manifest": "([0-9a-f]{64})"')
_BLANK = b"0" * 64


@dataclass(frozen=True)
class FileEntry:
    """One Parquet file: its rows, its size and digest, and the first and last key in it."""

    name: str
    rows: int
    bytes: int
    sha256: str
    min_key: int | None
    max_key: int | None


@dataclass(frozen=True)
class Manifest:
    """What is in an export.

    `dtype` is that of the vectors as stored. `lengths` are the least and the greatest length of a
    vector, None where there is none; `normalised`, whether both are 1 (within a thousandth).
    `where` is the filter that chose the rows. Each of `indexes` tells what there was: name,
    engine, precision, index_type, options, params, active, and of its quantizer the kind, the
    fingerprint, the ranges if it has any, and the bytes in base64. `model` is what embeds the
    texts: name, revision, dim, prompt, normalised.
    """

    collection: str
    dim: int
    metric: str
    rows: int
    without_vector: int
    lengths: tuple[float, float] | None
    normalised: bool | None
    where: Mapping[str, Any] | None
    indexes: list[dict[str, Any]]
    files: list[FileEntry]
    dtype: str = "float32"
    model: dict[str, Any] | None = None

    def quantizers(self) -> dict[str, Quantizer]:
        """Return the quantizers of the indexes by name: they make the same codes again."""
        return {
            entry["name"]: factory.from_bytes(b64decode(entry["quantizer"]["base64"]))
            for entry in self.indexes
            if entry.get("quantizer")
        }


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of an export."""
    from requant import __version__

    head = {"format": FORMAT, "version": VERSION, "requant": __version__}
    content = {**head, "sha256_of_manifest": _BLANK.decode(), **asdict(manifest)}
    text = json.dumps(content, indent=1).encode() + b"\n"
    digest = hashlib.sha256(text).hexdigest().encode()
    (folder / NAME).write_bytes(text.replace(_BLANK, digest, 1))


def read(folder: Path) -> Manifest:
    """Return the manifest of an export, checked against its own digest; raises SourceError."""
    path = folder / NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    found = _DIGEST.search(text)
    blank = text.replace(found[1], _BLANK, 1) if found else b""
    if found is None or hashlib.sha256(blank).hexdigest().encode() != found[1]:
        raise SourceError(
            f"{path} is not what was written: its SHA-256 is another; export the collection again"
        )
    content = json.loads(text)
    if content["format"] != FORMAT or content["version"] > VERSION:
        raise SourceError(
            f"{path} has format {content['format']} {content['version']}, this requant reads "
            f"{FORMAT} up to {VERSION}: upgrade requant"
        )
    try:
        return _manifest(content)
    except (KeyError, TypeError, ValueError, CorruptDataError) as error:
        raise SourceError(f"{path} is no manifest of an export: {error!r}") from error


def is_export(folder: Path) -> bool:
    """Whether a folder has a manifest of ours, be it damaged or not."""
    try:
        with (folder / NAME).open("rb") as file:
            return f'"{FORMAT}"'.encode() in file.read(200)
    except OSError:
        return False


def is_removable(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else, so that nothing else is lost with it."""
    if not folder.is_dir() or not is_export(folder):
        return False
    try:
        names = {entry.name for entry in read(folder).files}
    except SourceError:
        return False
    return {path.name for path in folder.iterdir()} <= names | {NAME}


def _manifest(content: dict[str, Any]) -> Manifest:
    content = {"model": None, **content}  # an older one tells of none
    fields = {name: content[name] for name in Manifest.__dataclass_fields__}
    if content["model"] is not None:
        fields["model"] = checked_model(content["model"], content["dim"]).as_json()
    fields["files"] = [FileEntry(**entry) for entry in content["files"]]
    if content["lengths"] is not None:
        fields["lengths"] = tuple(content["lengths"])
    return Manifest(**fields)
