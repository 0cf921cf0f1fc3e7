"""What is around a run changes while it goes: the clock on the wall jumps, the disk is gone."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.crash.books import read
from tests.crash.conftest import Reckoner
from tests.crash.endpoint import Endpoint
from tests.crash.job import CONCURRENCY, Job
from tests.crash.kill import HANG_S
from tests.crash.test_faults import as_root, slow

COUNT = 80

_FAKETIME = next(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"), None)

with_faketime = pytest.mark.skipif(
    _FAKETIME is None, reason="clocks that jump take faketime (Debian: apt-get install faketime)"
)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint that never fails."""
    with Endpoint(latency_s=0.2, troubles=False) as serving:
        yield serving


@pytest.fixture
def job(tmp_path: Path, endpoint: Endpoint, reckon: Reckoner) -> Job:
    """A job of 80 rows at that endpoint."""
    return reckon.good_job(tmp_path, endpoint, COUNT)


class Clock:
    """The clock on the wall of one child process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.wrapper = (
            "env",
            f"LD_PRELOAD={_FAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_NO_CACHE=1",
        )

    def set(self, days: int) -> None:
        """Let it be off by so many days from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{days:+d}d\n")
        fresh.replace(self._file)


def _at(endpoint: Endpoint, requests: int, *changes: Callable[[], object]) -> threading.Thread:
    """Make a change each time that so many requests more have come."""

    def wait() -> None:
        for number, change in enumerate(changes, 1):
            if endpoint.wait_for(requests * number, HANG_S):
                change()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@with_faketime
def test_the_clock_jumps(job: Job, endpoint: Endpoint, tmp_path: Path) -> None:
    """The clock goes three days ahead and then ten back: each row once, and times that can be."""
    clock = Clock(tmp_path)
    jumps = _at(endpoint, 24, lambda: clock.set(3), lambda: clock.set(-7))
    begun = datetime.now(UTC)
    code = job.run(expected=0, wrapper=clock.wrapper)
    jumps.join(HANG_S)
    totals = read(job.output).totals
    assert totals is not None
    assert 0 < totals["wall_s"] < HANG_S, "time is taken by a clock that only runs forward"
    finished = datetime.fromisoformat(totals["finished_at"])
    assert begun - timedelta(days=8) < finished < begun - timedelta(days=6), "the clock did jump"
    job.reckon(code)


@slow
@with_faketime
def test_the_clock_jumps_and_the_run_is_killed(
    job: Job, endpoint: Endpoint, tmp_path: Path
) -> None:
    """A run that was killed after its clock went back is gone on with, by a clock put right."""
    clock = Clock(tmp_path)
    process = job.start((), wrapper=clock.wrapper)
    _at(endpoint, 24, lambda: clock.set(-7), process.kill).join(HANG_S)
    process.wait(HANG_S)
    endpoint.settle()
    kept = read(job.partial).lines
    assert kept > 0
    endpoint.begin_run()
    again = job.start(())
    assert again.wait(HANG_S) == 0
    assert endpoint.seen == COUNT - kept
    totals = read(job.output).totals
    assert totals is not None
    assert totals["wall_s"] >= 0
    assert datetime.fromisoformat(totals["started_at"]) <= datetime.fromisoformat(
        totals["finished_at"]
    )


@slow
@with_faketime
def test_a_deadline_goes_by_the_clock_on_the_wall(
    job: Job, endpoint: Endpoint, tmp_path: Path
) -> None:
    """A clock put three days ahead passes a deadline: exit 7, all that was sent is kept."""
    clock = Clock(tmp_path)
    _at(endpoint, 24, lambda: clock.set(3))
    job.run("--deadline", "8h", expected=7, wrapper=clock.wrapper)
    assert 0 < read(job.partial).lines == endpoint.seen < COUNT
    job.complete()


@as_root
@pytest.mark.parametrize("flags", [(), ("--ordered",)], ids=["as it is", "written anew"])
def test_the_disk_is_taken_away(
    job: Job, endpoint: Endpoint, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """A mount that vanishes in mid-run: exit 8; once it is back, all that was paid for is there."""
    mount, disk = tmp_path / "mount", tmp_path / "disk"
    mount.mkdir()
    disk.mkdir()
    job.output = mount / "out.jsonl"
    job.partial = mount / "out.jsonl.partial"
    take_away = ["umount", "-l", str(mount)]
    give_back = ["mount", "--bind", str(disk), str(mount)]
    subprocess.run(give_back, check=True)
    try:
        _at(endpoint, 24, lambda: subprocess.run(take_away, check=True))
        job.run(*flags, expected=8, strange=True)
        assert str(mount) in job.said
        assert "No such file" in job.said
        assert [*mount.iterdir()] == [], "nothing is left beside the disk"
        subprocess.run(give_back, check=True)
        assert read(job.partial).lines == COUNT, "what was answered is on the disk"
        endpoint.begin_run()
        again = job.start(flags)
        assert again.wait(HANG_S) == 0
        assert endpoint.seen == 0
        assert read(job.output).lines == COUNT
    finally:
        subprocess.run(take_away, check=False, capture_output=True)


class Ext4:
    """A file system of its own in a file, that turns read-only at its first error."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "image"
        self.mount = folder / "mount"
        self.mount.mkdir()
        with self._image.open("wb") as file:
            file.truncate(32 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)

    def give(self) -> None:
        """Mount it; what no sync has brought to the disk before is gone."""
        options = "loop,errors=remount-ro"
        subprocess.run(["mount", "-o", options, str(self._image), str(self.mount)], check=True)

    def take(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", str(self.mount)], check=False, capture_output=True)

    def fail(self) -> None:
        """Let it meet an error."""
        self._trigger().write_text("1")

    def _trigger(self) -> Path:
        asked = ["findmnt", "-n", "-o", "SOURCE", str(self.mount)]
        device = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        return Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Ext4]:
    """An ext4 on a loop device, where the machine gives one."""
    disk = Ext4(tmp_path)
    try:
        disk.give()
        disk.fail()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk that fails takes ext4 and a loop device: {error}")
    finally:
        disk.take()
    disk.give()
    yield disk
    disk.take()


@slow
@as_root
def test_the_disk_turns_read_only(job: Job, endpoint: Endpoint, ext4: Ext4) -> None:
    """A disk that turns read-only in mid-run: exit 8; what reached it is kept, the rest is sent."""
    job.output = ext4.mount / "out.jsonl"
    job.partial = ext4.mount / "out.jsonl.partial"
    failing = _at(endpoint, 40, ext4.fail)

    def mend() -> None:
        failing.join(HANG_S)
        ext4.take()
        ext4.give()

    job.run(expected=8, mend=mend)
    assert f"results can't be written to {job.partial}: " in job.said
    # A write is refused so; a sync that was under way failed.
    assert "Read-only file system" in job.said or "Input/output error" in job.said
    assert read(job.partial).lines > 0
    assert endpoint.seen < COUNT
    assert job.figures.most_again <= 2 * CONCURRENCY, "in flight, or not synced"
    job.complete()
