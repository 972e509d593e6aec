"""`requant reembed`: from one embedding model to another."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from requant.errors import InputError
from requant.integration.cli.bundles import takes_bundles
from requant.integration.cli.group import BAD_ANSWER, stoppable
from requant.integration.cli.options import HERE, AsJson, CollectionName, Database, Place
from requant.integration.cli.output import print_json, print_lines, size, warn
from requant.integration.cli.progress import progress, waiting

if TYPE_CHECKING:
    from requant.migration import ReembedPlan, ReembedReport


@dataclass(frozen=True)
class ReembedOptions:
    """To which model, and by what the two are compared."""

    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The new model, as name or name@revision."),
    ] = None
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help='Queries to compare both models by: JSON lines such as {"text": "...", '
            '"relevant": ["id"]}; by default stored documents.',
        ),
    ] = None
    k: Annotated[
        int, typer.Option("-k", metavar="K", min=1, help="How many results are compared.")
    ] = 10
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=0,
            max=1,
            help="How much less of the relevant items may be found.",
        ),
    ] = 0.02
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, help="Items embedded and stored at once.")
    ] = 256
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Switch although items without a document lose their vector."
        ),
    ] = False
    switch: Annotated[
        bool,
        typer.Option(
            "--switch/--no-switch", help="Use the new model when it is done; or only embed by it."
        ),
    ] = True

    def arguments(self) -> dict[str, Any]:
        """Return them as `Collection.reembed` takes them; raises InputError."""
        texts, relevant = (None, None) if self.queries is None else _queries(Path(self.queries))
        missing = "drop" if self.drop_missing else "refuse"
        return {
            "queries": texts, "relevant": relevant, "k": self.k, "tolerance": self.tolerance,
            "batch": self.batch, "missing": missing, "switch": self.switch,
        }  # fmt: skip


@takes_bundles
@takes_bundles
def reembed(
    database: Database,
    collection: CollectionName,
    options: ReembedOptions,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell what there is to embed, how long and how large."),
    ] = False,
    rollback: Annotated[
        bool,
        typer.Option("--rollback", help="Go back to the model that was used before."),
    ] = False,
    place: Place = HERE,
    as_json: AsJson = False,
) -> None:
    """Embed the documents by another model, and let searches use that.

    Searches and writes go on meanwhile, by the old model; the new vectors are
    in the collection NAME.reembed until the switch. After an interruption the
    same command goes on where it stopped. What the collection was before stays
    as NAME.before for --rollback, until `requant drop` removes it.

    --json answers: name, model, state, items, embedded, without_document,
    lost, k, queries, queries_from, overlap, relevance_before,
    relevance_after, notes, problems, ok. With --dry-run it is: model, items,
    to_embed, without_document, lost, characters, tokens, dim, bytes, seconds;
    with --rollback: collection, model.
    """
    if options.model is None and not rollback:
        raise InputError("give --model NAME, the new one, or --rollback")
    with place.opened(database) as opened:
        target = opened.collection(collection)
        left = "searches use the old model, and what has been embedded stays"
        if rollback:
            with stoppable(left), progress("embedding") as advance:
                name = target.rollback_reembed(options.model, progress=advance)
            _tell_rollback(collection, name, as_json)
            return
        if dry_run:
            with waiting("embedding a few documents"):
                plan = target.plan_reembed(options.model)
            _tell_plan(plan, as_json)
            return
        arguments = options.arguments()
        with stoppable(left), progress("embedding") as advance:
            report = target.reembed(options.model, progress=advance, **arguments)
    _tell(report, as_json)
    if not report.ok:
        raise typer.Exit(BAD_ANSWER)


def _queries(path: Path) -> tuple[list[str], list[list[Any]] | None]:
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        texts = [row["text"] for row in rows]
        told = [row.get("relevant") for row in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f'--queries: {path} has no JSON lines such as {{"text": "..."}}: {error!r}'
        ) from error
    if any(one is None for one in told):
        return texts, None
    return texts, told


def _tell_plan(plan: ReembedPlan, as_json: bool) -> None:
    if as_json:
        print_json(asdict(plan))
        return
    print_lines(
        f"{plan.model}: {plan.to_embed:,} of {plan.items:,} items to embed, {plan.characters:,} "
        f"characters (about {plan.tokens:,} tokens)."
    )
    _tell_missing(plan.without_document, plan.lost)
    if plan.bytes is not None and plan.seconds is not None:
        print_lines(
            f"{plan.dim} dimensions, about {size(plan.bytes)} and {plan.seconds:,.1f} s; nothing "
            "was done."
        )


def _tell(report: ReembedReport, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(report), "ok": report.ok})
        return
    print_lines(f"{report.model.shown}: {report.embedded:,} of {report.items:,} items embedded.")
    _tell_missing(report.without_document, report.lost)
    if report.overlap is not None:
        print_lines(
            f"overlap of the first {report.k} over {report.queries} queries "
            f"({report.queries_from}): {report.overlap:.4f}."
        )
    if report.relevance_after is not None:
        known = report.relevance_before is not None
        before = f"{report.relevance_before:.4f}" if known else "unknown"
        print_lines(f"relevant items found: {before} before, {report.relevance_after:.4f} after.")
    print_lines(*(f"note: {note}" for note in report.notes))
    for problem in report.problems:
        warn(problem)
    if report.state == "switched":
        print_lines("Searches use the new model; `requant reembed --rollback` goes back.")
    elif report.ok:
        print_lines(f"{report.name!r} is ready; the same command with --switch uses it.")
    else:
        print_lines(f"{report.name!r} is not used: see above.")


def _tell_missing(without: int, lost: int) -> None:
    if without:
        print_lines(f"{without:,} items have no document, {lost:,} of these have a vector now.")


def _tell_rollback(collection: str, model: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"collection": collection, "model": model})
        return
    by = "the model from before" if model is None else f"model {model!r}"
    print_lines(f"Searches of {collection!r} use {by} again.")
