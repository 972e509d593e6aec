"""`requant text`: whether the words of documents are indexed."""

from __future__ import annotations

from typing import Annotated

import typer

from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import new_app, stoppable
from requant.integration.cli.options import HERE, AsJson, CollectionName, Database, Place
from requant.integration.cli.output import print_answer
from requant.integration.cli.progress import progress

app: typer.Typer = new_app()


@app.callback()
def _text() -> None:
    """Index the words of documents, for `requant search --words` and --hybrid."""


@app.command("add")
@takes_bundles
def add(
    database: Database,
    collection: CollectionName,
    tokenizer: Annotated[
        str,
        typer.Option(
            "--tokenizer",
            metavar="NAME",
            help="unicode, porter (other forms of English words are found, too) or trigram (any "
            "three characters, as for Chinese, Japanese and Korean).",
        ),
    ] = "unicode",
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Index the documents of a collection, while others read and write.

    --json answers: collection, tokenizer.
    """
    with place.opened(database) as opened:
        target = opened.collection(collection)
        left = "searches by words are refused, and what has been gone through stays"
        with stoppable(left), progress("indexing words") as advance:
            target.index_text(tokenizer, progress=advance)
    print_answer(
        as_json,
        {"collection": collection, "tokenizer": tokenizer},
        f"Next: requant search {database} {collection} --words TEXT",
    )


@app.command("remove")
@takes_bundles
def remove(
    database: Database, collection: CollectionName, place: Place = HERE, as_json: AsJson = False
) -> None:
    """Forget the words of documents.

    --json answers: collection, removed.
    """
    with place.opened(database) as opened:
        opened.collection(collection).unindex_text()
    print_answer(
        as_json,
        {"collection": collection, "removed": True},
        f"The documents of {collection!r} are not indexed by words any more.",
    )
