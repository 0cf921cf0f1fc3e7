"""The one table of settings: what can be said, where, and how it is read.

The flags of the command line, the `BATCHER_*` variables, the keys of a job file, its JSON schema
and the tables of the documentation are all derived from `OPTIONS`; the defaults stand in
`Settings`. A setting has the same name everywhere: `--max-cost`, `BATCHER_MAX_COST`, `max_cost`.
"""

from __future__ import annotations

from batcher.settings.forms import (
    HEADER_NAME,
    HEADERS,
    LABELS,
    PATH,
    POINTER,
    PRICES,
    ROW_PATH,
    TABLE,
    TEXT,
    TEXTS,
    VARIABLE,
)
from batcher.settings.option import Option
from batcher.settings.values import BOOLEAN, DEADLINE, MONEY, RATE, choice, duration, whole

__all__ = ["GROUPS", "OPTIONS", "Option"]

_WHERE = "Endpoint"
_PACE = "Pace and patience"
_STOP = "Limits of a run"
_AGAIN = "Running it again"
_SHOW = "Output"
_ROWS = "Rows"
_ANSWER = "Answers"
_TOOLS = "Tools"
GROUPS = (_ROWS, _WHERE, _PACE, _STOP, _AGAIN, _SHOW, _ANSWER, _TOOLS)

_ALL = ("run", "check", "status")

