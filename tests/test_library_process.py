"""`batcher.process`: rows in and results out within a program, as both come."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import batcher
from tests.harness import Job, row, rows
from tests.server import Does, Endpoint, refusal


@pytest.fixture
def settings(job: Job, endpoint: Endpoint) -> dict[str, Any]:
    """What every run is told; the job's fixture keeps settings from outside away."""
    del job
    return {"base_url": endpoint.url, "prices": "none"}


async def collect(processing: batcher.Processing) -> list[batcher.Result]:
    """Take every result."""
    return [result async for result in processing]


async def as_they_come(count: int) -> AsyncIterator[dict[str, Any]]:
    """Give rows one at a time, each after a turn of the loop."""
    for each in rows(count):
        await asyncio.sleep(0)
        yield each


@pytest.mark.parametrize("kind", ["list", "generator", "async", "text"])
def test_every_row_has_one_result(settings: dict[str, Any], endpoint: Endpoint, kind: str) -> None:
    """Whatever gives the rows, each has one result, and the totals are the endpoint's books."""
    given: Any = {
        "list": rows(300),
        "generator": (each for each in rows(300)),
        "async": as_they_come(300),
        "text": [json.dumps(each) for each in rows(300)],
    }[kind]

    async def main() -> tuple[list[batcher.Result], batcher.Totals]:
        processing = batcher.process(given, **settings)
        return await collect(processing), processing.totals

    results, totals = asyncio.run(main())
    assert sorted(result.row for result in results) == list(range(1, 301))
    assert {result.custom_id: result.text for result in results} == {
        f"r{number}": f"echo r{number}" for number in range(1, 301)
    }
    assert totals.complete
    assert totals.request_counts == batcher.RequestCounts(300, 300, 0)
    assert totals.attempts == endpoint.books.attempts == 300
    assert totals.usage.completion_tokens == endpoint.books.usage["completion_tokens"]


def test_failures_are_results(settings: dict[str, Any], endpoint: Endpoint) -> None:
    """Bad rows, duplicates and refusals come as results among the others."""
    endpoint.on("no", refusal(422, "nope"))
    given: list[Any] = [row("a"), row("no"), {"model": "m"}, row("a"), "{", {"x": [1]}]
    results = asyncio.run(collect(batcher.process(given, **settings)))
    assert {result.row: result.error_code for result in results} == {
        1: None, 2: "nope", 3: "invalid_request", 4: "duplicate_custom_id", 5: "invalid_json",
        6: "invalid_request",
    }  # fmt: skip


def test_a_template_makes_rows_data(settings: dict[str, Any]) -> None:
    """With `request` any objects are rows, and fields are carried over."""
    request = {"model": "m", "messages": [{"role": "user", "content": "say {{ word }}"}]}
    processing = batcher.process(
        [{"id": 7, "word": "hi"}], request=request, id_field="id", carry=["word"], **settings
    )
    (result,) = asyncio.run(collect(processing))
    assert (result.custom_id, result.text, result.input) == ("7", "echo say hi", {"word": "hi"})


def test_results_come_before_the_rows_end(settings: dict[str, Any]) -> None:
    """A row's result comes while the next row is still awaited: a service can live on it."""

    async def main() -> list[str]:
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        async def given() -> AsyncIterator[dict[str, Any]]:
            while (each := await queue.get()) is not None:
                yield each

        seen = []
        await queue.put(row("r0"))
        async for result in batcher.process(given(), **settings):
            seen.append(result.custom_id)
            await queue.put(row(f"r{len(seen)}") if len(seen) < 3 else None)
        return seen

    assert asyncio.run(main()) == ["r0", "r1", "r2"]


def test_a_slow_consumer_holds_the_rows_back(settings: dict[str, Any], endpoint: Endpoint) -> None:
    """Who does not take results is sent no more than fits, and loses none by it."""
    taken = 0

    def given() -> Iterator[dict[str, Any]]:
        nonlocal taken
        for each in rows(1500):
            taken += 1
            yield each

    async def main() -> tuple[int, int]:
        processing = batcher.process(given(), concurrency=8, **settings)
        first = await anext(processing)
        assert first.succeeded
        before = -1
        while before != endpoint.books.attempts or endpoint.books.in_flight:
            before = endpoint.books.attempts
            await asyncio.sleep(0.3)
        held = taken
        return held, 1 + len(await collect(processing))

    held, count = asyncio.run(main())
    assert held < 600
    assert count == taken == endpoint.books.attempts == 1500


@pytest.mark.parametrize("way", ["aclose", "with", "dropped", "cancelled"])
def test_leaving_stops(settings: dict[str, Any], endpoint: Endpoint, way: str) -> None:
    """Whoever leaves in the middle leaves nothing behind: no task and no request."""
    endpoint.on("r2", Does.WAIT)
    endpoint.on("r3", Does.WAIT)

    async def leave(processing: batcher.Processing) -> None:
        if way == "with":
            async with processing:
                await anext(processing)
            return
        await anext(processing)
        if way == "aclose":
            await processing.aclose()
        elif way == "cancelled":
            waiting = asyncio.create_task(collect(processing))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    async def main() -> None:
        async with asyncio.timeout(10):
            await leave(batcher.process(rows(3), **settings))
            gc.collect()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

    asyncio.run(main())


