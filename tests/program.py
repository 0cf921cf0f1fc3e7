"""A program that runs jobs through the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import batcher
from tests.harness import as_lines
from tests.server import Endpoint

__all__ = ["Program"]


class Program:
    """A program that runs jobs at the endpoint."""

    def __init__(self, folder: Path, endpoint: Endpoint) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.source = folder / "in.jsonl"
        self.output = folder / "out.jsonl"

    def settings(self, **more: Any) -> dict[str, Any]:
        """What every run is told."""
        return {"base_url": self.endpoint.url, "prices": "none", **more}

    def run(self, **more: Any) -> batcher.Totals:
        """Run the job, blocking."""
        return batcher.run(self.source, self.output, **self.settings(**more))

    async def run_async(self, name: str = "out.jsonl", **more: Any) -> batcher.Totals:
        """Run the job in the loop that runs."""
        return await batcher.run_async(self.source, self.folder / name, **self.settings(**more))

    def write(self, lines: list[Any]) -> None:
        """Write the source."""
        self.source.write_bytes(as_lines(lines))
