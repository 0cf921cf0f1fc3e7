"""Good and bad answers, each with the verdict that it must get.

Every case is data: a request body, the endpoint's answer, and the error code of the result, or None
for a success. So one table can be run through the checker, and through the whole program against an
endpoint that gives these answers.
"""

from __future__ import annotations

from tests.corpus.arguments import ARGUMENTS
from tests.corpus.ends import ENDS, SEVERAL
from tests.corpus.families import FAMILIES
from tests.corpus.formats import FORMATS
from tests.corpus.forms import Case
from tests.corpus.schemas import SCHEMAS
from tests.corpus.tools import TOOLS

__all__ = ["CASES", "Case"]

CASES = (*ENDS, *ARGUMENTS, *SCHEMAS, *TOOLS, *SEVERAL, *FORMATS, *FAMILIES)
