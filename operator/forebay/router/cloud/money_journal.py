"""A gateway's journal on memory-backed storage: one write of 64 bytes as a request leaves and one as it is over."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from forebay.rules.budget.book import AccountBook, BookNote, Closed, Kept
from forebay.rules.budget.journal import JournalWriter, read_journal

FILE: Final = "accounts.journal"
LONGEST: Final = 256 * 1024
"""Bytes after which it is written anew with what still counts."""


class MoneyJournal:
    """Keeps one book. Without a folder its accounts end with the process.

    `name` names them: a journal that is lost is another account. There is no fsync: it is to outlive the container,
    not the node.
    """

    def __init__(self, folder: Path | None) -> None:
        self.book = AccountBook(self._note)
        self.name = secrets.token_hex(16)
        self._path = folder / FILE if folder is not None else None
        self._file: int | None = None
        self._size = 0
        self._writer = JournalWriter()
        if self._path is not None:
            self._open(self._path)

    def _open(self, path: Path) -> None:
        """Go on where an earlier process of this pod has ended; what it had open counts at its worst case."""
        content = read_journal(path.read_bytes() if path.exists() else b"")
        ended = any(isinstance(note, Closed) or (isinstance(note, Kept) and note.closed) for note in content.notes)
        if not content.name or ended:  # whoever has said its last word begins under another name
            self._anew(path)
            return
        self.name = content.name
        self._writer = JournalWriter(content.keys)
        self._file, self._size = os.open(path, os.O_RDWR | os.O_CLOEXEC), content.size
        for note in content.notes:
            self.book.replay(note)
        self.book.settle_open()

    def _note(self, note: BookNote) -> None:
        """Remember a note. Raises OSError, and then it is as if it had not been made."""
        if self._file is None:
            return
        known = self._writer.keys
        data = self._writer.records(note)
        try:
            written = os.pwrite(self._file, data, self._size)
            if written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written")
        except OSError:
            self._writer = JournalWriter(known)
            raise
        self._size += len(data)

    def tidy(self) -> None:
        """Write it anew once it has grown long."""
        if self._path is not None and self._size > LONGEST:
            with suppress(OSError):  # it goes on as it is
                self._anew(self._path)

    def _anew(self, path: Path) -> None:
        """With what counts now, and nothing else; until that is whole, the old one stays."""
        writer = JournalWriter()
        data = writer.head(bytes.fromhex(self.name)) + b"".join(writer.records(note) for note in self.book.notes())
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(path)
        if self._file is not None:
            os.close(self._file)
        self._file, self._size, self._writer = os.open(path, os.O_RDWR | os.O_CLOEXEC), len(data), writer

    def close(self) -> None:
        """End it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
