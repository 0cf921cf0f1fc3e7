"""Starts llama.cpp's server on a free loopback port of this process."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import xllamacpp

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["start"]

# Sequences decoded together. Each step reads all weights once for all of them, so a few cost little
# more than one; on two cores 2, 4 and 8 took the same time within a tenth.
_SLOTS: Final = 4

# A few turns with their tools. Each slot's share is set aside from the start: 24 kB a token for
# the small model.
_CONTEXT_TOKENS: Final = 4096

# llama.cpp's own level for errors; from 4 on it would log prompts.
_ERRORS_ONLY: Final = 1

# The end of a GGUF file's name, such as `.Q4_1` or `-q4_k_m`; the model's name is what precedes it.
_QUANTISATION: Final = re.compile(r"[.-](I?Q\d\w*|B?F16|F32)$", re.IGNORECASE)


def start(model: Path) -> Any:
    """Load the weights and serve them; return the server once it listens.

    Returns:
        An `xllamacpp.Server`, with `listening_address` such as `http://127.0.0.1:40321`.

    Source: xllamacpp's README; llama.cpp, common/common.h, `common_params`.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {_QUANTISATION.sub("", model.stem).lower()}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = _SLOTS
    params.n_ctx = _SLOTS * _CONTEXT_TOKENS
    # Threads meet after each of some hundred steps a token, and spin till all are there: one that
    # must share its core with another process holds up all. Measured on two busy cores: two threads
    # took more than four times as long as one. So a core is left to the run and what else there is.
    threads = max(1, _cores() - 1)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.verbosity = _ERRORS_ONLY
    params.ui = False
    return xllamacpp.Server(params)


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
