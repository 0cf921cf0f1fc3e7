"""A compiled JSON Schema that can be asked for a verdict, and for a complaint.

The two questions cost differently. `is_valid` of jsonschema-rs stops at the first fault, remembers
what it has seen of a recursive schema, and takes a quarter of a microsecond. Listing the errors
does neither: every branch of an `anyOf` is walked and every value copied, so a recursive union
costs branches ** depth (two branches and 16 levels: 20 s), and a chain of references 30 long
overflows the stack at 120 levels, which ends the process. A model that repeats itself writes such
answers. So the verdict comes from `is_valid` alone, and errors are listed only where that is
bounded.

`format` is asserted: a schema that says `date` means it. References are never followed out of the
schema (`offline=True`): a request must not make this program read a file or call a host.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import jsonschema_rs

__all__ = ["NESTING_MAX", "Complaint", "Schema", "UnusableSchemaError", "depth_of", "pointer"]

# orjson writes 254 levels and no more; a result that others can't read is no result.
NESTING_MAX = 250
# A model corrects a few faults at a time; a list of hundreds is cost without use.
COMPLAINTS_MAX = 8
# Long enough to quote a value, short enough that a huge one does not double the prompt.
COMPLAINT_MAX_CHARS = 400
# Branches of a union that a complaint goes into.
BRANCHES_MAX = 4
# Listing the errors of a schema with references: at most so many levels (8 levels of a chain of 100
# references list in 0.1 s and stay far from the end of the stack) ...
EXPLAIN_MAX_DEPTH = 8
# ... and at most so many visits, branches ** depth (about 20 ms).
EXPLAIN_MAX_VISITS = 1000


class UnusableSchemaError(ValueError):
    """A schema is invalid or leads out of itself; the text quotes no more of it than a path."""


class Complaint(NamedTuple):
    """One thing that is wrong: the schema's keyword, and a sentence that may quote the value."""

    keyword: str
    text: str


class Schema:
    """One compiled schema.

    Args:
        schema: The parsed schema, an object or a boolean.

    Attributes:
        is_valid: Whether a parsed JSON value, nested at most `NESTING_MAX` deep, satisfies it.

    Raises:
        UnusableSchemaError: It is no schema, or a reference in it can't be resolved within it.
    """

    __slots__ = ("_explain_depth", "_validator", "is_valid")

    def __init__(self, schema: object) -> None:
        self._validator = _compile(schema)
        self.is_valid = self._validator.is_valid
        self._explain_depth = _explain_depth(schema)

    def complaints(self, value: object) -> list[Complaint]:
        """Say what is wrong with an invalid value: one or more complaints, each with its path."""
        if depth_of(value, at_most=self._explain_depth + 1) > self._explain_depth:
            text = f"is nested more than {self._explain_depth} levels deep and fails its schema"
            return [Complaint("schema", text)]
        errors = list(self._validator.iter_errors(value))
        found = [Complaint(error.kind.name, _describe(error)) for error in errors[:COMPLAINTS_MAX]]
        if len(errors) > COMPLAINTS_MAX:
            found.append(Complaint("schema", f"and {len(errors) - COMPLAINTS_MAX} more faults"))
        return found


def pointer(path: list[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901), such as `/items/0/name`; empty for the whole."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def depth_of(value: object, *, at_most: int) -> int:
    """Count the levels of nesting, 0 for a scalar, without recursion; stop at `at_most`."""
    level, depth = [value], 0
    while depth < at_most:
        inner: list[object] = []
        containers = False
        for item in level:
            if isinstance(item, dict):
                containers = True
                inner.extend(item.values())
            elif isinstance(item, list):
                containers = True
                inner.extend(item)
        if not containers:
            break
        level, depth = inner, depth + 1
    return depth


def _compile(schema: object) -> jsonschema_rs.Validator:
    if not isinstance(schema, dict | bool):
        raise UnusableSchemaError("is neither an object nor a boolean")
    try:
        return jsonschema_rs.validator_for(schema, offline=True, validate_formats=True)
    except jsonschema_rs.ValidationError as error:
        raise UnusableSchemaError(_unusable(error)) from None
    except ValueError:
        raise UnusableSchemaError("is nested too deeply") from None


def _unusable(error: jsonschema_rs.ValidationError) -> str:
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
        return (
            "has a reference or a $schema that can't be resolved within it "
            "(files and hosts are never asked)"
        )
    place = _shorten(pointer(error.instance_path))
    return f'is not valid JSON Schema: fails "{error.kind.name}" at "{place}"'


def _explain_depth(schema: object) -> int:
    """Find the deepest value whose errors may be listed."""
    nodes = list(_nodes(schema))
    if not any(
        "$ref" in node or "$dynamicRef" in node or "$recursiveRef" in node for node in nodes
    ):
        # Without references a schema is a finite tree, and so is the work.
        return NESTING_MAX
    unions = (node.get(keyword) for node in nodes for keyword in ("anyOf", "oneOf"))
    branches = max((len(union) for union in unions if isinstance(union, list)), default=1)
    depth = EXPLAIN_MAX_DEPTH
    while branches**depth > EXPLAIN_MAX_VISITS:
        depth -= 1
    return depth


def _nodes(schema: object) -> Iterator[dict[str, Any]]:
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _describe(error: jsonschema_rs.ValidationError) -> str:
    place = pointer(error.instance_path)
    text = _shorten(error.message)
    kind = error.kind
    if isinstance(
        kind,
        jsonschema_rs.ValidationErrorKind.AnyOf | jsonschema_rs.ValidationErrorKind.OneOfNotValid,
    ):
        branches = [branch[0] for branch in islice(kind.context, BRANCHES_MAX) if branch]
        reasons = "; ".join(
            f"{pointer(inner.instance_path) or 'the whole'}: {_shorten(inner.message)}"
            for inner in branches
        )
        text = f"{text} ({reasons})"
    return f"{_shorten(place)}: {text}" if place else text


def _shorten(text: str) -> str:
    """Cut the middle out: a message begins with the value and ends with what is wrong with it."""
    if len(text) <= COMPLAINT_MAX_CHARS:
        return text
    half = COMPLAINT_MAX_CHARS // 2
    return f"{text[:half]} ... {text[-half:]}"
