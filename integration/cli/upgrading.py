"""`requant upgrade`: the tables of a database, brought up to date."""

from __future__ import annotations

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import stoppable
from requant.integration.cli.options import NAMES, AsJson, Database, TableNames
from requant.integration.cli.output import print_json, print_lines


@takes_bundles
def upgrade(
    database: Database,
    names: TableNames = NAMES,
    as_json: AsJson = False,
) -> None:
    """Bring the tables up to date that an older requant made, or make them.

    For databases that are opened with create=False: else opening does it. It
    is one transaction, so that other processes see all of it or nothing; one
    that a newer requant has written is refused.

    --json answers: database, before, schema.
    """
    from requant.integration.databases import shown, upgraded

    with stoppable(f"{shown(database)} is what it was"):
        before, now = upgraded(database, names.tables)
    if as_json:
        print_json({"database": shown(database), "before": before, "schema": now})
        return
    what = {None: "has its tables now", now: "was up to date"}.get(
        before, f"was brought up from schema {before}"
    )
    print_lines(f"{shown(database)} {what}: schema {now}.")