def test_stop_drains(settings: dict[str, Any], endpoint: Endpoint) -> None:
    """`stop` takes no more rows, and results of what is in flight still come."""
    endpoint.always(Does.WAIT)

    async def main() -> tuple[list[batcher.Result], batcher.Totals]:
        processing = batcher.process(rows(9), concurrency=2, **settings)
        collecting = asyncio.create_task(collect(processing))
        await asyncio.to_thread(endpoint.wait_until, lambda books: books.in_flight == 2)
        processing.stop()
        endpoint.release()
        return await collecting, processing.totals

    results, totals = asyncio.run(main())
    assert len(results) == endpoint.books.attempts == totals.attempts == 2
    assert totals.stop_reason == "cancelled"


async def until_it_raises(processing: batcher.Processing) -> tuple[list[str], Exception | None]:
    """Take results until an exception comes, or None."""
    seen = []
    while True:
        try:
            seen.append((await anext(processing)).custom_id)
        except StopAsyncIteration:
            return seen, None
        except Exception as error:  # noqa: BLE001 - the one under test
            return seen, error


def test_a_run_that_stops_says_so(settings: dict[str, Any], endpoint: Endpoint) -> None:
    """Where the account is refused the results end with an exception, not as if all were well."""
    endpoint.on("r3", refusal(401))
    processing = batcher.process(rows(9), concurrency=1, **settings)
    seen, error = asyncio.run(until_it_raises(processing))
    assert seen == ["r1", "r2"]
    assert isinstance(error, batcher.StoppedError)
    assert error.exit_code == 5


def test_what_the_rows_raise_comes_out(settings: dict[str, Any]) -> None:
    """An exception of the program's own rows reaches it, after the results of those before."""

    async def given() -> AsyncIterator[dict[str, Any]]:
        yield row("r1")
        raise LookupError

    seen, error = asyncio.run(until_it_raises(batcher.process(given(), **settings)))
    assert (seen, type(error)) == (["r1"], LookupError)


def test_what_is_no_row_is_refused(settings: dict[str, Any]) -> None:
    """A row that is neither a mapping nor text is the program's mistake."""
    with pytest.raises(TypeError, match="a mapping, or JSON text"):
        asyncio.run(collect(batcher.process([1], **settings)))  # type: ignore[list-item]


@pytest.mark.parametrize("odd", [2**70, -(2**64), "\ud800"], ids=["large", "negative", "surrogate"])
def test_a_row_that_cannot_be_sent(settings: dict[str, Any], odd: object) -> None:
    """What is JSON and can't be sent fails its own row; those after it are sent."""
    bad = {**row("r1"), "metadata": {"odd": odd}}
    results = asyncio.run(collect(batcher.process([bad, row("r2")], **settings)))
    assert [each.succeeded for each in sorted(results, key=lambda each: each.row)] == [False, True]


def test_a_text_that_is_no_utf8(settings: dict[str, Any]) -> None:
    """A text with a lone surrogate, as a lenient reading of a file gives it, fails its own row."""
    results = asyncio.run(
        collect(batcher.process(['{"custom_id": "\udcff"}', row("r2")], **settings))
    )
    codes = [each.error_code for each in sorted(results, key=lambda each: each.row)]
    assert codes == ["invalid_json", None]


@pytest.mark.parametrize("name", ["output", "fresh", "ordered", "progress"])
def test_settings_of_files_are_refused(settings: dict[str, Any], name: str) -> None:
    """A setting that could mean nothing here is refused rather than ignored."""
    with pytest.raises(batcher.UsageError, match=name):
        batcher.process([], **{**settings, name: True})


def test_a_rehearsal_is_refused(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent for real where a rehearsal was asked for, wherever that stands."""
    monkeypatch.setenv("BATCHER_REHEARSE", "1")
    with pytest.raises(batcher.UsageError, match="nothing was sent"):
        batcher.process([], **settings)


def test_limit_and_progress(settings: dict[str, Any]) -> None:
    """`limit` takes the first rows alone, and `on_progress` hears of them."""
    seen: list[batcher.Progress] = []
    results = asyncio.run(
        collect(batcher.process(rows(9), limit=3, on_progress=seen.append, **settings))
    )
    assert sorted(result.row for result in results) == [1, 2, 3]
    assert seen[-1].done == 3


def test_no_rows(settings: dict[str, Any]) -> None:
    """Without rows there are no results, and the totals are nothing."""

    async def main() -> batcher.Totals:
        processing = batcher.process([], **settings)
        assert await collect(processing) == []
        return processing.totals

    assert asyncio.run(main()).request_counts == batcher.RequestCounts(0, 0, 0)
