"""What a job is told: one table of options, resolved into one frozen `Settings`.

Flags win over `BATCHER_*` in the environment, which wins over the job file, which wins over
`OPENAI_BASE_URL`. Nothing here but `jobfile` opens a file.
"""

from batcher.settings.addresses import target_url
from batcher.settings.resolve import Settings, Surroundings, resolve

__all__ = ["Settings", "Surroundings", "resolve", "target_url"]
