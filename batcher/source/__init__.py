"""Lines out of files and streams: JSON Lines as they stand, or the rows of a table as JSON."""

from batcher.source.lines import Line, LineSplitter
from batcher.source.reader import Blocks, Source

__all__ = ["Blocks", "Line", "LineSplitter", "Source"]
