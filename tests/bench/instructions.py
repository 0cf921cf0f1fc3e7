"""Runs a command of the product and counts instructions of bytecode: all, and those of checks.

    python instructions.py COUNT_FILE run in.jsonl -o out.jsonl ...

Only those of the main thread, where rows are worked on. Neighbours on the machine can't change the
share that checks have of one run. The time that C code takes is not among them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import orjson

from batcher import checks
from batcher.cli import main

_CHECKS = str(Path(checks.__file__).parent)

# Of all else, and of checks.
_counted = [0, 0]


def _in_all_else(_frame: FrameType, event: str, _: object) -> Any:
    if event == "opcode":
        _counted[0] += 1
    return _in_all_else


def _in_checks(_frame: FrameType, event: str, _: object) -> Any:
    if event == "opcode":
        _counted[1] += 1
    return _in_checks


def _trace(frame: FrameType, _event: str, _: object) -> Any:
    frame.f_trace_lines, frame.f_trace_opcodes = False, True
    return _in_checks if frame.f_code.co_filename.startswith(_CHECKS) else _in_all_else


def run() -> None:
    """Run the rest of the command line, and write the counts as a JSON array."""
    place, *sys.argv[1:] = sys.argv[1:]
    sys.settrace(_trace)
    try:
        main()
    finally:
        sys.settrace(None)
        Path(place).write_bytes(orjson.dumps(_counted))


if __name__ == "__main__":
    run()
