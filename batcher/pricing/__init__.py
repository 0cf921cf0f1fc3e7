"""Usage to money, by a price table of the user's own or the built-in list.

Nothing here but `load` opens a file.
"""

from batcher.pricing.load import load_pricer
from batcher.pricing.pricer import Pricer

__all__ = ["Pricer", "load_pricer"]
