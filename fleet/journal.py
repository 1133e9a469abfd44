"""The book's file: one event a line, each with the hash of the line before it, only appended to.

An event counts once its line is whole and on the disk. What a kill left of a line is cut off by the
next append; a line that was changed or taken out afterwards is found at the next reading. It must
not know what events mean.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from fleet.book import Book, Event
from fleet.errors import DamagedFolder

_START = "0" * 64


class _Line(msgspec.Struct, frozen=True):
    before: str
    event: Event


_decoder = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder()


class Journal:
    """The file at `path`, read once; appended to by whoever holds the folder's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = _START
        self._whole_bytes = 0
        self.book = Book()
        self._read()

    def append(self, event: Event) -> None:
        """Have `event` on the disk, then in the book. Raises OSError and nothing has happened."""
        line = _encoder.encode(_Line(self._last, event)) + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, self._whole_bytes)
            os.pwrite(descriptor, line, self._whole_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._take(line)
        self.book.add(event)

    def _read(self) -> None:
        for number, line in enumerate(self._path.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                # Never confirmed to anybody: its writer was killed, or the power went.
                return
            try:
                found = _decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise DamagedFolder(
                    f"{self._path}, line {number}: {error}",
                    "bring the folder back from its backup; do not sign with this one",
                ) from error
            if found.before != self._last:
                raise DamagedFolder(
                    f"{self._path}, line {number} does not follow the line before it",
                    "the file was changed, or lines were taken out: compare it with its backup",
                )
            self._take(line)
            self.book.add(found.event)

    def _take(self, line: bytes) -> None:
        self._last = hashlib.sha256(line).hexdigest()
        self._whole_bytes += len(line)
