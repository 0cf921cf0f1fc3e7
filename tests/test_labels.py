"""Labels: votes and their majority, and `batcher report --labels`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from batcher.report.labels import LOOK_AT, Labels
from tests.harness import Job
from tests.server import Endpoint, Say, Seen


def says(*texts: str, reason: str = "stop") -> Say:
    """An answer with a choice for each text."""
    choices = [
        {"index": place, "message": {"content": text}, "finish_reason": reason}
        for place, text in enumerate(texts)
    ]
    return Say(body=json.dumps({"choices": choices}).encode())


class Labelling:
    """A job that labels rows; the endpoint says what is scripted for a row's text."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.file = job.folder / "job.toml"

    def run(self, answers: dict[str, Any], answer: str, *, code: int = 0, **known: Any) -> None:
        """Run the job: `answers` by row, `known` labels by row, `answer` the table's lines."""
        for name, said in answers.items():
            self.job.endpoint.on(name, said if isinstance(said, Say) else says(*said))
        self.job.write([{"id": name, "text": name, "gold": known.get(name)} for name in answers])
        self.file.write_text(
            f'source = "in.jsonl"\noutput = "out.jsonl"\nbase_url = "{self.job.endpoint.url}"\n'
            'prices = "none"\nid_field = "id"\ncarry = ["gold"]\n[request]\nmodel = "m"\n'
            'messages = [{ role = "user", content = "{{ text }}" }]\n'
            f"[answer]\n{answer}\n"
        )
        ran = self.job.invoke("run", str(self.file))
        assert ran.code == code, ran.err

    def ours(self, custom_id: str) -> dict[str, Any]:
        """The `batcher` object of a row's result."""
        found: dict[str, Any] = self.job.result(custom_id)["batcher"]
        return found

    def report(self, *arguments: str, target: Path | None = None) -> dict[str, Any]:
        """The report on labels, as JSON."""
        name = str(target or self.file)
        ran = self.job.invoke("report", name, "--labels", "--json", *arguments)
        assert ran.code == 0, ran.err
        return ran.totals


@pytest.fixture
def labelling(job: Job) -> Labelling:
    """A job that labels."""
    return Labelling(job)


LABELS = 'labels = ["pos", "neg"]'


def test_votes_are_asked_for_and_counted(labelling: Labelling, endpoint: Endpoint) -> None:
    """`votes` becomes `n`, and the label that most choices have is the row's."""
    answers = {"a": ["pos", "neg", "pos"], "b": ["neg", "neg", "neg"], "c": ["neg", "pos"]}
    labelling.run(answers, LABELS + "\nvotes = 3")
    assert {seen.body["n"] for seen in endpoint.books.seen} == {3}
    ours = labelling.ours("a")
    assert ours["label"] == "pos"
    assert ours["votes"] == [{"label": "pos", "count": 2}, {"label": "neg", "count": 1}]
    assert ours["disagreement"] == 0.333
    assert [each["label"] for each in ours["answers"]] == ["pos", "neg", "pos"]
    assert labelling.ours("b")["votes"] == [{"label": "neg", "count": 3}]
    assert labelling.ours("b")["disagreement"] == 0
    # Of a tie, the first.
    assert (labelling.ours("c")["label"], labelling.ours("c")["disagreement"]) == ("neg", 0.5)


def test_a_rows_own_n_wins(job: Job, endpoint: Endpoint) -> None:
    """A row that says how many choices it wants gets so many; no other family is asked for `n`."""
    plain = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    job.write([
        {"custom_id": "own", "body": {**plain, "n": 2}},
        {"custom_id": "not", "body": plain},
        {"custom_id": "other", "url": "/v1/responses", "body": {"model": "m", "input": "y"}},
    ])  # fmt: skip
    (job.folder / "job.toml").write_text(
        f'source = "in.jsonl"\noutput = "out.jsonl"\nbase_url = "{endpoint.url}"\n'
        'prices = "none"\nmax_attempts = 1\n[answer]\nlabels = ["echo x"]\nvotes = 3\n'
    )
    job.invoke("run", str(job.folder / "job.toml"))
    asked: dict[str, list[Any]] = {seen.path: [] for seen in endpoint.books.seen}
    for seen in endpoint.books.seen:
        asked[seen.path].append(seen.body.get("n"))
    assert sorted(asked["/v1/chat/completions"]) == [2, 3]
    assert asked["/v1/responses"] == [None]


def test_all_votes_must_be_valid(labelling: Labelling) -> None:
    """A row of which one choice is invalid fails, and has no label."""
    labelling.run({"a": ["pos", "what?", "pos"]}, LABELS + "\nvotes = 3", code=3)
    ours = labelling.ours("a")
    assert ours["error_code"] == "answer_schema"
    assert "label" not in ours
    assert "votes" not in ours


def test_votes_need_labels(labelling: Labelling) -> None:
    """Votes on nothing are refused."""
    labelling.run({"a": ["pos"]}, "votes = 3", code=2)


@pytest.mark.parametrize("labels", ["[1, 2]", "[true, false]", '["1", "2"]'])
def test_labels_of_a_job_file(labelling: Labelling, labels: str) -> None:
    """Labels are texts, whole numbers or truth values, as the job file has them."""
    first = json.loads(labels)[0]
    text = first if isinstance(first, str) else json.dumps(first)
    labelling.run({"a": [text]}, f"labels = {labels}")
    assert labelling.ours("a")["label"] == first


