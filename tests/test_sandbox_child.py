"""A server in a child process comes up, is stopped with the run, and dies with its parent."""

import os
import sys
from pathlib import Path

import anyio
import pytest

from batcher.endpoints import child
from batcher.errors import BatcherError

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="watches processes by Linux's pidfd"),
]

LISTENER = """
import socket, sys, threading
from batcher.endpoints.child import announce, die_with_parent, read_config
config = read_config() if "config" in sys.argv else b""
listening = socket.create_server(("127.0.0.1", 0))
print("a line of noise")
sys.stdout.flush()
announce(listening.getsockname()[1])
die_with_parent()
while True:
    listening.accept()[0].sendall(config)
"""

PARENT = """
import asyncio
from batcher.endpoints import child
async def main():
    async with child.serve("listener", ready_timeout_s=20) as up:
        print(up.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which the modules `listener` and `broken` can be found."""
    (tmp_path / "listener.py").write_text(LISTENER)
    (tmp_path / "broken.py").write_text("raise SystemExit('the weights are missing')")
    (tmp_path / "silent.py").write_text("import time\ntime.sleep(60)")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


async def _ends(pidfd: int) -> bool:
    """Wait for the end of the process behind a file descriptor, at most 10 s."""
    with anyio.move_on_after(10):
        await anyio.wait_readable(pidfd)
        return True
    return False


async def test_serves_until_the_block_ends(env: dict[str, str]) -> None:
    """A child answers on the port that it named, with its configuration, and is gone afterwards."""
    async with child.serve(
        "listener", ["config"], ready_timeout_s=20, env=env, config=b"seed 7"
    ) as up:
        port = int(up.base_url.removesuffix("/v1").rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            assert await stream.receive() == b"seed 7"
        assert up.exit_code is None
        assert os.getsid(up.pid) != os.getsid(0)
        pidfd = os.pidfd_open(up.pid)
    assert await _ends(pidfd)
    os.close(pidfd)


async def test_is_stopped_when_the_run_is_cancelled(env: dict[str, str]) -> None:
    """Cancelling the block stops the child all the same."""
    pidfd = -1
    with anyio.move_on_after(60) as scope:
        async with child.serve("listener", ready_timeout_s=20, env=env) as up:
            pidfd = os.pidfd_open(up.pid)
            scope.cancel()
            await anyio.sleep_forever()
    assert await _ends(pidfd)
    os.close(pidfd)


async def test_a_child_that_fails_says_why(env: dict[str, str]) -> None:
    """A child that ends before it listens raises its own last words."""
    with pytest.raises(BatcherError, match=r"broken did not come up.*the weights are missing"):
        async with child.serve("broken", ready_timeout_s=20, env=env):
            pytest.fail("it can't have come up")


async def test_a_child_that_never_listens_is_given_up(env: dict[str, str]) -> None:
    """A child that says nothing is killed once its time is over."""
    with pytest.raises(BatcherError, match=r"within 0\.1 s"):
        async with child.serve("silent", ready_timeout_s=0.1, env=env):
            pytest.fail("it can't have come up")


async def test_dies_with_a_parent_that_is_killed(env: dict[str, str]) -> None:
    """SIGKILL of the parent ends the child: nothing is left behind."""
    root = str(Path(child.__file__).parents[2])
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], root])
    parent = await anyio.open_process([sys.executable, "-c", PARENT], env=env)
    assert parent.stdout is not None
    try:
        with anyio.fail_after(20):
            pidfd = os.pidfd_open(int(await parent.stdout.receive()))
    finally:
        parent.kill()
        await parent.wait()
        await parent.aclose()
    assert await _ends(pidfd)
    os.close(pidfd)
