"""`batcher init`: a new job folder from one of the jobs that come with the program."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher.cli.streams import standard_output
from batcher.errors import UsageError
from batcher.settings.layers import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["command", "shipped_jobs"]

_PACKAGE = Path(__file__).parents[1]
# In an installed package, and in a clone.
_PLACES = (_PACKAGE / "jobs", _PACKAGE.parent / "jobs")
_DEFAULT = "labels"
_SCHEMA = "job.schema.json"
# What a run leaves behind is no part of a job.
_LEAVINGS = re.compile(r"output|__pycache__|.*\.(partial|lock|bak|log(\.1)?|pyc)")
# Files in which the places below stand.
_NAMES_PLACES = {"crontab", ".service", ".timer", ".sh"}
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path), required=False)
@click.option(
    "--from",
    "name",
    default=_DEFAULT,
    show_default=True,
    metavar="JOB",
    help="The job to start from; --list names them.",
)
@click.option("--list", "listing", is_flag=True, help="Name the jobs to start from, and stop.")
@click.option(
    "--schema", is_flag=True, help="Write the job file's JSON schema, for editors, and stop."
)
def command(folder: Path | None, *, name: str, listing: bool, schema: bool) -> None:
    """Make a new job folder from one that runs as it stands.

    DIR gets a copy of a job that runs as it stands, with its job file, data and a README, and the
    JSON schema by which editors check job files. Nothing is ever overwritten.
    """
    out = standard_output()
    if schema:
        out.line(_schema().rstrip("\n"))
    elif listing:
        jobs = shipped_jobs()
        width = max(map(len, jobs))
        out.line("\n".join(f"{job:<{width}}  {_purpose(path)}" for job, path in jobs.items()))
    elif folder is None:
        raise UsageError("say where: batcher init DIR")
    else:
        out.line("\n".join(_make(folder, name)))


def shipped_jobs() -> Mapping[str, Path]:
    """The jobs that come with the program: their names and folders."""
    for place in _PLACES:
        found = {path.parent.name: path.parent for path in sorted(place.glob("*/job.toml"))}
        if found:
            return found
    raise UsageError("the jobs to start from are not installed")


def _purpose(job: Path) -> str:
    """Give the first line of a job file, which says what the job does."""
    first = (job / "job.toml").read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def _schema() -> str:
    return (_PACKAGE / "settings" / _SCHEMA).read_text("utf-8")


def _make(folder: Path, name: str) -> list[str]:
    """Make the folder; say what was made and what to do next."""
    jobs = shipped_jobs()
    if name not in jobs:
        hint = nearest(name, list(jobs)) or f": there are {', '.join(jobs)}"
        raise UsageError(f"--from {name}: there is no such job{hint}")
    files = _contents(jobs[name], folder)
    for relative in files:
        if (folder / relative).exists():
            raise UsageError(f"{folder / relative} is there already; nothing was written")
    try:
        for relative, content in files.items():
            _write(folder / relative, content)
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error.strerror}") from None
    job_file = folder / "job.toml"
    return [
        f"made {folder} from the job {name}: {', '.join(sorted(map(str, files)))}",
        "next:",
        f"  batcher run {job_file}",
        f"then put your own data and prompt into {job_file}: {folder / 'README.md'} says how",
    ]


def _contents(job: Path, folder: Path) -> dict[Path, bytes]:
    """Read what the new folder will hold."""
    files = {}
    for path in sorted(job.rglob("*")):
        relative = path.relative_to(job)
        if path.is_file() and not any(map(_LEAVINGS.fullmatch, relative.parts)):
            files[relative] = path.read_bytes()
            if {path.name, path.suffix} & _NAMES_PLACES:
                files[relative] = _with_places(files[relative].decode(), folder).encode()
            elif path.suffix == ".md":
                here = files[relative].decode().replace(f"jobs/{job.name}/", f"{folder}/")
                files[relative] = here.encode()
    files[Path("job.toml")] = f"#:schema ./{_SCHEMA}\n".encode() + files[Path("job.toml")]
    files[Path(_SCHEMA)] = _schema().encode()
    return files


def _with_places(text: str, folder: Path) -> str:
    """Put the new folder and this program in the place of the examples', where both are plain."""
    places = {"/srv/nightly": folder.resolve(), "/srv/batcher/bin": Path(sys.executable).parent}
    for example, place in places.items():
        if _PLAIN_PATH.fullmatch(str(place)):
            text = text.replace(example, str(place))
    return text


def _write(path: Path, content: bytes) -> None:
    """Write a new file; a script may be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
    if content.startswith(b"#!"):
        mode = path.stat().st_mode
        path.chmod(mode | (mode & 0o444) >> 2)
