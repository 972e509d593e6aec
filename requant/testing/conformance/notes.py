"""Conformance: the note that a place of a live engine keeps."""

from __future__ import annotations

from typing import Any, cast

import pytest

from requant.adapters import making
from requant.adapters.protocol import Backend, Noting
from requant.testing.bench import Bench, Case

_LONG = '"{äöü}" \\ \n' * 50


class Notes(Bench):
    """By its note an owner knows a place again."""

    def test_a_note_is_what_was_written_last(self, live: Case) -> None:
        """None at first; then the text, however odd, also beside writes."""
        backend, judge = self.filled(live, 30)
        self._skip_without_notes(backend)
        noting = cast("Noting", backend)
        assert noting.noted() is None
        for text in ("first", _LONG, ""):
            noting.note(text)
            assert noting.noted() == text
        noting.note("kept")
        backend.upsert(judge.keys[:10], judge.codes[:10])
        backend.delete(judge.keys[29:])
        assert noting.noted() == "kept"
        assert len(backend) == 29

    def test_a_note_stays_with_its_place(self, live: Case) -> None:
        """It is there after opening, and can be read without."""
        backend, judge = self.filled(live, 30)
        self._skip_without_notes(backend)
        cast("Noting", backend).note(_LONG)
        backend = self.reopened(backend)
        assert cast("Noting", backend).noted() == _LONG
        judge.holds(backend)
        backend.close()
        assert self._noted_at(live) == _LONG

    def test_a_note_goes_with_its_place(self, live: Case) -> None:
        """What is made anew or dropped has none."""
        backend, _ = self.filled(live, 20)
        self._skip_without_notes(backend)
        cast("Noting", backend).note("old")
        self.reopened(backend).close()
        spec, where = self.spec(live), self.location()
        fresh = making.create(self.backend, spec, where, overwrite=True)
        assert cast("Noting", fresh).noted() is None
        cast("Noting", fresh).note("new")
        fresh.flush()
        fresh.close()
        self.backend.drop(spec, where)
        assert self._noted_at(live) is None

    def _skip_without_notes(self, backend: Backend) -> None:
        if not backend.capabilities.notes:
            pytest.skip("its places keep no notes")

    def _noted_at(self, live: Case) -> str | None:
        found: Any = cast("type[Noting]", self.backend).noted_at(self.spec(live), self.location())
        return cast("str | None", found)
