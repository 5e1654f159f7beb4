"""A log's lines: from a file or a pipe, plain or packed with gzip or zstd, told by their first bytes."""

import gzip
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from forebay.cli.problem import Problem

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIPE: Final = "-"
CHUNK: Final = 1 << 20
LONGEST: Final = 32 << 20
"""Bytes of a line; what is longer is malformed, and is not kept."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Source:
    """An open log. `size` in bytes as stored, None for a pipe; `packing` is "", "gzip" or "zstd"."""

    name: str
    size: int | None
    packing: str
    plain: BinaryIO
    position: Callable[[], int]

    def lines(self) -> Iterator[bytes]:
        """Each line without its end; one that is too long is given as LONGEST + 1 bytes of it."""
        try:
            yield from _lines(self.plain)
        except (OSError, EOFError, zstd.ZstdError) as error:
            raise Problem(f"{self.name} cannot be unpacked to its end: {error}") from None


class _Counted(io.RawIOBase):
    """Counts what is read of a stream, for a progress bar."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.read_bytes = stream, 0

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: object) -> int:
        """As the stream has it."""
        view = memoryview(cast("bytearray", buffer))
        read = self.stream.read1 if isinstance(self.stream, io.BufferedReader) else self.stream.read
        data = read(len(view))
        view[: len(data)] = data
        self.read_bytes += len(data)
        return len(data)


@contextmanager
def opened(log: str) -> Iterator[Source]:
    """A file, or `-` for standard input. Raises Problem where it cannot be read."""
    if log == PIPE:
        yield _source("standard input", sys.stdin.buffer, None)
        return
    path = Path(log)
    try:
        with path.open("rb") as file:
            yield _source(path.name, file, path.stat().st_size if path.is_file() else None)
    except OSError as error:
        raise Problem(f"cannot read {log}: {error.strerror or error}", 2) from None


def _source(name: str, stream: BinaryIO, size: int | None) -> Source:
    counted = _Counted(stream)
    buffered = io.BufferedReader(counted, CHUNK)
    start = buffered.peek(4)[:4]
    plain, packing = cast("BinaryIO", buffered), ""
    if start.startswith(_GZIP):
        plain, packing = cast("BinaryIO", gzip.GzipFile(fileobj=buffered)), "gzip"
    elif start == _ZSTD:
        plain, packing = cast("BinaryIO", zstd.ZstdFile(buffered)), "zstd"
    return Source(name, size, packing, plain, lambda: counted.read_bytes)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    pieces: list[bytes] = []  # of a line whose end has not come yet
    held = 0
    while chunk := stream.read(CHUNK):
        first, *rest = chunk.split(b"\n")
        if held <= LONGEST:
            pieces.append(first)
        held += len(first)
        if rest:
            yield b"".join(pieces)[: LONGEST + 1]
            yield from rest[:-1]
            pieces, held = [rest[-1]], len(rest[-1])
    if held:
        yield b"".join(pieces)[: LONGEST + 1]
