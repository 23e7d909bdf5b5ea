"""The output of every script, compared with its output before the refactoring. If one byte differs, a test fails.

The tests only run scripts as subprocesses. They import nothing from the package, so modules can be renamed freely. Text
for people (log lines, errors, help, pages) is not compared. `golden/golden.json` contains hashes and figures.
`golden/old/` contains unfinished work of the earlier version. This version must be able to read and continue that work.

    uv run python tests/test_golden.py

This command measures again, prints the differences and rewrites `golden/golden.json`. Use it after a correction of the
language data or another intended change, and describe the change in the commit message. `golden/old/` is never
generated again, because it represents files that users already have.
"""

import contextlib
import functools
import hashlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "golden.json"
OLD = ROOT / "tests" / "golden" / "old"
TOPICS = ROOT / "topics.json"
DATA = ROOT / "src" / "doric" / "data"
GENERATE = ROOT / "dataset_generation" / "generate_doric_dataset.py"
CONVERT = ROOT / "dataset_generation" / "transform_to_sharegpt.py"
REPORT = ROOT / "dataset_generation" / "report_dataset.py"
WIDEN = ROOT / "dataset_generation" / "generate_topics_via_llm.py"
VALIDATE = ROOT / "validation" / "validate_model.py"
CHAT = ROOT / "modal" / "chat_cli.py"

ENGLISH = "Put the kettle on first, and then wash every cup that you have used, because a clean cup makes better tea."
CENTRAL = (
    "Whit ye need is a gweed dry press for the claes that a wean has. Dinna pit them awa weet, an gie them a wee "
    "shak afore ye faul them. I wid hing them ootside far the win can get at them, an tak them in afore the rain."
)
PORT = "127.0.0.1:PORT"
"""Replaces the address of the test's own server in committed files."""
CHAT_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
TIMES = {"first", "seconds", "times", "date", "hash"}
"""Keys of a scoreboard whose values are times or depend on them."""
WORDS_FOR_PEOPLE = {"error", "errors"}
"""Keys of a scoreboard that contain an error message. The tests compare whether there is an error, not its text."""


# ---- running scripts


def environment(folder: Path, **more: str) -> dict[str, str]:
    """An environment without a key and without an address. Empty variables override the developer's own `.env`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    unset = dict.fromkeys(("VLLM_API_KEY", "VLLM_MODEL", "MODAL_KEY", "MODAL_SECRET"), "")
    return {**kept, **unset, "HOME": str(folder), "XDG_STATE_HOME": str(folder), **more}


def run(folder: Path, script: Path, *args: str, piped: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a script in `folder`, which has no `.env`."""
    return subprocess.run(
        [sys.executable, script, *args],
        cwd=folder,
        env=environment(folder, **env),
        input=piped,
        capture_output=True,
        timeout=120,
    )


