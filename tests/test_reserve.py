"""Room kept on the disk: it is there when the disk is full, and is given back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batcher.journal.reserve import Reserve

MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can keep room")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes a superuser")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)


def _free(folder: Path) -> int:
    told = os.statvfs(folder)
    return told.f_bfree * told.f_frsize


def _write_on(fd: int) -> None:
    while True:
        os.write(fd, bytes(MIB // 4))


def _fill(folder: Path) -> None:
    with (
        (folder / "filler").open("wb", buffering=0) as file,
        pytest.raises(OSError, match="No space"),
    ):
        _write_on(file.fileno())


def test_what_was_kept_can_be_written_to_a_full_disk(small_disk: Path) -> None:
    """A full disk takes what was kept, no more can be kept, and more than it is refused."""
    fd = _open(small_disk / "journal")
    reserve = Reserve(2 * MIB)
    assert reserve.keep(fd, 0)
    assert os.fstat(fd).st_size == 0
    _fill(small_disk)
    for _ in range(8):
        os.write(fd, bytes(MIB // 4))
    assert not reserve.keep(fd, 2 * MIB)
    with pytest.raises(OSError, match="No space"):
        _write_on(fd)
    os.close(fd)


@pytest.mark.parametrize("where", ["small_disk", "tmp_path"])
def test_what_is_left_is_given_back(where: str, request: pytest.FixtureRequest) -> None:
    """Released, a file takes no more room than its bytes; they are untouched."""
    folder: Path = request.getfixturevalue(where)
    fd = _open(folder / "journal")
    os.write(fd, b"a line\n")
    reserve = Reserve(4 * MIB)
    assert reserve.keep(fd, 7)
    reserve.release(fd)
    assert os.pread(fd, 100, 0) == b"a line\n"
    assert os.fstat(fd).st_blocks * 512 < MIB
    os.close(fd)


def test_room_is_kept_ahead_as_the_file_grows(small_disk: Path) -> None:
    """However the file grows, at least what was asked for is kept behind its end."""
    fd = _open(small_disk / "journal")
    reserve = Reserve(MIB)
    for _ in range(16):
        os.write(fd, bytes(MIB // 4))
        end = os.fstat(fd).st_size
        assert reserve.keep(fd, end)
        assert os.fstat(fd).st_blocks * 512 >= end + MIB
    reserve.release(fd)
    assert _free(small_disk) >= 8 * MIB - os.fstat(fd).st_size - MIB // 8
    os.close(fd)


def test_a_file_system_without_it_goes_without(tmp_path: Path) -> None:
    """Where no room can be kept (a pipe stands for such a file system), work goes on."""
    del tmp_path
    reader, writer = os.pipe()
    reserve = Reserve(MIB)
    assert reserve.keep(writer, 0)
    os.close(reader)
    os.close(writer)
