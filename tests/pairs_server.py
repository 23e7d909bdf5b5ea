"""A server with the pages "models" and "completions" whose log-probabilities a test chooses, one for each word."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = re.compile(r"\n|[^\s]+\s?")


def by_length(word: str) -> float:
    """The log-probability of a word: the shorter, the more probable."""
    return -float(len(word.strip()))


def echoes(body: dict, logprob: Callable[[str], float]) -> tuple[int, dict]:
    """OpenAI's way: the prompt and one new token, with their log-probabilities if `echo` and `logprobs` are set."""
    tokens = TOKEN.findall(body["prompt"])
    known = [None, *map(logprob, tokens[1:]), -0.5]
    choice = {"text": body["prompt"] + " aye", "logprobs": {"tokens": [*tokens, " aye"], "token_logprobs": known}}
    if not (body.get("echo") and body.get("logprobs")):
        choice = {"text": " aye", "logprobs": None}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": len(tokens), "completion_tokens": 1}}


def own_field(body: dict, logprob: Callable[[str], float]) -> tuple[int, dict]:
    """A vLLM that refuses `echo`, and has `prompt_logprobs`."""
    if "echo" in body:
        return 400, {"error": {"message": "echo is not supported", "type": "invalid_request_error"}}
    tokens = TOKEN.findall(body["prompt"])
    known = [
        None,
        *({str(at): {"logprob": logprob(word), "decoded_token": word}} for at, word in enumerate(tokens[1:])),
    ]
    return 200, {"choices": [{"text": " aye", "logprobs": None, "prompt_logprobs": known}]}


def answers_only(body: dict, logprob: Callable[[str], float]) -> tuple[int, dict]:
    """A server that knows neither field, as llama.cpp: log-probabilities of its answer only."""
    return 200, {"choices": [{"text": " aye", "logprobs": {"tokens": [" aye"], "token_logprobs": [-0.5]}}]}


def no_page(body: dict, logprob: Callable[[str], float]) -> tuple[int, dict]:
    """A server without the page."""
    return 404, {"detail": "Not Found"}


@contextmanager
def pairs_server(
    way: Callable[[dict, Callable[[str], float]], tuple[int, dict]] = echoes,
    logprob: Callable[[str], float] = by_length,
    *,
    faults: int = 0,
) -> Iterator[tuple[str, list[dict]]]:
    """The base URL of a server, and the bodies that it has received. The first `faults` requests get status 503."""
    bodies: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send(200, {"data": [{"id": "tiny"}]})

        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            down = len(bodies) <= faults
            self.send(*((503, {"error": {"message": "starting"}}) if down else way(bodies[-1], logprob)))

        def send(self, status, answer):
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
