"""What stands on a model: a Vector, and what the class shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from numpy.typing import ArrayLike
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import flag_dirty, instance_state

from requant.errors import InputError, RequantError
from requant.inputs import check_name
from requant.integration.sqlalchemy.orm import held
from requant.integration.sqlalchemy.orm.errors import UnboundError, about
from requant.integration.sqlalchemy.orm.field import VectorField
from requant.integration.sqlalchemy.orm.mapped import Mapped
from requant.integration.sqlalchemy.orm.reading import vector_of
from requant.quantizers.arrays import as_vector
from requant.scores import Metric


class Vector(property):  # as which pydantic, and with it SQLModel, leaves it alone
    """A vector of each row of a model, kept in a collection; not a column.

    Args:
        dim: its dimensions.
        metric: `cosine`, `ip` or `l2`.
        collection: the name of the collection; default: the table's name, `_` and the attribute's.
        document: the attribute whose text is the item's document.
        metadata: attributes that become keys of the item's metadata.
        embed: what makes vectors of documents: anything with `encode(texts)`, or a function from a
            list of texts to vectors. Without it, vectors are those that you assign.

    On the class it is a `VectorField`, with `search` and the others; on an object it is the vector,
    `(dim,) float32`, or None.

    Raises InputError for what cannot be one.
    """

    def __init__(
        self,
        dim: int,
        *,
        metric: Metric = "cosine",
        collection: str | None = None,
        document: str | None = None,
        metadata: Sequence[str] = (),
        embed: Any = None,
    ) -> None:
        """Describe the vectors; `bind` says in which database they are kept."""
        super().__init__()
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise InputError(f"dim must be a whole number from 1, not {dim!r}")
        if metric not in get_args(Metric):
            raise InputError(f"unknown metric {metric!r}: choose one of {get_args(Metric)}")
        if isinstance(metadata, str) or not all(isinstance(one, str) for one in metadata):
            raise InputError(
                f'metadata is a tuple of attributes such as ("lang",), not {metadata!r}'
            )
        if embed is not None and document is None:
            raise InputError("embed= makes vectors of documents: say which attribute is document=")
        self.dim = dim
        self.metric: Metric = metric
        self.document = document
        self.metadata: tuple[str, ...] = tuple(metadata)
        self.embed = embed
        self.name: str = ""
        self._collection = None if collection is None else check_name(collection, "collection")
        self._fields: WeakKeyDictionary[type, VectorField] = WeakKeyDictionary()
        self._mapped: WeakKeyDictionary[type, Mapped] = WeakKeyDictionary()
        self.homes: WeakKeyDictionary[Mapper[Any], Mapped] = WeakKeyDictionary()

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name of the attribute."""
        if self.name and self.name != name:
            raise InputError(f"one Vector is one attribute: it is {self.name!r} and {name!r}")
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the vector of an object, or the field of a class."""
        if instance is None:
            assert owner is not None
            known = self._fields.get(owner)
            if known is None:
                known = self._fields[owner] = VectorField(self, owner)
            return known
        return vector_of(self.mapped(type(instance)), instance)

    def __set__(self, instance: Any, value: ArrayLike | None) -> None:
        """Give an object a vector, or None for none, which its next flush writes.

        Raises DimensionError, NonFiniteError, InputError, UnboundError.
        """
        mapped = self.mapped(type(instance))
        state = instance_state(instance)
        vector = None
        if value is not None:
            try:
                # A copy: the array stays the caller's, who may go on to change it.
                vector = as_vector(value, self.dim, self.name)[0].copy()
            except RequantError as error:
                raise about(mapped.row_name(state), error) from error
        held.hold(state, self.name, vector, given=True, unsaved=True)
        if state.key is not None:
            flag_dirty(instance)

    def __delete__(self, instance: Any) -> None:
        """Take the vector away, as assigning None does."""
        self.__set__(instance, None)

    def collection_name(self, home: Mapper[Any]) -> str:
        """Return the name of the collection of a class."""
        if self._collection is not None:
            return self._collection
        return check_name(f"{home.local_table.name}_{self.name}", "collection")  # type: ignore[attr-defined]

    def mapped(self, owner: type) -> Mapped:
        """Return what is known of a class once it is bound; raises UnboundError."""
        known = self._mapped.get(owner)
        if known is not None and self.homes.get(known.home) is known:
            return known
        home = home_of(owner, self)
        found = None if home is None else self.homes.get(home)
        if found is None:
            raise UnboundError(
                f"{owner.__name__}.{self.name} is not bound to a database: call "
                f"requant.integration.sqlalchemy.bind(db, {owner.__name__})"
                if home is not None
                else f"{owner.__name__} is not mapped: {self.name} is used on a mapped class"
            )
        self._mapped[owner] = found
        return found


def home_of(owner: type, vector: Vector) -> Mapper[Any] | None:
    """Return the mapper of the class that a Vector belongs to: the highest that has it.

    A class with a table of its own that holds all its columns (`concrete`) is one of its own.
    """
    mapper: Any = sa.inspect(owner, raiseerr=False)
    if not isinstance(mapper, Mapper):
        return None
    while mapper.inherits is not None and not mapper.concrete:
        if vectors_of(mapper.inherits.class_).get(vector.name) is not vector:
            break
        mapper = mapper.inherits
    found: Mapper[Any] = mapper
    return found


def vectors_of(owner: type) -> dict[str, Vector]:
    """Return the Vectors of a class by attribute, those that it inherits, too."""
    found: dict[str, Any] = {}
    for each in reversed(owner.__mro__):
        found.update(vars(each))
    return {name: one for name, one in found.items() if isinstance(one, Vector)}
