"""Every client against servers whose responses do not end, or unpack to gigabytes: memory, Ctrl-C, calls, no hang."""

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from doric.chat.server import Address, Server
from doric.chat.session import Answer, Model
from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.core.settings import Settings
from doric.evaluation.judge import Pair, PairwiseJudge
from doric.llm.client import ChatRequest, Client
from hostile_server import CASES, MODEL_CASES, HostileServer
from mock_server import Action, Behaviour, MockServer

ROOT = Path(__file__).parents[1]
MEGABYTES = 500
REQUEST = ChatRequest([{"role": "user", "content": "How do I dry washing?"}], max_tokens=50)
TEXT = "Haud the windae open."
ENDLESS = [case for case in CASES if case.startswith("endless") or "bomb" in case]
OTHERS = ("endless_header", "endless_error", "endless_refusal", "x_gzip", "endless_after")
OVERSIZED = [case for case in ENDLESS if not case.startswith(OTHERS)]


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit status, output, and its largest memory in MB."""

    status: int
    output: str
    megabytes: float


def start(args: list[str], server: HostileServer, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OPENAI_API_KEY": "", "VLLM_URL": server.root, "XDG_STATE_HOME": str(folder)}
    command = [sys.executable, *args]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
        )  # fmt: skip


def wait(process: subprocess.Popen[bytes], folder: Path, seconds: float = 120, megabytes: float = 0.0) -> Ended:
    """Wait for the end of a process that has used `megabytes`. After `seconds` it is killed, and the test fails."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    while process.poll() is None:
        megabytes = max(megabytes, peak(process.pid))
        time.sleep(0.01)
    timer.cancel()
    assert process.returncode != -signal.SIGKILL, "it did not end"
    assert megabytes > 0
    return Ended(process.returncode, (folder / "output").read_text("utf-8", "replace"), megabytes)


