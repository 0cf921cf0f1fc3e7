"""Flags over variables over job file: which word on a setting counts, and whether it can be read.

Every message names the flag, variable or key, what it must be, and the nearest right name of a
wrong one; none quotes a value.
"""

from __future__ import annotations

from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.errors import UsageError
from batcher.settings.options import OPTIONS, Option
from batcher.settings.values import UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Given", "check_keys", "gather", "misspelt_variables", "nearest"]

_SECTIONS = frozenset(option.section for option in OPTIONS if option.section)
_KEYS = tuple(option.key for option in OPTIONS)
# What newcomers write at the top of a job file, though it belongs into the body.
_BODY_FIELDS = frozenset(
    {"model", "messages", "temperature", "top_p", "tools", "tool_choice", "max_tokens", "n", "seed"}
)


class Given(NamedTuple):
    """A setting as somebody gave it.

    Attributes:
        value: Read and checked.
        said_by: `--rpm`, `BATCHER_RPM` or `job.toml: rpm`.
        rank: -1 for a program's argument, 0 for a flag, 1 for a variable, 2 for the job file.
    """

    value: Any
    said_by: str
    rank: int


def gather(
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    job: Mapping[str, Any],
    job_file: Path | None,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Given]:
    """Read every setting that was given, by the highest word on it; keyed as in a job file.

    Args:
        arguments: What a program gives, keyed and typed as in a job file; None is not given.
        flags: By setting name; text as typed, or typed values; None and () are not given.
        environ: The environment; an empty variable is not given.
        job: The job file's content.
        job_file: Its path, to which the paths in it are relative.

    Raises:
        UsageError: On an unknown key, or a value that is not of its kind.
    """
    check_keys(job, name=job_file.name if job_file else "job")
    check_keys(arguments, name="settings")
    given: dict[str, Given] = {}
    for option in OPTIONS:
        words = [
            *_arguments(option, arguments),
            *_words(option, flags, environ, job, job_file),
        ]
        if not words:
            continue
        given[option.key] = words[0]
        if option.kind.repeats:
            merged = tuple(pair for word in reversed(words) for pair in word.value)
            given[option.key] = words[0]._replace(value=merged)
    return given


def _arguments(option: Option, arguments: Mapping[str, Any]) -> Iterator[Given]:
    """Yield a program's word on a setting, if it has one."""
    table = arguments.get(option.section) or {} if option.section else arguments
    value = table.get(option.name)
    if value is not None:
        yield Given(_read(option.kind.value, value, option, option.key), option.key, -1)


def _words(
    option: Option,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    job: Mapping[str, Any],
    job_file: Path | None,
) -> Iterator[Given]:
    """Yield each word on a setting, the one that counts first."""
    in_job_alone = option.section and not option.on_command_line
    flag = None if in_job_alone else flags.get(option.name)
    if flag is not None and flag != ():
        yield Given(_read_flag(option, flag), option.flag or option.name, 0)
    text = environ.get(option.variable, "") if option.variable else ""
    if text:
        yield Given(_read(option.kind.text, text, option, option.variable), option.variable, 1)
    table = job.get(option.section, {}) if option.section else job
    if option.name in table:
        said_by = f"{job_file.name if job_file else 'job'}: {option.key}"
        value = _read(option.kind.value, table[option.name], option, said_by)
        if option.kind.is_path and job_file and not isinstance(value, str):
            value = value if str(value) == "-" else job_file.parent / value
        yield Given(value, said_by, 2)


def _read_flag(option: Option, flag: Any) -> Any:
    said_by = option.flag or option.name
    if option.kind.repeats and isinstance(flag, tuple):
        read = [_read(option.kind.text, text, option, said_by) for text in flag]
        return tuple(pair for pairs in read for pair in pairs)
    reader = option.kind.text if isinstance(flag, str) else option.kind.value
    return _read(reader, flag, option, said_by)


def _read(reader: Any, given: Any, option: Option, said_by: str) -> Any:
    try:
        return reader(given)
    except UnfitError:
        raise UsageError(f"{said_by} must be {option.kind.wants}") from None


def nearest(name: str, names: tuple[str, ...] | list[str]) -> str:
    """Say `: did you mean 'x'?` where a name is near enough, else nothing."""
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    return f": did you mean {near[0]!r}?" if near else ""


def check_keys(job: Mapping[str, Any], *, name: str) -> None:
    """Refuse keys that mean nothing, with the nearest right one.

    Raises:
        UsageError: Names the file, the key and the nearest key.
    """
    for key, value in job.items():
        if key in _SECTIONS:
            if not hasattr(value, "items"):
                raise UsageError(f"{name}: {key} must be a table: [{key}]")
            for inner in value:
                _check_key(f"{key}.{inner}", name)
        else:
            _check_key(key, name)


def _check_key(key: str, name: str) -> None:
    if key in _KEYS:
        return
    shown = repr(key[:80])
    if key in {"api_key", "key", "api_keys", "OPENAI_API_KEY"}:
        why = ": a key never stands in a job file; set BATCHER_API_KEY, or name a variable by"
        raise UsageError(f"{name}: unknown key {shown}{why} 'api_key_env'")
    if key in _BODY_FIELDS:
        raise UsageError(f"{name}: unknown key {shown}: a body field belongs into [defaults]")
    names = [*_KEYS, *_SECTIONS]
    hint = nearest(key, names) or ": the keys stand in docs/job-file.md"
    raise UsageError(f"{name}: unknown key {shown}{hint}")


def misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """Say which `BATCHER_*` variables are nearly, but not, ones that mean something.

    A variable is no error: others may use the prefix. But a silent typo costs a night.
    """
    known = [option.variable for option in OPTIONS if option.variable]
    known += ["BATCHER_API_KEY", "BATCHER_DEBUG"]
    notes = []
    for variable in sorted(environ):
        if variable.startswith("BATCHER_") and variable not in known:
            near = get_close_matches(variable, known, n=1, cutoff=0.85)
            notes += [f"{variable} means nothing: did you mean {near[0]}?" for _ in near[:1]]
    return notes
