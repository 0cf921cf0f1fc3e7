"""Good and bad answers, each with the verdict that it must get.

Every case is data: a request body, the endpoint's answer, and the error code of the result, or None
for a success. So one table can be run through the checker, and through the whole program against an
endpoint that gives these answers.
"""

from __future__ import annotations

from corpus.arguments import ARGUMENTS
from corpus.ends import ENDS, SEVERAL
from corpus.families import FAMILIES
from corpus.formats import FORMATS
from corpus.forms import Case
from corpus.schemas import SCHEMAS
from corpus.tools import TOOLS

__all__ = ["CASES", "Case"]

CASES = (*ENDS, *ARGUMENTS, *SCHEMAS, *TOOLS, *SEVERAL, *FORMATS, *FAMILIES)
