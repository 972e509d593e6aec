"""The suite: random histories for an engine, as a class to inherit from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from requant.scores import Metric
from requant.testing.stateful.machine import History, Setting


class StatefulConformance:
    """Subclass it in a test file and name the engine; pytest does the rest.

    Random histories (upserts, updates, deletes, searches, indexes that come, go and are migrated,
    transactions, savepoints, backups put back) run on two databases over one store, and are held
    against a plain dictionary and brute force. What fails is told as a short program.

    `indexes` are arguments of `add_index` to choose from; `exact` are the precisions whose flat
    index, asked for as many candidates as there are items, has to answer exactly; `metrics` those
    that the engine knows; `examples` and `steps` are how many histories there are and how long each
    is; with `seeded`, they are the same in every run. An engine that one database at a time may
    open has one of the `handles`. Without `restores`, no backup of the store is put back. `url` is
    that of a PostgreSQL database, in place of a SQLite file a history.
    """

    engine: ClassVar[str]
    indexes: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"precision": "int8"},
        {"precision": "float32"},
    )
    exact: ClassVar[frozenset[str]] = frozenset({"int8", "float32"})
    metrics: ClassVar[tuple[Metric, ...]] = ("cosine", "ip", "l2")
    examples: ClassVar[int] = 30
    steps: ClassVar[int] = 25
    seeded: ClassVar[bool] = True
    restores: ClassVar[bool] = True
    handles: ClassVar[int] = 2

    def url(self) -> str | None:
        """Return the URL of the store; None stands for SQLite."""
        return None

    def test_random_histories(self) -> None:
        """Whatever happens, the collection holds and answers what the dictionary does."""
        setting = Setting(
            self.url(),
            tuple({"engine": self.engine, **index} for index in self.indexes),
            self.exact,
            self.metrics,
            self.restores,
            self.handles,
        )
        histories: Any = lambda: History(setting)  # noqa: E731 - its annotation wants a class
        run_state_machine_as_test(
            histories,
            settings=settings(
                max_examples=self.examples,
                stateful_step_count=self.steps,
                derandomize=self.seeded,
                database=None,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
