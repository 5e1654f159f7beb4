"""Lines come out the same, however the log is stored."""

import gzip
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.problem import Problem
from forebay.cli.profile import log_lines
from forebay.cli.profile.log_lines import opened, zstd

TEXT = b"one\ntwo\n\nthree and more"
PACKED = {"": TEXT, "gzip": gzip.compress(TEXT), "zstd": zstd.compress(TEXT)}


@pytest.mark.parametrize("packing", PACKED)
def test_a_file_may_be_packed(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "log"  # told by what is in it, not by its name
    path.write_bytes(PACKED[packing])
    with opened(str(path)) as source:
        assert (source.packing, source.size) == (packing, len(PACKED[packing]))
        assert list(source.lines()) == TEXT.split(b"\n")
        assert source.position() == len(PACKED[packing])


@pytest.mark.parametrize("packing", PACKED)
def test_a_pipe_may_be_packed(monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PACKED[packing])))
    with opened("-") as source:
        assert source.size is None
        assert list(source.lines()) == TEXT.split(b"\n")


def test_packed_logs_that_were_joined_are_read_to_the_end(tmp_path: Path) -> None:
    for pack in (gzip.compress, zstd.compress):
        path = tmp_path / "log"
        path.write_bytes(pack(b"one\n") + pack(b"two\n"))
        with opened(str(path)) as source:
            assert list(source.lines()) == [b"one", b"two"]


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=30), st.integers(1, 50))
def test_lines_are_whole_wherever_the_pieces_end(wanted: list[bytes], size: int) -> None:
    text = b"".join(line + b"\n" for line in wanted)
    saved, log_lines.CHUNK = log_lines.CHUNK, size  # type: ignore[misc]
    try:
        assert list(log_lines._lines(io.BytesIO(text))) == wanted
    finally:
        log_lines.CHUNK = saved  # type: ignore[misc]


def test_a_line_without_an_end_is_cut_rather_than_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "LONGEST", 100)
    monkeypatch.setattr(log_lines, "CHUNK", 64)
    found = list(log_lines._lines(io.BytesIO(b"x" * 1000 + b"\nnext\n")))
    assert [len(line) for line in found] == [101, 4]


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_packed_log_that_ends_early_is_one_sentence(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(b"line\n" * 10_000)[:-8])  # type: ignore[operator]
    with pytest.raises(Problem, match="cannot be unpacked to its end"), opened(str(path)) as source:
        list(source.lines())


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(Problem, match="cannot read /nowhere/log: No such file"), opened("/nowhere/log"):
        pass


def test_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot read"), opened(str(tmp_path)):
        pass
