"""Read an output as a resumed run does: `scan.py OUTPUT`."""

import os
import sys

from batcher.journal.scan import scan, whole_line
from batcher.journal.state import State

descriptor = os.open(sys.argv[1], os.O_RDONLY)
scan(descriptor, State(lambda offset: whole_line(descriptor, offset)))
