"""Conformance of attaching: one file, whose owner goes on with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.quantizers.errors import InputError
from requant.testing.attaching.bench import AttachBench, N, vectors

K = 5
QUERIES = vectors(10, seed=1)


class AttachedFiles(AttachBench):
    """What becomes of a file, mapped and read."""

    def test_read_instead_of_mapped(self) -> None:
        """It answers alike."""
        location = self.made()
        with self.attached(location) as found:
            wanted = found.ask(QUERIES, K)
        read = self.backend.attach(location, {**self.params(self.metrics[0]), "mmap": False})
        assert read.ask(QUERIES, K) == wanted
        read.close()
        with pytest.raises(InputError, match="mmap"):
            self.backend.attach(location, {"mmap": 1})

    def test_written_over(self) -> None:
        """A mapped file that was written to is not asked; one that was read answers as it did."""
        location, params = self.made(), self.params(self.metrics[0])
        mapped = self.backend.attach(location, params)
        read = self.backend.attach(location, {**params, "mmap": False})
        wanted = mapped.ask(QUERIES, K)
        with Path(location).open("r+b") as file:
            os.truncate(file.fileno(), 100)
        with pytest.raises(EngineError, match="was written to since"):
            mapped.ask(QUERIES, K)
        assert read.ask(QUERIES, K) == wanted
        mapped.close()
        read.close()

    def test_replaced_by_a_rename(self) -> None:
        """The file that was mapped is still there, and so is one that was removed."""
        path = Path(self.made())
        mapped = self.backend.attach(str(path), self.params(self.metrics[0]))
        wanted, stamp = mapped.ask(QUERIES, K), mapped.stamp()
        Path(self.made("other", seed=8)).replace(path)
        assert mapped.ask(QUERIES, K) == wanted
        assert mapped.stamp() != stamp
        path.unlink()
        assert mapped.ask(QUERIES, K) == wanted
        mapped.close()

    def test_a_stamp_sees_a_byte_of_the_same_size_and_time(self) -> None:
        """Size and time can be kept, the digest cannot."""
        path = Path(self.made())
        found = self.backend.attach(str(path), {**self.params(self.metrics[0]), "mmap": False})
        stamp, time = found.stamp(), path.stat().st_mtime_ns
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(time, time))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(data), time)
        assert found.stamp() != stamp
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(time, time))
        assert found.stamp() == stamp
        found.close()

    def test_what_is_no_index(self) -> None:
        """A text, nothing, a folder and half a file are refused."""
        text, half = self.folder / "text", self.folder / "half"
        text.write_text("a text that the engine did not write\n" * 9)
        data = Path(self.made()).read_bytes()
        half.write_bytes(data[: len(data) // 2])
        for path in (text, half, self.folder / "missing", self.folder):
            with pytest.raises(CorruptIndexError):
                self.backend.attach(str(path), self.params(self.metrics[0]))
        assert not (self.folder / "missing").exists()

    def test_damage_leaves_the_others(self) -> None:
        """Of two files, one cut, the other still answers."""
        bad, good = Path(self.made("bad")), self.made("good")
        bad.write_bytes(bad.read_bytes()[:-64])
        with pytest.raises(CorruptIndexError):
            self.backend.attach(str(bad), self.params(self.metrics[0]))
        with self.attached(good) as found:
            assert len(found) == N
