"""Pickles of other software, read without running anything that is in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from requant.integration.errors import SourceError

# What a stream of bytes that is no good pickle can raise; a memory error is a size that it claims.
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    MemoryError,
)


class Stub:
    """Stands for a class of other software: keeps what its pickle says of it, and does nothing."""

    state: Any = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Ignore what the real class would be called with."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state as it is; without this method, `pickle` would set attributes."""
        self.state = state

    def fields(self) -> Mapping[str, Any]:
        """Return the attributes of the real object; empty if there are none.

        Pydantic keeps them under `__dict__`, beside its own.
        """
        state = self.state
        if isinstance(state, dict) and isinstance(state.get("__dict__"), dict):
            state = state["__dict__"]
        return state if isinstance(state, dict) else {}


class _RefusedError(Exception):
    """A pickle asks for something that it is not given."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, admitted: Mapping[tuple[str, str], type[Stub]]) -> None:
        super().__init__(stream)
        self._admitted = admitted

    def find_class(self, module: str, name: str) -> Any:
        """Return a stub; everything else, builtins too, is refused before it is looked up."""
        try:
            return self._admitted[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}"[:200]) from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("an object outside the file")


def unpickle(path: Path, admitted: Mapping[tuple[str, str], type[Stub]]) -> Any:
    """Return what a pickle holds: dicts, lists, text, numbers and the stubs of `admitted`.

    Args:
        path: the file.
        admitted: (module, name) of each class that it may name, and the stub it becomes.

    Raises:
        SourceError: the file asks for anything else, or is damaged; nothing of it has been run.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    return unpickle_bytes(data, str(path), admitted)


def unpickle_bytes(data: bytes, place: str, admitted: Mapping[tuple[str, str], type[Stub]]) -> Any:
    """Return what a pickle in memory holds, as `unpickle` does; `place` is for messages."""
    try:
        # Safe: the only names it can get at are stubs that do nothing.
        return _Unpickler(BytesIO(data), admitted).load()
    except _RefusedError as error:
        raise SourceError(
            f"{place}: this pickle asks for {error}, which may run code and is not loaded: if the "
            "file is yours, save it again with plain text, numbers, lists and dicts only"
        ) from None
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise SourceError(f"{place} is no pickle, or a damaged one: {reason[:200]}") from error