OPTIONS: tuple[Option, ...] = (
    Option(
        "source", PATH, "Rows to send: JSONL, CSV or TSV, plain, .gz or .zst; - is standard input",
        _ROWS, otherwise="the argument SOURCE", on_command_line=False,
    ),
    Option(
        "source_format", choice("auto", "jsonl", "csv", "tsv"),
        "How the rows are written; auto tells by the name, and takes standard input for JSONL",
        _ROWS, commands=("run", "check"),
    ),
    Option(
        "output", PATH, "Where the finished results go", _ROWS,
        otherwise="none: it must be said", short="-o", commands=("run", "check"),
    ),
    Option(
        "url", ROW_PATH, "The path of rows that name none", _ROWS, on_command_line=False,
    ),
    Option(
        "defaults", TABLE, "Body fields for what a row leaves out, such as model and temperature",
        _ROWS, otherwise="none", on_command_line=False,
    ),
    Option(
        "request", TABLE, "A request template: its texts are filled with the fields of each row",
        _ROWS, otherwise="none: rows are requests", field="template", on_command_line=False,
    ),
    Option(
        "id_field", TEXT, "With a template: the field that names the row",
        _ROWS, otherwise="rows are called row-<line>", on_command_line=False,
    ),
    Option(
        "carry", TEXTS, "With a template: fields that are copied into the result",
        _ROWS, otherwise="none", on_command_line=False,
    ),
    Option(
        "limit", whole(1), "The job is the first N rows",
        _ROWS, otherwise="all rows", commands=("run", "check"),
    ),
    Option(
        "check_answers", BOOLEAN,
        "Count an answer as a success only if it has the shape that the row asks for",
        _ROWS,
    ),
    Option(
        "strict", BOOLEAN, "Check the whole source first; send nothing if any row is bad", _ROWS,
    ),
    Option(
        "base_url", TEXT._replace(metavar="URL"),
        "An SDK base URL, or a named endpoint such as sandbox, local, openai or yunwu",
        _WHERE, otherwise="OPENAI_BASE_URL, else an error that says how",
        commands=("run", "check"),
    ),
    Option(
        "api_key_env", VARIABLE, "The environment variable that holds the key",
        _WHERE, otherwise="BATCHER_API_KEY, else the named endpoint's own",
    ),
    Option(
        "api_key_file", PATH, "The file that holds the key",
        _WHERE, otherwise="none",
    ),
    Option(
        "headers", HEADERS, "One more request header, never the key; may be repeated",
        _WHERE, otherwise="none", one="header",
    ),
    Option(
        "auth_header", HEADER_NAME,
        "The header that carries the key; any other than Authorization carries it bare",
        _WHERE,
    ),
    Option(
        "ca_file", PATH, "Certificates (PEM) of a private authority to trust",
        _WHERE, otherwise="the system's",
    ),
    Option("trust_env", BOOLEAN, "Use the proxies that the environment names", _WHERE),
    Option(
        "transport", choice("lean", "session"),
        "What carries the requests: lean costs less, session is plain aiohttp", _WHERE,
    ),
    Option(
        "rehearse", BOOLEAN,
        "Let the sandbox make up the answers, keep none, and say what would have happened", _WHERE,
    ),
    Option(
        "model_file", PATH, "With the endpoint local: the GGUF file of another model",
        _WHERE, otherwise="the small model of the extra local", section="local",
    ),
    Option(
        "sandbox", TABLE, "Options of the endpoint sandbox",
        _WHERE, otherwise="none", on_command_line=False,
    ),
    Option(
        "concurrency", whole(1),
        "Most requests in flight; the best number at or below it is found by itself", _PACE,
    ),
    Option(
        "rpm", RATE, "Most requests a minute",
        _PACE, otherwise="learned from headers where sent", commands=("run", "check"),
    ),
    Option(
        "tpm", RATE, "Most tokens a minute",
        _PACE, otherwise="learned from headers where sent", commands=("run", "check"),
    ),
    Option("max_attempts", whole(1), "Most attempts of a row, for its own failures", _PACE),
    Option(
        "timeout", duration(), "Longest attempt, from send to last byte", _PACE, field="timeout_s",
    ),
    Option(
        "connect_timeout", duration(), "Longest wait for a connection",
        _PACE, field="connect_timeout_s",
    ),
    Option(
        "give_up_after", duration(),
        "Stop once the endpoint has been down, or refusing for rate, for so long; resumable",
        _STOP, field="give_up_after_s",
    ),
    Option(
        "deadline", DEADLINE,
        "Stop sending after a duration or at the next time of day, and drain; resumable",
        _STOP, otherwise="none", field="deadline_unix",
    ),
    Option(
        "drain", duration(zero=True), "Longest wait for what is in flight when stopping",
        _STOP, otherwise="the timeout", field="drain_s",
    ),
    Option(
        "max_cost", MONEY,
        "The whole job never spends more; resumable with a larger one",
        _STOP, otherwise="none", field="max_cost_usd",
    ),
    Option(
        "max_tokens_total", whole(1),
        "The whole job never uses more tokens, prompts and answers together; resumable",
        _STOP, otherwise="none",
    ),
    Option(
        "budget_basis", choice("limit", "seen"),
        "How long an answer may be whose row doesn't say: the model's limit, which keeps a budget"
        " for certain; or twice the longest seen so far, which keeps it nearly",
        _STOP,
    ),
    Option(
        "ledger", PATH, "A file that many jobs share: what each run has spent, a line a run",
        _STOP, otherwise="none",
    ),
    Option(
        "max_cost_month", MONEY,
        "All runs of a month (UTC) that share the ledger never spend more together",
        _STOP, otherwise="none", field="max_cost_month_usd",
    ),
    Option(
        "prices", PRICES,
        "A price table; list prices by model name on any host; or none", _STOP,
        commands=("run", "check"),
    ),
    Option("retry_failed", BOOLEAN, "Send the rows again that had failed", _AGAIN),
    Option("resend", BOOLEAN, "Send changed rows again, however many they are", _AGAIN),
    Option(
        "prune", BOOLEAN, "Drop results whose rows have vanished from the source", _AGAIN,
    ),
    Option("fresh", BOOLEAN, "Start over; what was there is kept as .bak", _AGAIN),
    Option("ordered", BOOLEAN, "Publish in input order", _SHOW),
    Option(
        "durability", choice("fsync", "flush"),
        "Results survive a power cut (fsync), or only the death of the process (flush)", _SHOW,
    ),
    Option(
        "progress", choice("auto", "bar", "json", "none"),
        "On standard error: auto is a bar on a terminal, a line a minute elsewhere", _SHOW,
    ),
    Option(
        "cost", BOOLEAN, "With check: foresee tokens, cost and time of the rows that are left",
        _SHOW, commands=("check",),
    ),
    Option(
        "json", BOOLEAN, "Write the totals, or the answer, to standard output as a line of JSON",
        _SHOW, commands=_ALL,
    ),
    Option(
        "on_invalid", choice("fail", "retry", "repair"),
        "An answer without the shape that was asked for fails its row, is asked for again, or is"
        " shown to the model with what is wrong", _ANSWER,
    ),
    Option(
        "max_repairs", whole(1), "How often an invalid answer of a row is asked for again", _ANSWER,
    ),
    Option(
        "lenient", BOOLEAN,
        "Correct common slips in an answer's JSON: a fence, a trailing comma, Python's literals",
        _ANSWER,
    ),
    Option(
        "transcript", BOOLEAN,
        "Keep in the result all that was said after the request", _ANSWER,
    ),
    Option(
        "label", POINTER, "Where the label stands in an answer that is JSON; empty: all of it",
        _ANSWER, otherwise="none", section="answer", on_command_line=False,
    ),
    Option(
        "gold", TEXT, "The carried field that holds the known label, to count how many agree",
        _ANSWER, otherwise="none", section="answer", on_command_line=False,
    ),
    Option(
        "schema", TABLE, "JSON schema that an answer must satisfy",
        _ANSWER, otherwise="none", section="answer", on_command_line=False,
    ),
    Option(
        "labels", LABELS, "The labels that an answer may give",
        _ANSWER, otherwise="any", section="answer", on_command_line=False,
    ),
    Option(
        "votes", whole(1), "How many answers are asked of each row; the majority's label counts",
        _ANSWER, otherwise="1, or the row's own n", section="answer", on_command_line=False,
    ),
    Option(
        "python", PATH, "A Python file with a function for each tool: it is run",
        _TOOLS, otherwise="none", section="handlers", on_command_line=False,
    ),
    Option(
        "url", TEXT, "An HTTP endpoint to which each call is posted, instead of a file",
        _TOOLS, otherwise="none", section="handlers", on_command_line=False,
    ),
    Option(
        "api_key_env", VARIABLE, "With a url: the environment variable that holds its key",
        _TOOLS, otherwise="none", section="handlers", on_command_line=False,
    ),
    Option(
        "tools", TEXTS, "The tools to carry out; a call of another one ends its row",
        _TOOLS, otherwise="all: a call of another one fails its row", section="handlers",
        on_command_line=False,
    ),
    Option(
        "timeout", duration(), "Longest call of a handler",
        _TOOLS, otherwise="60", section="handlers", on_command_line=False,
    ),
    Option(
        "concurrency", whole(1), "Most calls of handlers at once",
        _TOOLS, otherwise="16", section="handlers", on_command_line=False,
    ),
    Option(
        "on_error", choice("tell", "fail"),
        "A handler's error is told to the model, or fails the row",
        _TOOLS, otherwise="tell", section="handlers", on_command_line=False,
    ),
    Option(
        "max_turns", whole(1), "Most answers of a row, the last one included",
        _TOOLS, otherwise="10", section="handlers", on_command_line=False,
    ),
)  # fmt: skip