def test_distribution_agreement_confusion(labelling: Labelling) -> None:
    """The report counts labels, holds them against the known ones, and says how they differ."""
    answers = {name: ["pos"] for name in "abcd"} | {name: ["neg"] for name in "efg"}
    answers["h"] = ["nonsense"]
    known = {"a": "pos", "b": "pos", "c": "pos", "d": "neg", "e": "neg", "f": "neg", "h": "pos"}
    labelling.run(answers, LABELS + '\ngold = "gold"', code=3, **known)
    report = labelling.report()
    assert (report["rows"], report["labelled"]) == (8, 7)
    assert {each["label"]: each["rows"] for each in report["labels"]} == {
        "pos": 4, "neg": 3, None: 1,
    }  # fmt: skip
    assert (report["compared"], report["agreed"]) == (7, 5)
    confusion = {(each["known"], each["label"]): each["rows"] for each in report["confusion"]}
    assert confusion == {
        ("pos", "pos"): 3, ("neg", "pos"): 1, ("neg", "neg"): 2, ("pos", None): 1,
    }  # fmt: skip
    # Chance: (4*4 + 3*2) / 49 of known and given; (5/7 - 22/49) / (1 - 22/49).
    assert report["kappa"] == pytest.approx(13 / 27, abs=1e-4)
    assert report["look_at"] == {"invalid": 1, "disagrees": 1}
    looks = {each["custom_id"]: each for each in report["rows_to_look_at"]}
    assert looks["d"]["reason"] == "disagrees"
    assert (looks["d"]["known"], looks["d"]["label"], looks["d"]["row"]) == ("neg", "pos", 4)
    assert looks["h"]["code"] == "answer_schema"


def test_rows_to_look_at(labelling: Labelling) -> None:
    """What is invalid, cut off, refused, failed, divided or repaired is shown by its reason."""
    answers: dict[str, Any] = {
        "cut": says("po", reason="length"),
        "filtered": says("", reason="content_filter"),
        "gone": Say(400, b"{}"),
        "split": ["pos", "neg"],
        "fenced": ["pos", "pos"],
    }
    labelling.run(answers, LABELS, code=3)
    report = labelling.report()
    reasons = {each["custom_id"]: each["reason"] for each in report["rows_to_look_at"]}
    assert reasons == {
        "cut": "truncated", "filtered": "withheld", "gone": "failed", "split": "divided",
    }  # fmt: skip
    assert (report["voted"], report["divided"]) == (2, 1)


def test_repaired_rows_are_worth_a_look(labelling: Labelling, endpoint: Endpoint) -> None:
    """A row whose answer had to be asked for again is a success worth a look."""

    def answer(seen: Seen) -> Say:
        return says("what?") if seen.attempt == 1 else says("pos")

    endpoint.always(says("pos"))
    labelling.run({}, LABELS)
    endpoint.on("x", answer)
    labelling.job.write([{"id": "x", "text": "x"}])
    ran = labelling.job.invoke("run", str(labelling.file), "--on-invalid", "retry")
    assert ran.code == 0, ran.err
    assert labelling.report()["look_at"] == {"repaired": 1}


def test_the_report_for_people(labelling: Labelling) -> None:
    """On the terminal the report is a few tables; a text of a model can't draw in it."""
    answers = {"a": ["pos"], "b": ["neg"], "c|<b>": ["pos", "neg"]}
    labelling.run(answers, LABELS + '\ngold = "gold"', a="pos", b="pos")
    code, out, err = labelling.job.invoke_text("report", str(labelling.file), "--labels")
    assert code == 0, err
    assert out.startswith("3 rows, 3 labelled; 1 of 2 agree with the known ones (50.0%")
    assert "| pos | 2 | 66.7% | 2 | 100% | 50.0% |" in out
    assert "Known labels down" in out
    assert "1 disagrees: the label is not the known one" in out
    assert "- line 2, b: known pos, given neg" in out
    assert "c\\|&lt;b>" in out


def test_gold_may_be_named(labelling: Labelling) -> None:
    """`--gold` names the known label of an output without its job file."""
    labelling.run({"a": ["pos"]}, LABELS, a="neg")
    assert labelling.report(target=labelling.job.output)["compared"] == 0
    report = labelling.report("--gold", "gold", target=labelling.job.output)
    assert (report["compared"], report["agreed"]) == (1, 0)


@pytest.mark.parametrize(
    "arguments", [["--gold", "x"], ["--labels", "--by", "model"], ["--labels", "--to", "csv"]]
)
def test_flags_that_do_not_go_together(labelling: Labelling, arguments: list[str]) -> None:
    """What means nothing beside the others is refused."""
    labelling.run({"a": ["pos"]}, LABELS)
    assert labelling.job.invoke("report", str(labelling.file), *arguments).code == 2


def test_kappa_needs_two_labels() -> None:
    """Agreement beyond chance is undefined where chance alone explains all."""
    labels = Labels()
    labels.add("", {"row": 1, "label": "x", "input": {"g": "x"}}, output="", gold="g")
    assert (labels.agreed, labels.kappa) == (1, None)


def test_without_labels_rows_are_only_counted(labelling: Labelling) -> None:
    """Without an `[answer]` there are no labels, and the report says so."""
    labelling.run({"a": ["pos"]}, 'schema = { type = "string" }', code=3)
    report = labelling.report()
    assert (report["labelled"], report["labels"]) == (0, [{"label": None, "rows": 1}])


def test_reasons_are_documented() -> None:
    """docs/report.md has the reasons to look at a row, in their order."""
    text = (Path(__file__).parents[1] / "docs" / "report.md").read_text()
    table = text.split("| reason | the row |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE) == list(LOOK_AT)