def peak(pid: int) -> float:
    """The largest memory so far of a running process, in MB; 0 if it has ended.

    Not `ru_maxrss`, which a child process inherits from the process that has started it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def command(client: str, server: HostileServer, folder: Path) -> list[str]:
    out, url = str(folder / "out.jsonl"), ["--base-url", server.url]
    return {
        "chat": ["modal/chat_cli.py", "Fit like?", "--wait", "5"],
        "validator": ["validation/validate_model.py", *url, "--out", f"{folder}/out.json", "--limit", "4"],
        "generator": [
            "dataset_generation/generate_doric_dataset.py", "--backend", "openai", *url,
            "--topics-json", "topics.json", "--n-per-topic", "1", "--out", out, "--max-concurrency", "20",
        ],
        "widener": [
            "dataset_generation/generate_topics_via_llm.py", *url, "--input", "topics.json", "--groups", "money",
            "--output", str(folder / "topics.json"),
        ],
    }[client]  # fmt: skip


@pytest.mark.parametrize("client", ["chat", "validator", "generator", "widener"])
@pytest.mark.parametrize("case", ["endless_body", "gzip_bomb", "endless_line", "long_thoughts"])
def test_no_body_fills_the_memory(tmp_path, client, case):
    """Each command ends by itself, without a traceback, with little memory, and after at most 160 calls.

    One of the answers may pass as an answer to thanks, and an accepted answer doubles the limit of refused ones.
    """
    with HostileServer(case) as server:
        ended = wait(start(command(client, server, tmp_path), server, tmp_path), tmp_path)
    assert ended.megabytes < MEGABYTES
    assert "Traceback" not in ended.output
    assert 1 <= server.calls <= 160


WAITING = [
    (client, case)
    for case in ("byte_by_byte", "stream_byte_by_byte", "slow_comments", "endless_chunks", "long_thoughts", "slow_401")
    for client in ("chat", "validator", "generator", "widener")
    if (client, case) != ("chat", "long_thoughts")  # this body has an end, and one answer is all that the chat wants
]


@pytest.mark.parametrize(("client", "case"), WAITING)
def test_ctrl_c_ends_a_command_at_once(tmp_path, client, case):
    """While bodies arrive without an end, one Ctrl-C ends the command: calls that have begun are not waited for."""
    with HostileServer(case) as server:
        process = start(command(client, server, tmp_path), server, tmp_path)
        while not server.calls and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.3)
        megabytes = peak(process.pid)  # it may end before it can be looked at again
        process.send_signal(signal.SIGINT)
        ended = wait(process, tmp_path, 9, megabytes)  # less than the time for calls without a response
    assert ended.status == 130
    assert ended.megabytes < MEGABYTES
    assert "Traceback" not in ended.output


async def complete(server: HostileServer, *, timed: bool, seconds: float = 30.0) -> str:
    async with Client(Settings("openai", server.url, "m", "OPENAI_API_KEY", ""), timeout=seconds) as client:
        if timed:
            return (await client.complete_timed(REQUEST)).completion.text
        return (await client.complete(REQUEST)).text


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("case", OVERSIZED)
def test_an_answer_without_an_end_is_paid_for_and_not_asked_for_again(case, timed):
    """The error is not retryable, and has the estimated tokens of one call."""
    with HostileServer(case) as server, pytest.raises(ServerError) as caught:
        asyncio.run(complete(server, timed=timed, seconds=60 if case != "endless_continue" else 1))
    error = caught.value
    assert server.calls == 1
    assert isinstance(error, RetryableError) == (case == "endless_continue")
    assert (error.tokens_in, error.counted) == (len("How do I dry washing?") // 3, False)
    assert error.tokens_out in (25, 50)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("endless_after_done", "Aye. Fine."), ("open_after_finish", "Aye."), ("open_after_done", "Aye."),
        ("long_thoughts", TEXT),
    ],
)  # fmt: skip
def test_an_answer_ends_where_the_server_says_so(case, text, timed):
    """An answer is complete at its end mark, whether the connection stays open or goes on sending."""
    with HostileServer(case) as server:
        assert asyncio.run(complete(server, timed=timed)) == text


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("endless_error", RetryableError), ("endless_refusal", FatalServerError), ("endless_header", RetryableError),
        ("endless_headers", RetryableError), ("deep_json", RetryableError), ("unknown_encoding", FatalServerError),
        ("x_gzip_bomb", FatalServerError),
    ],
)  # fmt: skip
def test_other_endless_responses(case, error):
    """An endless error page is the error that its status means, and an endless header is a lost connection."""
    with HostileServer(case) as server, pytest.raises(error):
        asyncio.run(complete(server, timed=False))


@pytest.mark.parametrize("case", ["byte_by_byte", "stream_byte_by_byte", "header_byte_by_byte", "slow_comments"])
def test_the_timeout_is_for_the_whole_call(case):
    """A body, a header or keep-alives that arrive slowly do not restart the timeout."""
    with HostileServer(case) as server, pytest.raises(RetryableError, match="no answer within 1 s"):
        asyncio.run(complete(server, timed=True, seconds=1.0))


def test_healthy_calls_are_answered_meanwhile():
    """While other calls read endless streams, calls to a healthy server do not time out."""

    async def main(url: str) -> list[object]:
        mock = MockServer(Behaviour(latency=0.05), answer=lambda call: TEXT)
        async with (
            mock,
            Client(Settings("openai", url, "m", "OPENAI_API_KEY", ""), timeout=60.0) as bad,
            Client(Settings("openai", mock.url, "m", "OPENAI_API_KEY", ""), timeout=5.0) as good,
        ):
            endless = [asyncio.create_task(bad.complete(REQUEST)) for _ in range(8)]
            texts = [(await good.complete(REQUEST)).text for _ in range(10)]
            return [*texts, *await asyncio.gather(*endless, return_exceptions=True)]

    with HostileServer("endless_chunks") as server:
        found = asyncio.run(main(server.url))
    assert found[:10] == [TEXT] * 10
    assert all(isinstance(error, ServerError) for error in found[10:])


@pytest.mark.parametrize("case", [case for case in MODEL_CASES if case != "models_byte_by_byte"])
def test_an_endless_list_of_models(tmp_path, case):
    """The list of models is read under a limit; then a model must be named."""
    with HostileServer(case) as server:
        for client in ("validator", "chat"):
            ended = wait(start(command(client, server, tmp_path), server, tmp_path), tmp_path)
            assert (ended.status, "Traceback" in ended.output) == (2, False)
            assert ended.megabytes < MEGABYTES


# -- the chat ----------------------------------------------------------------------------------------------------------


def chat(server: HostileServer, wait: float = 5.0) -> tuple[str, Answer]:
    """What the chat gets as the answer to one question."""
    connection = Server(Address(server.root), wait=wait, wanted="doric")
    connection.model = Model("doric")
    answer = Answer()
    return "".join(connection.stream([{"role": "user", "content": "Fit like?"}], {}, answer)), answer


@pytest.mark.parametrize("case", [case for case in OVERSIZED if case != "endless_continue"])
def test_the_chat_reads_no_answer_without_an_end(case):
    """An answer without an end breaks off with an error, and what was received can be saved."""
    with HostileServer(case) as server, pytest.raises(RetryableError, match="the rest was not read"):
        chat(server, wait=60.0)
    assert server.calls == 1


@pytest.mark.parametrize("case", ["endless_after_done", "open_after_finish", "open_after_done"])
def test_the_chat_ends_where_the_server_says_so(case):
    """The answer is complete at its end mark although the connection stays open."""
    with HostileServer(case) as server:
        text, answer = chat(server)
    assert (text.strip(), answer.finish) in (("Aye. Fine.", "stop"), ("Aye.", "stop"), ("Aye.", ""))


@pytest.mark.parametrize("case", ["slow_comments", "stream_byte_by_byte", "byte_by_byte"])
def test_keep_alives_are_no_answer(monkeypatch, case):
    """If only keep-alives or single bytes arrive, the chat stops waiting after the time for a text."""
    monkeypatch.setattr("doric.chat.server.STALL_SECONDS", 1.0)
    with HostileServer(case) as server, pytest.raises(RetryableError, match="it sends no more text"):
        chat(server, wait=1.0)


def test_a_slow_header_counts_against_the_wait():
    """A header that arrives byte by byte does not restart the time to wait for the server."""
    with HostileServer("header_byte_by_byte") as server, pytest.raises(ServerError, match=r"no answer from .* in 1 s"):
        chat(server, wait=1.0)


def test_a_slow_error_page_is_still_an_error(monkeypatch):
    """The status of an error is known, so its page is not waited for without end."""
    monkeypatch.setattr("doric.llm.body.ERROR_SECONDS", 0.5)
    with HostileServer("slow_error") as server:
        with pytest.raises(ServerError, match="400"):
            chat(server)
        with pytest.raises(ServerError, match="400"):
            asyncio.run(complete(server, timed=True))


# -- many calls at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("refused", ["stream_options", "seed", "temperature", "max_tokens"])
def test_a_refused_parameter_does_not_fail_the_calls_in_flight(refused, timed):
    """If a server refuses a parameter while many calls with it are in flight, each of them adapts."""

    async def main() -> list[str]:
        mock = MockServer(Behaviour(refuses=(refused,), latency=0.1), answer=lambda call: TEXT)
        async with mock, Client(Settings("openai", mock.url, "m", "OPENAI_API_KEY", "")) as client:
            request = ChatRequest(REQUEST.messages, 50, seed=7)
            calls = [client.complete_timed(request) if timed else client.complete(request) for _ in range(12)]
            found = await asyncio.gather(*calls)
            return [each.completion.text if timed else each.text for each in found]

    assert asyncio.run(main()) == [TEXT] * 12


def test_many_requests_that_are_too_long_do_not_use_up_the_tokens_for_reasoning():
    """If many calls in flight are refused as too long, the tokens for reasoning are halved once, not once per call."""

    def decide(call):
        return Action("context_400") if call.body.get("max_tokens", 0) > 2500 else None

    async def main() -> list[int]:
        answers = iter(["<think>hm</think>Aye."])
        mock = MockServer(Behaviour(latency=0.1), answer=lambda call: next(answers, TEXT), decide=decide)
        async with mock, Client(Settings("openai", mock.url, "m", "OPENAI_API_KEY", "")) as client:
            await client.complete(REQUEST)  # shows that the model reasons
            await asyncio.gather(*(client.complete(REQUEST) for _ in range(12)))
        return [call.body["max_tokens"] for call in mock.calls]

    sent = asyncio.run(main())
    assert json.dumps(sorted(set(sent))) == json.dumps([50, 50 + 2048, 50 + 4096])


def test_the_judge_asks_for_no_more_verdicts_from_a_model_that_does_not_end():
    """Answers without an end count as refused verdicts, so the brake stops the judge."""
    pairs = [Pair(f"p{number}", "Fit like?", f"Nae bad {number}.", "Fine.") for number in range(20)]

    async def main(url: str) -> None:
        async with Client(Settings("openai", url, "m", "OPENAI_API_KEY", "")) as client:
            await PairwiseJudge(pairs, lambda row: None, max_rejected=3).run(client, concurrency=1)

    with HostileServer("endless_body") as server, pytest.raises(FatalServerError, match="oversized 3"):
        asyncio.run(main(server.url))
    assert server.calls == 3
