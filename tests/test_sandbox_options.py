"""Options of the sandbox: read from a table, checked, and told back."""

import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from click.testing import CliRunner

from batcher.cli.sandbox import command as sandbox
from batcher.endpoints.sandbox import KeyQuota, Latency, Outage, SandboxOptions
from batcher.endpoints.sandbox.faults import FAULTS
from batcher.errors import UsageError

WHOLE: dict[str, Any] = {
    "seed": -3,
    "models": ["a", "b"],
    "keys": {"sk-secret": {"requests": 3, "usd": 0.5}, "sk-other": {}},
    "latency": "lognormal:0.8,0.5",
    "token_latency_s": 0.01,
    "rpm": 60,
    "tpm": 1e6,
    "limit_window_s": 10,
    "limit_headers": "retry_after",
    "capacity": 8,
    "overload": 0.5,
    "faults": {"500": 0.01, "reset": 0.005},
    "script": {"ticket-17": ["500", "reset", "ok"], "ticket-18": "404", "ticket-19": 400},
    "outage": {"from_request": 10, "to_request": 20, "fault": "502"},
    "retry_after_s": 2,
    "slow_s": 1,
    "hang_s": 5,
    "huge_bytes": 1000,
    "answer_tokens": 5,
    "cached_share": 0.25,
    "reasoning_tokens": 7,
    "context_tokens": 100,
    "max_body_bytes": 1000,
    "prompt_usd_per_mtok": 1,
    "completion_usd_per_mtok": 2,
    "gzip": True,
}


def test_every_key_is_read_and_told_back() -> None:
    """What `to_mapping` gives is JSON that `from_mapping` reads into an equal record."""
    options = SandboxOptions.from_mapping(WHOLE)
    assert options.keys["sk-secret"] == KeyQuota(requests=3, usd=0.5)
    assert options.latency == Latency("lognormal", (0.8, 0.5))
    assert options.outage == (Outage(from_request=10, to_request=20, fault="502"),)
    assert options.script["ticket-17"] == ("500", "reset", "ok")
    told = options.to_mapping()
    assert told.keys() == WHOLE.keys()
    assert SandboxOptions.from_mapping(orjson.loads(orjson.dumps(told))) == options
    assert SandboxOptions.from_mapping(SandboxOptions().to_mapping()) == SandboxOptions()


def test_a_latency_of_plain_seconds_may_be_a_text() -> None:
    """A flag's value is a text, and `--latency 0.2` is what its help names first."""
    assert SandboxOptions.from_mapping({"latency": "0.2"}) == SandboxOptions(
        latency=Latency("constant", (0.2,))
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param({"latancy": 1}, "no key 'latancy': did you mean 'latency'", id="key"),
        pytest.param({"zzz": 1}, "no key 'zzz': keys: seed", id="key like none"),
        pytest.param({"faults": {"truncate": 0.1}}, "did you mean 'truncated'", id="fault"),
        pytest.param({"faults": {"200": 0.1}}, "no fault '200'", id="no fault at all"),
        pytest.param({"faults": {"500": 1.5}}, "faults.500: expected a number from 0", id="share"),
        pytest.param({"faults": {"500": 0.6, "502": 0.6}}, "more than 1", id="sum of shares"),
        pytest.param({"faults": []}, "faults: expected a table, not list", id="faults no table"),
        pytest.param({"latency": "gauss:1,2"}, "no law 'gauss'", id="law"),
        pytest.param({"latency": "lognormle:1,2"}, "did you mean 'lognormal'", id="law near"),
        pytest.param({"latency": "uniform:3,1"}, "uniform is written uniform:", id="least > most"),
        pytest.param({"latency": "constant:x"}, "constant is written", id="law's number"),
        pytest.param({"latency": "nan"}, "at least 0, not nan", id="text not a number"),
        pytest.param({"latency": -1}, "latency: expected a number of at least 0", id="negative"),
        pytest.param({"latency": float("nan")}, "at least 0, not nan", id="not a number"),
        pytest.param({"rpm": 0}, "rpm: expected a number above 0", id="zero rate"),
        pytest.param({"rpm": True}, "rpm: expected a number, not bool", id="a flag as number"),
        pytest.param({"capacity": 0}, "capacity: expected a number of at least 1", id="capacity"),
        pytest.param(
            {"outage": {"from_request": 1, "fault": "refused"}},
            "outage: a connection is refused before there is a request",
            id="refused by number",
        ),
        pytest.param({"capacity": 8}, "capacity: an answer that takes no time", id="no time"),
        pytest.param({"capacity": 1.5}, "capacity: expected an integer, not float", id="float"),
        pytest.param({"models": "gpt"}, "models: expected a list of texts", id="models"),
        pytest.param({"models": [1]}, "models: expected a list of texts, not int", id="model"),
        pytest.param({"gzip": 1}, "gzip: expected true or false, not int", id="flag"),
        pytest.param({"limit_headers": "all"}, "expected one of openai, retry_after", id="choice"),
        pytest.param({"outage": {"from": 1}}, "outage: 'from' is none of", id="outage"),
        pytest.param({"outage": "now"}, "outage: expected a table or a list", id="outage text"),
        pytest.param({"script": {"a": ["50"]}}, "script.a: there is no fault '50'", id="step"),
        pytest.param({"script": {"a": 1.5}}, "script.a: expected a fault or a list", id="steps"),
        pytest.param({"seed": "x"}, "seed: expected an integer, not str", id="seed"),
    ],
)
def test_a_wrong_table_is_refused(table: Any, said: str) -> None:
    """The error names the key, what was expected, and the nearest right name."""
    with pytest.raises(UsageError) as caught:
        SandboxOptions.from_mapping(table)
    assert said in str(caught.value)


def test_no_error_or_repr_tells_a_key() -> None:
    """An API key stands in neither."""
    with pytest.raises(UsageError) as caught:
        SandboxOptions.from_mapping({"keys": {"sk-secret": {"tokens": "x"}}})
    assert "sk-secret" not in str(caught.value)
    assert "sk-secret" not in repr(SandboxOptions.from_mapping(WHOLE))


def test_the_command_tells_its_faults() -> None:
    """`--list-faults` names every fault and serves nothing."""
    result = CliRunner().invoke(sandbox, ["--list-faults"])
    assert result.exit_code == 0
    assert all(name in result.output for name in FAULTS)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["--fault", "500"], "expected NAME=PROBABILITY", id="no probability"),
        pytest.param(["--fault", "rest=0.1"], "did you mean 'reset'", id="unknown fault"),
        pytest.param(["--latency", "slow:1"], "no law 'slow'", id="unknown law"),
    ],
)
def test_wrong_flags_are_refused(args: list[str], said: str) -> None:
    """A wrong flag is a usage error, before anything listens."""
    result = CliRunner().invoke(sandbox, args)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_command_serves_until_it_is_told_to_stop(
    anyio_backend: str, tmp_path: Path
) -> None:
    """It says where it listens, takes its options from a job file, and ends well on SIGINT."""
    job = tmp_path / "job.toml"
    job.write_text('[sandbox]\nmodels = ["only"]\n')
    program = "from batcher.cli.sandbox import command; command()"
    args = [sys.executable, "-c", program, "--port", "0", "--json", "--options", str(job)]
    process = await anyio.open_process(args)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        with anyio.fail_after(20):
            port = orjson.loads(await process.stdout.receive())["port"]
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b'"only"' in await stream.receive()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            assert b"0 requests, 0 charged" in b"".join([chunk async for chunk in process.stderr])
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()
