"""Whether the words of documents are indexed as the documents are."""

from __future__ import annotations

from requant.store import CollectionRow, Reader, Store, text_differs, text_index, text_out_of_step
from requant.verification.report import Report, say

_AGAIN = "unindex_text() and index_text() make it again"


def check_text(reader: Reader, owner: CollectionRow, report: Report) -> None:
    """Compare what is indexed with what is stored, document by document."""
    index = text_index(reader, owner)
    if index is None:
        return
    if not index.ready:
        report.checked.append("text index: not whole yet; index_text() goes on")
        return
    absent, lacking, strange = text_out_of_step(reader, index)
    if absent:
        report.problems.append(
            f"text index: not there any more, {', '.join(absent)}: what is written since is not "
            f"found; {_AGAIN}"
        )
    say(report, f"document(s) are missing from the text index ({_AGAIN}), key(s)", lacking)
    say(report, f"document(s) of the text index are not in the store ({_AGAIN}), key(s)", strange)
    report.checked.append("text index: the key of every document")


def check_words(store: Store, owner: CollectionRow, report: Report) -> None:
    """Compare the words themselves, which SQLite does only in its turn to write."""
    with store.reading() as reader:
        index = text_index(reader, owner)
    if index is None or not index.ready:
        return
    if store.read_only:
        report.checked.append("text index: its words are compared by whoever may write")
        return
    if text_differs(store, owner, index):
        report.problems.append(f"text index: other words than those of the documents; {_AGAIN}")
    report.checked.append("text index: every word")
