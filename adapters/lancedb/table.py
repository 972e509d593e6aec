"""A table of LanceDB: created, opened, checked and dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from requant.adapters.errors import CorruptIndexError, EngineError, LocationTakenError
from requant.adapters.lancedb import place as places
from requant.adapters.lancedb.calls import Caller, is_absent, is_taken, is_unexplained
from requant.adapters.lancedb.columns import described, description_in, schema_of
from requant.adapters.lancedb.place import Place
from requant.adapters.lancedb.plan import Plan
from requant.adapters.lancedb.probe import check_conditional_writes, connected

# The version that the last flush left. LanceDB opens an older one without a word when the newest
# manifest is lost.
FLUSHED = "requant-flushed"


@dataclass(frozen=True)
class Table:
    """An open table, and how to call it."""

    place: Place
    plan: Plan
    call: Caller
    inner: Any


def create(place: Place, plan: Plan, overwrite: bool) -> Table:
    """Return a new, empty table.

    Raises:
        LocationTakenError: something stands there, and it is not an index that may be replaced.
        EngineError: LanceDB failed, or the place cannot be reached.
    """
    if overwrite:
        drop(place, anyones=not place.folder)
    if place.folder:
        _claim(place, plan)
    call = caller_of(place)
    try:
        if not place.folder and not place.remote:
            check_conditional_writes(place, call)
        inner = call(_created(place, plan))
    except BaseException as error:
        if isinstance(error, EngineError) and is_taken(error):
            raise LocationTakenError(
                f"there is a table at {place} already: choose another place, or overwrite it"
            ) from None
        if place.folder:
            places.remove(place.folder)
        raise
    return Table(place, plan, call, inner)


def open_table(place: Place, plan: Plan) -> Table:
    """Return the table that stands there; raises CorruptIndexError unless it fits `plan`."""
    call = caller_of(place)
    if place.folder and not place.folder.is_dir():
        raise CorruptIndexError(f"there is no lancedb index at {place}")
    try:
        inner, schema, version, flushed = call(opened(place))
    except EngineError as error:
        if is_absent(error):
            raise CorruptIndexError(f"there is no lancedb index at {place}") from error
        if place.folder and is_unexplained(error):  # torn manifests fail in a dozen ways
            raise CorruptIndexError(f"the table at {place} is damaged: {error}") from error
        raise
    _check(place, plan, schema)
    if version < flushed:
        inner.close()
        raise CorruptIndexError(
            f"the table at {place} has lost its newest versions: it is at {version}, "
            f"{flushed} was written; rebuild the index"
        )
    return Table(place, plan, call, inner)


def drop(place: Place, anyones: bool = False) -> None:
    """Remove a table that requant made, or that `anyones` made; nothing there is no error.

    Raises LocationTakenError where something else stands there, EngineError where the place cannot
    be reached.
    """
    if place.folder:
        _drop_folder(place)
        return
    call = caller_of(place)
    try:
        inner, schema, *_ = call(opened(place))
    except EngineError as error:
        if not is_absent(error):
            raise
        return
    inner.close()
    if description_in(schema) is None and not anyones:
        raise LocationTakenError(_not_ours(place))
    try:
        call(_dropped(place))
    except EngineError as error:
        if not is_absent(error):
            raise
        return


def _claim(place: Place, plan: Plan) -> None:
    assert place.folder is not None
    try:
        places.claim(place.folder, plan.spec)
    except OSError as error:
        raise EngineError(f"{place} cannot be made: {error}") from error


def _drop_folder(place: Place) -> None:
    folder = place.folder
    assert folder is not None
    if not folder.exists():
        return
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            return
        if not places.is_ours(folder):
            raise LocationTakenError(_not_ours(place))
        places.remove(folder)
    except OSError as error:
        raise EngineError(f"{place} cannot be removed: {error}") from error


def _not_ours(place: Place) -> str:
    return f"what stands at {place} was not made by requant: it is not removed, see to it yourself"


def _check(place: Place, plan: Plan, schema: Any) -> None:
    found, wanted = description_in(schema), described(plan.spec)
    if found is None:
        raise CorruptIndexError(f"the table at {place} was not made by requant")
    for trait, value in wanted.items():
        if found.get(trait) != value:
            raise CorruptIndexError(
                f"the table at {place} does not fit: its {trait} is {found.get(trait)!r}, "
                f"expected {value!r}"
            )
    if schema.remove_metadata() != schema_of(plan.spec).remove_metadata():
        raise CorruptIndexError(f"the table at {place} has other columns than requant's: {schema}")


def caller_of(place: Place) -> Caller:
    """Return what runs calls at a place."""
    return Caller(str(place), place.secrets)


async def _created(place: Place, plan: Plan) -> Any:
    database = await connected(place)
    return await database.create_table(place.table, schema=schema_of(plan.spec))


async def opened(place: Place) -> tuple[Any, Any, int, int]:
    """Return a table, its schema, its version, and the one that the last flush left."""
    inner = await (await connected(place)).open_table(place.table)
    schema = await inner.schema()
    if place.remote:
        return inner, schema, 0, 0
    flushed = (await inner.tags.list()).get(FLUSHED)
    return inner, schema, await inner.version(), flushed["version"] if flushed else 0


async def _dropped(place: Place) -> None:
    await (await connected(place)).drop_table(place.table)
