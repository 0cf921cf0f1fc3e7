"""The JSON schema of a job file, for editors, and the defaults in words: derived, never written."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from batcher.settings.options import OPTIONS, Option
from batcher.settings.resolve import Settings

__all__ = ["default_text", "job_schema", "job_schema_text"]

_DEFAULTS = {one.name: one.default for one in fields(Settings)}


def default_text(option: Option) -> str:
    """Say in a word or two what holds when a setting isn't given."""
    default = _default(option)
    if option.otherwise or default is None:
        return option.otherwise
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _default(option: Option) -> Any:
    default = None if option.section else _DEFAULTS.get(option.settings_field)
    return None if default is MISSING else default


def job_schema() -> dict[str, Any]:
    """Give the JSON schema (draft 2020-12) of a job file."""
    top: dict[str, Any] = {}
    for option in OPTIONS:
        into = top
        if option.section:
            section = top.setdefault(
                option.section,
                {"type": "object", "additionalProperties": False, "properties": {}},
            )
            into = section["properties"]
        into[option.name] = _property(option)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "batcher job file",
        "type": "object",
        "additionalProperties": False,
        "properties": top,
    }


def _property(option: Option) -> dict[str, Any]:
    described: dict[str, Any] = {"description": f"{option.help}. Default: {default_text(option)}."}
    default = _default(option)
    if isinstance(default, bool | int | float | str):
        described["default"] = default
    return {**described, **option.kind.schema}


def job_schema_text() -> str:
    """Give the schema as the file `job.schema.json` holds it."""
    return json.dumps(job_schema(), indent=2, ensure_ascii=False) + "\n"