def succeeded(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    """Returns `done` if its exit status is 0. Otherwise the test fails and shows the output."""
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done


def sha(data: bytes | str) -> str:
    """The SHA-256 of bytes, or of text as UTF-8, in hex."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def sha_of(value: object) -> str:
    """The SHA-256 of a JSON value in hex. The order of its keys does not matter."""
    return sha(json.dumps(value, ensure_ascii=False, sort_keys=True))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


# ---- a model server whose answers depend only on the request


@dataclass(frozen=True)
class Reply:
    """One answer. A `status` other than 200 is an error. With `broken`, the connection closes before the end."""

    text: str = ""
    finish: str = "stop"
    status: int = 200
    broken: bool = False


class Server(ThreadingHTTPServer):
    """A chat-completions server. `decide` gets the number of a call (from 1) and its body. `asked` keeps all bodies."""

    daemon_threads = True

    def __init__(self, decide: Callable[[int, dict[str, Any]], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.decide, self.asked = decide, []

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.host}/v1"

    def told(self) -> dict[str, Any]:
        """Hashes of the requests sent to the model, in order: the messages alone, and the whole request bodies."""
        messages = [body["messages"] for body in self.asked]
        return {"requests": len(self.asked), "messages": sha_of(messages), "bodies": sha_of(self.asked)}


class Handler(BaseHTTPRequestHandler):
    """Answers in one piece or, if the request asks for it, as a stream of events."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body; otherwise each answer waits 40 ms for an acknowledgement
    server: Server

    def log_message(self, format: str, *_: object) -> None:
        """Do not log requests."""

    def do_GET(self) -> None:
        """The list of models."""
        self.send(200, json.dumps({"object": "list", "data": [{"id": "doric", "max_model_len": 4000}]}).encode())

    def do_POST(self) -> None:
        """One completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        reply = self.server.decide(len(self.server.asked), body)
        if reply.status != 200:
            error = {"message": f"status {reply.status}", "code": "context_length_exceeded"}
            error |= {} if reply.status == 400 else {"code": None}
            self.send(reply.status, json.dumps({"error": error}).encode())
        elif body.get("stream"):
            self.send(200, stream(reply, body), "text/event-stream", broken=reply.broken)
        else:
            whole = completion(reply, body)
            self.send(200, whole[: len(whole) // 2] if reply.broken else whole)

    def send(self, status: int, data: bytes, kind: str = "application/json", *, broken: bool = False) -> None:
        """Write a response. A broken response ends before its announced length."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) + 100 * broken))
        if status in (429, 503):
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = self.close_connection or broken


def usage(reply: Reply, body: dict[str, Any]) -> dict[str, int]:
    """Token counts that are computed from the lengths of the texts."""
    read, written = sum(len(message["content"]) for message in body["messages"]) // 4, len(reply.text) // 3
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def completion(reply: Reply, body: dict[str, Any]) -> bytes:
    """The answer as one JSON object."""
    message = {"role": "assistant", "content": reply.text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish}
    head = {"id": "c", "object": "chat.completion", "created": 0, "model": body["model"]}
    return json.dumps({**head, "choices": [choice], "usage": usage(reply, body)}).encode()


def stream(reply: Reply, body: dict[str, Any]) -> bytes:
    """The answer as events, one per word. A broken answer has no end."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
    deltas = [{"content": piece} for piece in re.findall(r"\S+\s*|\s+", reply.text)]
    events: list[dict] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if not reply.broken:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish}]})
        events.append({"choices": [], "usage": usage(reply, body)})
    lines = [json.dumps({**head, **event}) for event in events] + ([] if reply.broken else ["[DONE]"])
    return "".join(f"data: {line}\n\n" for line in lines).encode()


@contextlib.contextmanager
def serving(decide: Callable[[int, dict[str, Any]], Reply]) -> Iterator[Server]:
    """Run a `Server` on a separate thread."""
    server = Server(decide)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def draw(*parts: object) -> int:
    """A large number that depends only on `parts`."""
    return int(sha_of(parts)[:12], 16)


# ---- 1: a dataset without a model


def dataset(folder: Path) -> dict[str, Any]:
    """Write 3,072 rows to `folder`/out.jsonl. Returns hashes of the files and the figures of the summary."""
    shutil.copy(TOPICS, folder / "topics.json")
    flags = "--topics-json topics.json --out out.jsonl --n-per-topic 6 --adv-ratio 0.1 --safety-ratio 0.05"
    done = succeeded(
        run(folder, GENERATE, *flags.split(), *["--multi-ratio", "0.2", "--max-concurrency", "50", "--no-progress"])
    )
    return {**dataset_files(folder), "summary": summary(done.stderr.decode(), folder / "out.jsonl")}


def dataset_files(folder: Path) -> dict[str, Any]:
    """Hashes of a run's three files in `folder`. Only the hash of `rejected` depends on the wording of the reasons."""
    path = folder / "out.jsonl.rejected.jsonl"  # without rejections there is no such file
    rejected = rows_of(path) if path.exists() else []
    return {
        "rows": sha((folder / "out.jsonl").read_bytes()),
        "rejected": sha(path.read_bytes() if path.exists() else b""),
        "rejected_without_reasons": sha_of([{**row, "reason": ""} for row in rejected]),
        "plan": sha(plan_without_data(folder / "out.jsonl.plan.json")),
    }


def plan_without_data(path: Path) -> bytes:
    """A plan without the hashes of the language data, which explain a difference and make none."""
    plan = json.loads(path.read_bytes())
    kept = {key: value for key, value in plan.items() if key != "data"}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def summary(text: str, out: Path) -> dict[str, Any]:
    """The figures in the summary of a run. They are found by the names of buckets and gates, not by the other words."""
    rejected = Counter(row["gate"] for row in rows_of(Path(f"{out}.rejected.jsonl")))
    names = ["core", "multi", "adv", "safety", *sorted(rejected)]
    found = {name: re.search(rf"\b{name}\W{{0,3}}([\d,]+)", text) for name in names}
    return {
        "rows": sorted({number(pair) for pair in re.findall(r"[\d,]*\d", text) if number(pair) == len(rows_of(out))}),
        "named": {name: number(match[1]) if match else None for name, match in found.items()},
        "tries": [[share, int(tries)] for share, tries in re.findall(r"([\d.]+)%\D+(\d+)", text)],
    }


def number(text: str) -> int:
    """The value of a number that is written for people.

    >>> number("3,072")
    3072
    """
    return int(text.replace(",", ""))


# ---- 2: a dataset from a model


def pool(folder: Path, kind: str) -> list[str]:
    """Answers of one kind from the dataset in `folder`, in its order. The model server sends them."""
    return [row["messages"][-1]["content"] for row in rows_of(folder / "out.jsonl") if row["meta"]["kind"] == kind]


LAST_CALL = 68
"""The first call for the last row. The faults of the server start here, because no other row can take their place."""
SERVER_FAULTS = {LAST_CALL: Reply(status=429), LAST_CALL + 1: Reply(status=503), LAST_CALL + 2: Reply("x", broken=True)}
REFUSED = {
    2: Reply(CENTRAL),
    3: Reply(CENTRAL + " Noo."),
    7: Reply(""),
    11: Reply("", "content_filter"),
    13: Reply("<think>Hm, Doric.", "length"),
    17: Reply(ENGLISH),
}
"""Call -> an answer that is rejected. Each answer is rejected for another reason."""


def model_answers(core: Sequence[str], safety: Sequence[str]) -> Callable[[int, dict[str, Any]], Reply]:
    """Authored answers one after the other. They include every kind of rejected answer and every kind of fault."""
    cores, refusals, given = iter(core), iter(safety), []

    def decide(call: int, body: dict[str, Any]) -> Reply:
        if call in SERVER_FAULTS or call in REFUSED:
            return SERVER_FAULTS.get(call) or REFUSED[call]
        if call == 21:
            return Reply(given[-1])
        if call == 25:
            return Reply(given[-1][:60].rsplit(" ", 1)[0], "length")
        rules = body["messages"][0]["content"]
        text = next(refusals if "something harmful" in rules else cores)
        needed = ' "This is the plain English of it."' if "needs English for a good reason" in rules else ""
        given.append(text + needed)
        return Reply(f"<think>Aye, in Doric.</think>\n{given[-1]}" if call == 29 else given[-1])

    return decide


def with_a_model(folder: Path, answers: Path) -> dict[str, Any]:
    """Write 60 rows with a model that also gives bad answers. Returns hashes of the files and of every request."""
    shutil.copy(OLD / "dataset" / "topics.txt", folder)
    flags = "--topics topics.txt --out out.jsonl --backend openai --model doric --max-concurrency 1 --seed 3"
    flags += " --ask-mix need=0"  # no answer of the pool gives the English that somebody needs
    with serving(model_answers(pool(answers, "core")[::7], pool(answers, "safety"))) as server:
        done = succeeded(run(folder, GENERATE, *flags.split(), "--no-progress", "--base-url", server.url))
    return {
        **dataset_files(folder),
        "summary": summary(done.stderr.decode(), folder / "out.jsonl"),
        "told": server.told(),
        "gates": dict(Counter(row["gate"] for row in rows_of(folder / "out.jsonl.rejected.jsonl"))),
    }


# ---- 3: ShareGPT


def sharegpt(folder: Path, rows: Path) -> dict[str, str]:
    """Hashes of the dataset `rows` as ShareGPT, with and without its meta."""
    succeeded(run(folder, CONVERT, "--input", str(rows), "--output", "with.jsonl"))
    succeeded(run(folder, CONVERT, "--input", str(rows), "--output", "without.jsonl", "--drop-meta"))
    return {
        "with_meta": sha((folder / "with.jsonl").read_bytes()),
        "drop_meta": sha((folder / "without.jsonl").read_bytes()),
    }


# ---- 4: a scoreboard


LAST_TURN = 40
"""The call for the last turn of `ours`. A fault of the server is sent here, because no other turn can be asked then."""


def examined(answers: Sequence[str], *, lost: bool) -> Callable[[int, dict[str, Any]], Reply]:
    """The models `ours`, `theirs` and `judge`. Each answer depends only on the request.

    With `lost`, one turn in eleven of `ours` gets an error that a retry cannot fix, and one call gets an error that a
    retry can fix.
    """

    def decide(call: int, body: dict[str, Any]) -> Reply:
        if lost and call == LAST_TURN and body["model"] == "ours":
            return Reply(status=503)
        chosen = draw(body["model"], body["messages"])
        if body["model"] == "judge":
            criteria = ("naturalness", "correctness", "doric", "overall")
            picks = {name: ("A", "B", "tie")[draw(chosen, name) % 3] for name in criteria}
            return Reply("I canna tell." if chosen % 9 == 0 else json.dumps(picks))
        if lost and body["model"] == "ours" and chosen % 11 == 0:
            return Reply(status=400)
        if chosen % 5 == 0 or (body["model"] == "theirs" and chosen % 5 == 1):
            return Reply(ENGLISH)
        text = answers[chosen % len(answers)]
        return Reply(text[: len(text) // 2], "length") if chosen % 7 == 0 else Reply(text)

    return decide


def validate(folder: Path, server: Server, limit: int) -> dict[str, Any]:
    """Evaluate `ours` with the baseline `theirs` and the judge `judge`. Returns the scoreboard without times."""
    flags = "--model ours --baseline theirs --judge-model judge --concurrency 1 --out board.json --limit"
    succeeded(run(folder, VALIDATE, *flags.split(), str(limit), "--base-url", server.url))
    return timeless(json.loads((folder / "board.json").read_text("utf-8")), server.host)


def timeless(value: Any, host: str) -> Any:
    """A scoreboard or a line of a journal without times, ports and error messages."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in TIMES | WORDS_FOR_PEOPLE}
        errors = {key: bool(value[key]) for key in WORDS_FOR_PEOPLE & value.keys()}
        return {key: timeless(inner, host) for key, inner in kept.items()} | errors
    if isinstance(value, list):
        return [timeless(inner, host) for inner in value]
    return value.replace(host, PORT) if isinstance(value, str) else value


def board_figures(board: dict[str, Any]) -> dict[str, Any]:
    """The main figures of a scoreboard, and hashes of its parts."""
    return {
        "keys": sorted(board),
        "all": {name: board["all"][name]["value"] for name in ("passes", "holds_doric", "points", "on_topic")},
        "asked": {name: bucket["asked"] for name, bucket in board["buckets"].items()},
        "calls": board["calls"],
        "judge": {name: board["judge"][name] for name in ("pairs", "forfeits", "judged", "failed")},
        "parts": {key: sha_of(value) for key, value in board.items()},
    }


def scoreboard(folder: Path, answers: Path) -> dict[str, Any]:
    """Compare two models with a judge. Returns hashes of the scoreboard, the three journals and every request."""
    with serving(examined(pool(answers, "core"), lost=True)) as server:
        board = validate(folder, server, 24)
    names = ("answers", "baseline", "judge")
    paths = {name: folder / f"board.json.{name}.jsonl" for name in names}
    plans = {name: json.loads(Path(f"{path}.plan.json").read_text("utf-8")) for name, path in paths.items()}
    return {
        "board": board_figures(board),
        "journals": {name: sha_of(timeless(rows_of(path), server.host)) for name, path in paths.items()},
        "plans": {
            name: timeless({key: value for key, value in plan.items() if key != "asked"}, server.host)
            for name, plan in plans.items()
        },
        "told": server.told(),
    }


# ---- 5: a chat


def chatting(_: int, body: dict[str, Any]) -> Reply:
    """A model that counts the messages. If the message is `brak aff`, its answer breaks off in the middle."""
    question = body["messages"][-1]["content"]
    if question == "brak aff":
        return Reply("Aye weel, I wis jist", broken=True)
    return Reply(f"Ye've said {len(body['messages'])} things — the last: «{question}».\nFoo's yer doos?")


class Talk:
    """A chat in a pseudo-terminal. Tests wait for the state of the server and the files, not for text on the screen."""

    def __init__(self, home: Path, server: Server, *args: str) -> None:
        self.fd, theirs = pty.openpty()
        more = {"VLLM_URL": f"http://{server.host}", "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.shown = b""
        self.process = subprocess.Popen(
            [sys.executable, CHAT, *args], cwd=home, stdin=theirs, stdout=theirs, stderr=theirs,
            env=environment(home, **more), start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.until(lambda: self.prompts == 1)

    @property
    def prompts(self) -> int:
        """How many prompts were opened. Each prompt switches bracketed paste on."""
        return self.shown.count(b"\x1b[?2004h")

    def until(self, true: Callable[[], bool]) -> None:
        """Read until a condition holds, for at most 30 seconds."""
        end = time.monotonic() + 30
        while not true():
            assert time.monotonic() < end, self.shown[-1000:]
            if select.select([self.fd], [], [], 0.05)[0]:
                self.shown += os.read(self.fd, 65536)

    def say(self, line: str) -> None:
        """Type a line and wait for the next prompt."""
        before = self.prompts
        os.write(self.fd, line.encode() + b"\r")
        self.until(lambda: self.prompts > before)

    def leave(self) -> int:
        """Press Ctrl-D. Returns the exit status."""
        os.write(self.fd, b"\x04")
        with contextlib.suppress(OSError):  # when the process has closed the terminal, reading from it fails
            self.until(lambda: self.process.poll() is not None)
        status = self.process.wait(30)
        os.close(self.fd)
        return status


def kept_chats(home: Path) -> list[Path]:
    """The files of saved chats, sorted by name."""
    return sorted((home / "doric" / "chats").glob("*.jsonl"))


def nameless(path: Path) -> str:
    """The file of a chat, with its id replaced. The id depends on the time and is partly random."""
    return CHAT_ID.sub("ID", path.read_text("utf-8"))


def chat(folder: Path) -> dict[str, Any]:
    """Ask one question from a pipe, then have a chat with a system prompt, a broken answer and a saved row."""
    with serving(chatting) as server:
        piped = succeeded(run(folder, CHAT, piped=b"Fit like?\nAn you?", VLLM_URL=f"http://{server.host}"))
        left = len(kept_chats(folder))
        talk = Talk(folder, server, "--system", "Spik Doric.", "--set", "temperature=0.3")
        for line in ("Fit like?", "brak aff", "An noo — «aye»?", "/save saved.jsonl"):
            talk.say(line)
        status = talk.leave()
    (kept,) = kept_chats(folder)
    return {
        "answer": sha(piped.stdout),
        "kept_after_one_question": left,
        "status": status,
        "kept": sha(nameless(kept)),
        "saved": sha(nameless(folder / "saved.jsonl")),
        "told": server.told(),
    }


# ---- 6: topics


def suggestions(groups: dict[str, list[str]]) -> Callable[[int, dict[str, Any]], Reply]:
    """A model that suggests the remaining topics of each group in turn, and some topics that must be rejected."""
    rest = {name: iter(topics) for name, topics in groups.items()}

    def decide(call: int, body: dict[str, Any]) -> Reply:
        asked = json.loads(body["messages"][-1]["content"])
        if call == 2:
            return Reply("I have no list for you.")
        new = [topic for _, topic in zip(range(asked["wanted"] // 2), rest[asked["group"]], strict=False)]
        new += [asked["examples"][0], "kale", "A Headline About The Best Kale In Town"]
        return Reply("\n".join(f"{at}. {topic}" for at, topic in enumerate(new, 1)) if call == 3 else json.dumps(new))

    return decide


def topics(folder: Path) -> dict[str, Any]:
    """Add six topics to each of three groups. Returns hashes of the list and of every request."""
    whole = json.loads(TOPICS.read_text("utf-8"))["groups"]
    few = {name: whole[name][:4] for name in list(whole)[:3]}
    (folder / "topics.json").write_text(json.dumps({"groups": few}, indent=2), "utf-8")
    flags = "--input topics.json --output wide.json --per-group 6 --max-concurrency 1 --seed 3 --model doric"
    with serving(suggestions({name: whole[name][4:] for name in few})) as server:
        succeeded(run(folder, WIDEN, *flags.split(), "--base-url", server.url))
    return {"list": sha((folder / "wide.json").read_bytes()), "told": server.told()}


# ---- 7: work of the earlier version


OLD_FLAGS = ["--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", "6", "--no-progress"]


def resumed_dataset(folder: Path) -> dict[str, Any]:
    """Continue the old dataset, 40 of 60 rows, in `folder`/resumed. Returns its hashes, and what became of its rows."""
    resumed = folder / "resumed"
    shutil.copytree(OLD / "dataset", resumed)
    succeeded(run(resumed, GENERATE, *OLD_FLAGS))
    before, after = ((each / "out.jsonl").read_bytes() for each in (OLD / "dataset", resumed))
    ids = [row["meta"]["id"] for row in rows_of(resumed / "out.jsonl")]
    return {**dataset_files(resumed), "kept": after.startswith(before), "rows_in_file": len(ids), "ids": len(set(ids))}


def resumed_validation(folder: Path, name: str, answers: Sequence[str]) -> dict[str, Any]:
    """Continue the old validation `name`. Returns its scoreboard, and the number of requests to each model."""
    with serving(examined(answers, lost=False)) as server:
        copy_served(OLD / name, folder, server)
        board = validate(folder, server, 12)
    return {"board": board_figures(board), "asked": dict(Counter(body["model"] for body in server.asked))}


def copy_served(old: Path, folder: Path, server: Server) -> None:
    """Copy old files and replace the address in them with the address of this server."""
    for path in old.iterdir():
        (folder / path.name).write_text(path.read_text("utf-8").replace(PORT, server.host), "utf-8")


def old_chats(folder: Path) -> list[Path]:
    """Copy the old chats to a state folder. The first chat gets the oldest modification time."""
    shutil.copytree(OLD / "chats", folder / "doric" / "chats")
    for age, path in enumerate(kept_chats(folder)):
        os.utime(path, (1_700_000_000 + age, 1_700_000_000 + age))
    return kept_chats(folder)


def resumed_chat(folder: Path) -> dict[str, Any]:
    """Ask a question in the last old chat with --resume, and a question in the first old chat with /load."""
    first, *_, last = old_chats(folder)
    with serving(chatting) as server:
        succeeded(run(folder, CHAT, "--resume", "An fit noo?", VLLM_URL=f"http://{server.host}"))
        talk = Talk(folder, server)
        talk.say(f"/load {first}")
        talk.say("Aye?")
        assert talk.leave() == 0
    return {
        "last": sha(last.read_bytes()),
        "first": sha(first.read_bytes()),
        "files": len(kept_chats(folder)),
        "told": server.told(),
    }


def converted_chats(folder: Path) -> dict[str, Any]:
    """Convert the old chats to ShareGPT."""
    lines = "".join(path.read_text("utf-8") for path in sorted((OLD / "chats").glob("*.jsonl")))
    (folder / "chats.jsonl").write_text(lines, "utf-8")
    succeeded(run(folder, CONVERT, "--input", "chats.jsonl", "--output", "sharegpt.jsonl"))
    return {"rows": len(rows_of(folder / "sharegpt.jsonl")), "hash": sha((folder / "sharegpt.jsonl").read_bytes())}


# ---- all measurements


def measured_part(name: str, folder: Path, large: Path) -> dict[str, Any]:
    """One part of `golden.json`, measured in `folder`. `large` is the folder of the large dataset."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "with_a_model": lambda: with_a_model(folder, large),
        "sharegpt": lambda: sharegpt(folder, large / "out.jsonl"),
        "scoreboard": lambda: scoreboard(folder, large),
        "chat": lambda: chat(folder),
        "topics": lambda: topics(folder),
        "resumed_dataset": lambda: resumed_dataset(folder),
        "resumed_validation": lambda: resumed_validation(folder, "validation", pool(large, "core")),
        "resumed_judge": lambda: resumed_validation(folder, "judge", pool(large, "core")),
        "resumed_chat": lambda: resumed_chat(folder),
        "converted_chats": lambda: converted_chats(folder),
    }
    return makers[name]()


PARTS = (
    "with_a_model", "sharegpt", "scoreboard", "chat", "topics", "resumed_dataset", "resumed_validation",
    "resumed_judge", "resumed_chat", "converted_chats",
)  # fmt: skip


SERVERS = ("prices.toml", "server_errors.toml")
"""Data files about servers, not about the language."""


def language_data() -> str:
    """A hash of the files that a Doric speaker may correct: sentences, words, prompts and rules."""
    files = [path for path in DATA.rglob("*") if path.suffix in (".toml", ".tsv", ".txt", ".jsonl")]
    names = sorted(str(path.relative_to(DATA)) for path in files if path.name not in SERVERS)
    return sha_of([[name, sha((DATA / name).read_bytes())] for name in names])


@functools.cache
def golden() -> dict[str, Any]:
    """The values measured before the refactoring."""
    return json.loads(GOLDEN.read_text("utf-8"))


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The folder of the large dataset, and the values measured from it."""
    folder = tmp_path_factory.mktemp("large")
    return folder, dataset(folder)


@pytest.fixture
def measured(tmp_path, large) -> Callable[[str], dict[str, Any]]:
    """A function that measures a part in the folder of the test."""
    return lambda name: measured_part(name, tmp_path, large[0])


@pytest.fixture
def same_data() -> None:
    """Skips the test if the language data has changed, because other sentences give other rows."""
    if language_data() != golden()["language_data"]:
        pytest.skip("the language data has changed since the hashes were measured")


def test_the_hashes_were_measured_with_this_language_data():
    """If the language data has changed, this test fails and names the command that measures the hashes again."""
    command = "uv run python tests/test_golden.py"
    assert language_data() == golden()["language_data"], f"src/doric/data has changed. Measure again: {command}"


@pytest.mark.usefixtures("same_data")
def test_a_dataset_of_the_embedded_voice_keeps_its_bytes(large):
    """A run with a seed and without a model writes the same rows, rejections and plan, and reports the same figures."""
    assert large[1] == golden()["dataset"]


@pytest.mark.usefixtures("same_data")
def test_a_dataset_from_a_model_keeps_its_bytes_and_requests(measured):
    """If a model gives the same answers, the rows, the rejections and every request to the model are the same."""
    assert measured("with_a_model") == golden()["with_a_model"]


@pytest.mark.usefixtures("same_data")
def test_sharegpt_keeps_its_bytes(measured):
    """The converter writes the same conversations for the same rows, with and without meta."""
    assert measured("sharegpt") == golden()["sharegpt"]


@pytest.mark.usefixtures("same_data")
def test_a_scoreboard_keeps_its_figures_journals_and_requests(measured):
    """The same answers give the same scoreboard, journals and requests to the models and the judge."""
    assert measured("scoreboard") == golden()["scoreboard"]


def test_a_chat_keeps_its_file_and_requests(measured):
    """If a chat gets the same answers, it is stored and saved as the same bytes, and the requests are the same."""
    assert measured("chat") == golden()["chat"]


def test_widened_topics_keep_their_bytes_and_requests(measured):
    """The same suggestions give the same topic list and the same requests for each group."""
    assert measured("topics") == golden()["topics"]


@pytest.mark.usefixtures("same_data")
def test_an_old_unfinished_dataset_is_completed(measured):
    """A dataset that the earlier version left at 40 of 60 rows keeps these rows to the byte and gets the other 20."""
    found = measured("resumed_dataset")
    assert (found["kept"], found["rows_in_file"], found["ids"]) == (True, 60, 60)
    assert found == golden()["resumed_dataset"]


def test_an_old_unfinished_dataset_gets_a_report(tmp_path):
    """The rows and rejections of the earlier version can be shown as an HTML page."""
    shutil.copytree(OLD / "dataset", tmp_path, dirs_exist_ok=True)
    succeeded(run(tmp_path, REPORT, "--input", "out.jsonl", "--out", "page.html"))
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert re.search(r"\b40\b", page)


@pytest.mark.usefixtures("same_data")
def test_an_old_unfinished_validation_asks_only_what_is_missing(measured):
    """A journal of the earlier version is continued: only turns without an answer are asked again."""
    found = measured("resumed_validation")
    answered = {(row["id"], row["turn"]) for row in rows_of(OLD / "validation" / "board.json.answers.jsonl")
                if not row["error"]}  # fmt: skip
    assert found["asked"]["ours"] == found["asked"]["theirs"] - len(answered)
    assert found == golden()["resumed_validation"]


@pytest.mark.usefixtures("same_data")
def test_an_old_unfinished_judgement_asks_only_what_is_missing(measured):
    """If the old journals have all answers but lack some verdicts, only the judge is asked for those verdicts."""
    found = measured("resumed_judge")
    readable = [row for row in rows_of(OLD / "judge" / "board.json.judge.jsonl") if not row["error"]]
    assert found["asked"] == {"judge": 2 * 12 - len(readable)}
    assert found == golden()["resumed_judge"]


def test_an_old_chat_is_resumed_and_loaded(measured):
    """--resume continues the last chat of the earlier version, /load an earlier chat, and each keeps its own file."""
    assert measured("resumed_chat") == golden()["resumed_chat"]


def test_old_chats_become_conversations(measured):
    """Chats saved by the earlier version are converted to ShareGPT, except the chat with a partial answer."""
    assert measured("converted_chats") == golden()["converted_chats"]


# ---- measuring again


def differences(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """Each position where two JSON values differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))
    elif old != new:
        yield f"{at}: {json.dumps(old)} -> {json.dumps(new)}"


def regenerate() -> None:
    """Measure every part, print the differences from `golden.json`, and write the new values."""
    with tempfile.TemporaryDirectory() as place:
        large = Path(place, "dataset")
        large.mkdir()
        found = {"language_data": language_data(), "dataset": dataset(large)}
        for name in PARTS:
            folder = Path(place, name)
            folder.mkdir()
            found[name] = measured_part(name, folder, large)
    changes = list(differences(golden() if GOLDEN.exists() else {}, found))
    GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print("\n".join(changes) or "nothing changed")


if __name__ == "__main__":
    regenerate()
