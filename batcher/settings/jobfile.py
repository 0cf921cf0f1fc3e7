"""Opens the files that settings come from: a job file in TOML, and the file of a key.

Each is read whole, once. No message quotes what a key file holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batcher.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_job", "read_key"]

# A key of more is some other file; a device such as /dev/zero has no end.
MAX_KEY_BYTES = 16 * 1024
# The largest job file is a prompt and a few schemas.
MAX_JOB_BYTES = 64 * 1024 * 1024


def read_job(path: Path) -> dict[str, Any]:
    """Read a job file; its keys and types are for `settings` to judge.

    Raises:
        UsageError: When it can't be read or is no TOML.
    """
    import tomllib

    text = _read_text(path, what="job file", max_bytes=MAX_JOB_BYTES)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path.name} is no TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{path.name} is nested too deeply") from None


def read_key(path: Path) -> str:
    """Read the file of a key.

    Raises:
        UsageError: When it can't be read.
    """
    return _read_text(path, what="key file", max_bytes=MAX_KEY_BYTES)


def _read_text(path: Path, *, what: str, max_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(f"the {what} {path} can't be read: {error.strerror}") from None
    if len(content) > max_bytes:
        raise UsageError(f"the {what} {path} is too large to be one")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"the {what} {path} is not UTF-8") from None
