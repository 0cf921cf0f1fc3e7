"""`batcher export`: results in other forms."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.faults import EXIT_USAGE
from batcher.cli.inputs import job_of
from batcher.cli.streams import standard_error, standard_output
from batcher.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from batcher.export.fields import Field
    from batcher.export.records import Joined
    from batcher.export.rows import Parse, SourceRows
    from batcher.report.reading import Output

__all__ = ["command"]

_FORMS = ("openai", "csv", "parquet", "jsonl")


class _Form(click.Choice[str]):
    """The forms; failed rows are no form of their own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "failed":
            self.fail("failed rows are asked for by --failed, alone or with --to csv", param, ctx)
        return super().convert(value, param, ctx)


@click.command("export")
@click.argument("target", metavar="OUTPUT|JOB.toml", type=click.Path())
@click.option("--to", "form", type=_Form(_FORMS), help="OpenAI's files, or a flat table.")
@click.option(
    "--fields",
    metavar="NAME,...",
    help="The table's columns, such as custom_id,text,stars=source.stars. [default: all]",
)
@click.option(
    "--source",
    type=click.Path(),
    metavar="FILE",
    help="The rows that were sent, to join them to their results. [default: the job file's]",
)
@click.option(
    "--failed",
    is_flag=True,
    help="The failed rows alone; without --to, as a source to correct and send again.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE",
    help="Write it there. [default: standard output; with openai, beside OUTPUT]",
)
def command(target: str, **given: Any) -> int:
    """Write results as OpenAI's files, a flat table, or failed rows to send again.

    Takes the output of a finished, stopped or running job. With a job file its source is joined:
    fields of a row are called source.NAME.
    """
    form, fields, failed = given["form"], given["fields"], given["failed"]
    output = None if given["output"] == "-" else given["output"]
    _check(form, fields, output, failed=failed)
    with ExitStack() as stack:
        job = _Job(target, given["source"], stack)
        if form == "openai":
            _openai(job, output)
        elif form is None:
            _failed(job, output)
        else:
            _table(job, form, fields, output, failed=failed)
    for number in job.results.broken[:1]:
        standard_error().line(f"batcher: {job.results.name}:{number} can't be read")
    if not job.results.finished:
        standard_error().line(f"batcher: {target} is not finished: these are its results so far")
    return EXIT_USAGE if job.results.broken else 0


def _check(form: str | None, fields: str | None, output: str | None, *, failed: bool) -> None:
    if form is None and not failed:
        raise UsageError(f"say what to write: --to {'|'.join(_FORMS)}, or --failed")
    if fields is not None and form in {None, "openai"}:
        raise UsageError("--fields are a table's: give --to csv, parquet or jsonl")
    if failed and form == "openai":
        raise UsageError("--to openai parts the failed rows off by itself: leave out --failed")
    if form == "parquet" and output is None:
        raise UsageError("Parquet is no text: say where it goes, by -o FILE")


class _Job:
    """An output, and what is known of the job that wrote it."""

    def __init__(self, target: str, source: str | None, stack: ExitStack) -> None:
        from batcher.report.reading import outputs

        self.settings = job_of(target)
        name = target if self.settings is None else str(self.settings.output)
        self.results: Output
        (self.results,) = outputs([name])
        self.source = source
        self._stack = stack

    @property
    def is_data(self) -> bool:
        """Whether a template makes every row data."""
        return self.settings is not None and self.settings.template is not None

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        read = [self.results.path]
        if self.source not in (None, "-"):
            read.append(Path(str(self.source)))
        if self.settings is not None and self.settings.source is not None:
            read.append(self.settings.source)
        return read

    def rows(self) -> SourceRows | None:
        """Open the source's rows; None where no source is known."""
        from batcher.export.rows import SourceRows

        if self.source is not None:
            path = None if self.source == "-" else Path(self.source)
            return self._stack.enter_context(SourceRows(path))
        if self.settings is None or self.settings.source is None:
            return None
        form = self.settings.source_format
        return self._stack.enter_context(SourceRows(self.settings.source, form=form))

    def joined(self, rows: SourceRows | None, *, failed: bool) -> Joined:
        """Join the results with their rows."""
        from batcher.export.records import Joined

        return Joined(self.results, rows=rows, parse=self._parse(), failed=failed)

    def _parse(self) -> Parse | None:
        from batcher.checks import Checker
        from batcher.codec import RowParser

        return None if self.settings is None else RowParser.of(self.settings, Checker()).parse


def _openai(job: _Job, output: str | None) -> None:
    from batcher.export.files import replacing, spare
    from batcher.export.openai import write_openai
    from batcher.export.records import results_of

    path = Path(output or job.results.name)
    names = [path.with_name(f"{path.stem}_{what}.jsonl") for what in ("output", "error")]
    for name in names:
        spare(name, job.files)
    with replacing(names[0]) as good, replacing(names[1]) as bad:
        write_openai(results_of(job.results), to_output=good.write, to_errors=bad.write)
    for name in names:
        standard_error().line(f"batcher: written: {name}")


def _failed(job: _Job, output: str | None) -> None:
    from batcher.export.failed import failed_line

    rows = job.rows()
    if rows is None:
        raise UsageError("say what was sent, by --source FILE or a job file: a result has no input")
    is_data = job.is_data

    def write(file: Callable[[bytes], object]) -> None:
        for result, raw in job.joined(rows, failed=True).pairs():
            file(failed_line(result, raw, is_data=is_data))

    _write(job, output, lambda file: write(file.write))


def _table(job: _Job, form: str, names: str | None, output: str | None, *, failed: bool) -> None:
    from batcher.export import tables
    from batcher.export.fields import parse_fields
    from batcher.export.survey import kinds_of

    fields = None if names is None else parse_fields(names)
    wanted = fields is None or any(field.of_source for field in fields)
    joined = job.joined(job.rows() if wanted else None, failed=failed)
    chosen = fields or _default_fields(joined)
    if form == "parquet":
        chosen = kinds_of(chosen, joined)
        _write(job, output, lambda file: tables.write_parquet(chosen, joined, file))
    else:
        write = tables.write_csv if form == "csv" else tables.write_jsonl
        _write(job, output, lambda file: write(chosen, joined, file.write))


def _default_fields(joined: Joined) -> list[Field]:
    from batcher.export.fields import default_fields
    from batcher.export.survey import names_of

    return default_fields(*names_of(joined))


def _write(job: _Job, output: str | None, work: Callable[[Any], None]) -> None:
    """Write into a file that appears whole, or onto standard output."""
    from batcher.export.files import replacing, spare

    if output is None:
        work(standard_output().binary())
        return
    spare(Path(output), job.files)
    file: BinaryIO
    with replacing(Path(output)) as file:
        work(file)
