"""`requant migrate`, `rollback` and `shadow`: from one index of a collection to another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import InputError
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import BAD_ANSWER, stoppable
from requant.integration.cli.options import (
    HERE,
    AsJson,
    CollectionName,
    Database,
    IndexName,
    IndexOptions,
    Place,
)
from requant.integration.cli.output import print_json, print_lines, size, warn
from requant.integration.cli.progress import progress

if TYPE_CHECKING:
    from requant.migration import MigrationPlan, MigrationReport


@dataclass(frozen=True)
class Comparison:
    """By what a new index is compared with the one in use, and whether it then replaces it."""

    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help="Query vectors (.npy) to compare recall on; by default stored vectors.",
        ),
    ] = None
    k: Annotated[
        int, typer.Option("-k", metavar="K", min=1, help="How many results recall is counted over.")
    ] = 10
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", metavar="SHARE", min=0, max=1, help="How far recall may fall."),
    ] = 0.02
    switch: Annotated[
        bool,
        typer.Option(
            "--switch/--no-switch",
            help="Let searches use the new index once it is verified; or only build and verify it.",
        ),
    ] = True

    def arguments(self) -> dict[str, Any]:
        """Return them as `Collection.migrate` takes them; raises InputError."""
        queries = None if self.queries is None else read_vectors(self.queries)
        return {**vars(self), "queries": queries}


@takes_bundles
@takes_bundles
def migrate(
    database: Database,
    collection: CollectionName,
    name: IndexName,
    index: IndexOptions,
    comparison: Comparison,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell what would be done, how large and how long it is."),
    ] = False,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Build an index beside the one in use, verify it, and use it instead.

    Searches and writes go on meanwhile. After an interruption the same command
    goes on where it stopped. If anything is wrong, nothing is switched and the
    exit code is 1. The old index stays for `requant rollback` until it is
    dropped.

    --json answers: name, state, items, k, queries, queries_from,
    recall_before, recall_after, checked, problems, ok. With --dry-run it is:
    name, rows, carried, changed, dropped, bytes, seconds, advice.
    """
    wanted = index.arguments()
    with place.opened(database) as opened:
        target = opened.collection(collection)
        if dry_run:
            _tell_plan(target.plan_migration(name, **wanted), as_json)
            return
        compared = comparison.arguments()
        left = "searches ask the old index, and what has been built stays"
        with stoppable(left), progress(f"building {name}") as advance:
            report = target.migrate(name, progress=advance, **compared, **wanted)
    _tell_report(report, as_json)
    if not report.ok:
        raise typer.Exit(BAD_ANSWER)


@takes_bundles
def rollback(
    database: Database,
    collection: CollectionName,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Use the index again that was in use before the last `requant migrate`.

    --json answers: collection, index (null: searches are exact again).
    """
    with place.opened(database) as opened:
        name = opened.collection(collection).rollback()
    if as_json:
        print_json({"collection": collection, "index": name})
    elif name is None:
        print_lines(f"Collection {collection!r} is searched exactly again.")
    else:
        print_lines(f"Searches of {collection!r} ask index {name!r} again.")


@takes_bundles
def shadow(
    database: Database,
    collection: CollectionName,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The new index; without it, what there is."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            metavar="SHARE",
            min=0,
            max=1,
            help="How many of the searches it answers as well, 0 to 1; 0 ends it.",
        ),
    ] = None,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Compare a new index with the one in use on the searches that applications make.

    First `requant migrate --no-switch`. Every process that has the collection
    open takes part within seconds. Without --share the figures are shown; at
    last `requant migrate` without --no-switch switches.

    --json answers: collection, migrations (name, source, state, shadow,
    compared, parity).
    """
    if (name is None) != (share is None):
        raise InputError("give NAME and --share, or neither to see what there is")
    with place.opened(database) as opened:
        target = opened.collection(collection)
        if name is not None and share is not None:
            target.shadow(name, share)
        every = target.migrations
    if as_json:
        print_json({"collection": collection, "migrations": [asdict(info) for info in every]})
        return
    if not every:
        print_lines(f"Collection {collection!r} has not been migrated.")
    for info in every:
        source = "exact search" if info.source is None else repr(info.source)
        seen = "nothing compared yet"
        if info.parity is not None:
            seen = f"{info.parity:.4f} of {info.compared:,} results found by both"
        print_lines(
            f"{source} -> {info.name!r}: {info.state}; {info.shadow:.0%} of searches; {seen}"
        )


def read_vectors(path: str) -> Any:
    """Return the rows of a file of query vectors; raises InputError."""
    import numpy as np

    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"--queries: {path} is not a .npy file of numbers: {error}") from error


def _tell_plan(plan: MigrationPlan, as_json: bool) -> None:
    if as_json:
        print_json(asdict(plan))
        return
    told = {
        "carried": plan.carried,
        "changed": plan.changed,
        "dropped": plan.dropped or ["nothing"],
    }
    for heading, lines in told.items():
        for line in lines:
            print_lines(f"{heading}: {line}")
    for line in plan.advice:
        print_lines(f"advice: {line}")
    taken = "" if plan.seconds is None else f" and {plan.seconds:.1f} s"
    print_lines(f"about {size(plan.bytes)}{taken}; nothing was done.")


def _tell_report(report: MigrationReport, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(report), "ok": report.ok})
        return
    for line in report.checked:
        print_lines(f"checked: {line}")
    before = "unknown" if report.recall_before is None else f"{report.recall_before:.4f}"
    print_lines(
        f"recall@{report.k} over {report.queries} queries ({report.queries_from}): "
        f"{before} before, {report.recall_after:.4f} after."
    )
    for problem in report.problems:
        warn(problem)
    if report.state == "switched":
        print_lines(f"Searches ask index {report.name!r}; `requant rollback` goes back.")
    elif report.ok:
        print_lines(f"Index {report.name!r} is ready; the same command with --switch uses it.")
    else:
        print_lines(f"Index {report.name!r} is not used: see above.")
