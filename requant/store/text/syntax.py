"""What a text query means: one small syntax, in which nothing is an error.

| query | finds items whose document has |
|---|---|
| `black cat` | either word; who has both, and rarer words, comes first |
| `"black cat"` | both, side by side |
| `cat*`, `"black ca"*` | a word that begins so |
| `black AND cat` | both; `AND` binds closer than `OR`, which is what a space means as well |
| `cat -dog`, `cat NOT "hot dog"` | the one, but not the other |

Whatever else stands in a query is text: a quote that is not closed goes to the end, operators are
written in capitals and are words where they have nothing to join, and marks between letters part
words as they do in documents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from requant.errors import InputError

# The time that databases take grows faster than the number of words.
MAX_WORDS = 500
MAX_CHARACTERS = 2000  # where any three of them are looked up
# What no database takes as text: it stands for a space.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_PIECE = re.compile(r'(-?)"([^"]*)(?:"(\*?)|$)|(\S+)')
_OPERATORS = ("AND", "OR", "NOT")


class Term(NamedTuple):
    """A word or a phrase, as it was written; with `prefix`, its last word only begins so."""

    text: str
    prefix: bool = False


class TextQuery(NamedTuple):
    """All terms of any of the `groups`, and none of `without`."""

    groups: tuple[tuple[Term, ...], ...]
    without: tuple[Term, ...] = ()

    @property
    def terms(self) -> list[Term]:
        """What is looked for, each once."""
        return list(dict.fromkeys(term for group in self.groups for term in group))


def read_query(text: str) -> TextQuery:
    """Read a query; raises InputError for what is no text.

    >>> read_query('cat AND "hot dog"* -bird')
    TextQuery(groups=((Term(text='cat', prefix=False), Term(text='hot dog', prefix=True)),), \
without=(Term(text='bird', prefix=False),))
    """
    if not isinstance(text, str):
        raise InputError(f"text must be a str, not {type(text).__name__}")
    groups: list[dict[Term, None]] = []  # each term once, in order
    without: list[Term] = []
    joins = negates = False
    pieces = list(_pieces(_NO_TEXT.sub(" ", text)))
    for at, (term, operator, excluded) in enumerate(pieces):
        if operator and _joins(operator, pieces, at):
            joins, negates = operator == "AND", operator == "NOT"
            continue
        if excluded or negates:
            without.append(term)
        elif joins and groups:
            groups[-1][term] = None
        else:
            groups.append({term: None})
        joins = negates = False
    each = dict.fromkeys(map(tuple, groups))
    return TextQuery(tuple(each), tuple(dict.fromkeys(without)))


def has_words(text: str) -> bool:
    """Whether there is a letter or digit in a text, so that there is something to look for."""
    return text.isalnum() or any(map(_is_of_word, text))


def words_of(text: str) -> list[str]:
    """Return the runs of letters and digits in a text, with the accents within."""
    marked = "".join(c if _is_of_word(c) or unicodedata.combining(c) else " " for c in text)
    return [word for word in marked.split() if has_words(word)]


def _is_of_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] in "LN"


def _pieces(text: str) -> Iterator[tuple[Term, str | None, bool]]:
    """Yield terms, what operator each may be, and whether it is excluded by a minus."""
    read: dict[tuple[str, ...], tuple[Term, str | None, bool] | None] = {}
    for found in _PIECE.findall(text):
        if found not in read:  # 1 MB is mostly the same words again
            read[found] = _piece(*found)
        piece = read[found]
        if piece is not None:
            yield piece


def _piece(minus: str, phrase: str, star: str, word: str) -> tuple[Term, str | None, bool] | None:
    if not word:
        return (Term(phrase.strip(), bool(star)), None, bool(minus)) if has_words(phrase) else None
    # A quote within a word begins a phrase of its own elsewhere: here it is a mark.
    bare = word.rstrip("*")
    if not has_words(bare):
        return None
    operator = word if word in _OPERATORS else None
    prefix = bare != word and _ends_in_word(bare)
    return Term(bare.lstrip("-"), prefix), operator, word.startswith("-")


def _ends_in_word(text: str) -> bool:
    return _is_of_word(text[-1])


def _joins(operator: str, pieces: list[tuple[Term, str | None, bool]], at: int) -> bool:
    """Whether an operator has something on both sides of it; NOT needs none before."""
    if at + 1 == len(pieces) or (at == 0 and operator != "NOT"):
        return False
    before = pieces[at - 1][1] if at else None
    return before is None or operator == "NOT"


def check_length(query: TextQuery, *, trigrams: bool) -> None:
    """Refuse what a database would take minutes over; raises InputError."""
    groups = (*query.groups, query.without)
    if sum(len(term.text) for group in groups for term in group) <= MAX_WORDS:
        return  # as nearly always; a word has a character
    terms = [term.text for term in {*query.terms, *query.without}]
    count = sum(map(len, terms)) if trigrams else sum(len(words_of(text)) for text in terms)
    most, what = (MAX_CHARACTERS, "characters") if trigrams else (MAX_WORDS, "words")
    if count > most:
        raise InputError(
            f"the query has {count} {what}, without those that are repeated: at most {most} can "
            "be looked for at once; leave out what matters less"
        )
