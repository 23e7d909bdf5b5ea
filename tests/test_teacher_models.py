"""The teacher's model before a GPU is paid for: the form of its name, and what the Hugging Face Hub says about it."""

import argparse
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from doric.core.errors import SettingsError
from doric.teacher.models import HubModel, check_on_hub, model_name

COMMIT = "c0ffee" * 6
FILES = ("config.json", "model.safetensors", "tokenizer.json")
TOKEN = "hf_testtoken"


class Hub(BaseHTTPRequestHandler):
    """Answers with the server's status, code and model. A file is given to those whose token is `allowed`."""

    def do_GET(self) -> None:
        server = self.server
        server.asked.append((self.path, self.headers.get("Authorization", "")))
        status, headers, body = server.status, server.headers, json.dumps(server.model).encode()
        if "/resolve/" in self.path:
            status, body = (200 if server.allowed else 403), json.dumps(server.config).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:
        pass


@contextmanager
def hub(
    status: int = 200,
    code: str = "",
    files: tuple[str, ...] = FILES,
    allowed: bool = True,
    config: object = None,
    **facts: object,
) -> Generator[ThreadingHTTPServer]:
    """A Hub that has one model with these files and facts, or answers with a status and an X-Error-Code."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.status, server.headers, server.allowed, server.asked = status, {"X-Error-Code": code}, allowed, []
        server.config = config
        siblings = [{"rfilename": name} for name in files]
        server.model = {"sha": COMMIT, "gated": False, "private": False, "siblings": siblings, **facts}
        server.variables = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}/"}
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-4B-Instruct-2507", "acme/a", "a_b/c.d", "/models/teacher", "/models/a/b/"]
)
def test_names_of_models_and_folders_of_the_volume(name):
    """A repository of the Hub and a folder of the Volume are accepted."""
    assert model_name(name) == name.rstrip("/")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("gpt-6.1-terra", "OWNER/NAME"),
        ("", "OWNER/NAME"),
        ("Qwen/", "OWNER/NAME"),
        ("Qwen/Qwen3 4B", "OWNER/NAME"),
        ("a/b/c", "OWNER/NAME"),
        ("a/b--c", "OWNER/NAME"),
        ("https://huggingface.co/Qwen/Qwen3-4B/tree/main", "write Qwen/Qwen3-4B"),
        ("hf.co/Qwen/Qwen3-4B", "write Qwen/Qwen3-4B"),
        ("Qwen/Qwen3-4B:latest", "write Qwen/Qwen3-4B; a commit goes into --revision"),
        ("Qwen/Qwen3-4B@main", "write Qwen/Qwen3-4B; a commit goes into --revision"),
        ("./merged", "modal volume put"),
        ("/home/me/merged", "modal volume put"),
        ("~/merged", "modal volume put"),
        ("C:\\merged", "modal volume put"),
        ("/models", "modal volume put"),
        ("/models/../etc", "modal volume put"),
    ],
)
def test_what_is_no_name_is_refused_with_a_remedy(name, remedy):
    """Names of other providers, addresses, tags and local folders are refused, each with what to write instead."""
    with pytest.raises(argparse.ArgumentTypeError, match="is not a model of the Hugging Face Hub") as error:
        model_name(name)
    assert remedy in str(error.value)


def test_a_public_model_has_its_commit():
    """The Hub is asked for the revision without a token, and names the commit."""
    with hub() as server:
        assert check_on_hub("acme/teacher", "", server.variables) == HubModel(COMMIT, False, 0.0)
        assert check_on_hub("acme/teacher", "refs/pr/1", server.variables).commit == COMMIT
    asked = [path.rpartition("/")[2] for path, _ in server.asked]
    assert asked == ["main", "config.json", "refs%2Fpr%2F1", "config.json"]
    assert {key for _, key in server.asked} == {""}


@pytest.mark.parametrize(
    ("answer", "token", "message", "hint"),
    [
        ({"status": 401, "code": "RepoNotFound"}, "", "does not know the model acme/teacher, or", "HF_TOKEN in .env"),
        ({"status": 404, "code": "RepoNotFound"}, TOKEN, "does not know the model", "give HF_TOKEN access"),
        ({"status": 401}, TOKEN, "refused HF_TOKEN", "Correct it in .env"),
        ({"status": 404, "code": "RevisionNotFound"}, "", "acme/teacher has no revision v9", "--revision"),
        ({"status": 403, "code": "GatedRepo"}, "", "acme/teacher is gated", "Accept its terms"),
        ({"gated": "manual", "allowed": False}, TOKEN, "HF_TOKEN may not download acme/teacher", "Accept its terms"),
        ({"files": ("adapter_config.json", "a.safetensors")}, "", "is a LoRA adapter", "Merge it"),
        ({"files": ("m-Q4.gguf",)}, "", "has GGUF files only", "safetensors"),
        ({"files": ("README.md",)}, "", "has no config.json", "safetensors"),
        ({"files": ("config.json", "m.onnx")}, "", "has no weights", "safetensors"),
    ],
)
def test_a_model_that_cannot_be_served_is_an_error(answer, token, message, hint):
    """What would let every container fail is said at once, with what to do, and the token is in no message."""
    with hub(**answer) as server, pytest.raises(SettingsError) as error:
        check_on_hub("acme/teacher", "v9", {**server.variables, "HF_TOKEN": token})
    assert message in error.value.message
    assert hint in error.value.hint
    assert TOKEN not in error.value.message + error.value.hint


@pytest.mark.parametrize("address", ["http://[", "hf-mirror.com", "https://hf.example:port", "ftp://hf.example"])
def test_a_wrong_address_of_the_hub_is_an_error(address):
    """An HF_ENDPOINT that is no address is named, instead of a traceback or a note that nothing was checked."""
    with pytest.raises(SettingsError, match="HF_ENDPOINT"):
        check_on_hub("acme/teacher", "", {"HF_ENDPOINT": address})


@pytest.mark.parametrize("facts", [{"gated": "auto"}, {"gated": "manual"}, {"private": True}])
def test_a_gated_or_private_model_needs_the_token(facts):
    """Such a model needs HF_TOKEN in the container, with and without a token here that is allowed to see it."""
    with hub(**facts) as server:
        assert check_on_hub("acme/teacher", "", server.variables).needs_token
        assert check_on_hub("acme/teacher", "", {**server.variables, "HF_TOKEN": TOKEN}).needs_token
    assert server.asked[-1] == (f"/acme/teacher/resolve/{COMMIT}/config.json", f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    "answer", [{"status": 500}, {"status": 429}, {"siblings": None}, {"siblings": [{}]}, {"safetensors": [1]}]
)
def test_a_hub_without_an_answer_is_no_error_of_the_user(answer):
    """A Hub that fails, or answers something else, raises OSError, with which the caller goes on."""
    with hub(**answer) as server, pytest.raises(OSError, match=r"^it(s| )"):
        check_on_hub("acme/teacher", "", server.variables)
    with pytest.raises(OSError, match="refused"):
        check_on_hub("acme/teacher", "", {"HF_ENDPOINT": "http://127.0.0.1:9"})


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": None}, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"factor": 8}}, 0),
        ({"max_position_embeddings": "4096"}, 0),
        ({"text_config": None}, 0),
        ([], 0),
        (None, 0),
    ],
)
def test_the_context_of_a_model_is_known_if_it_is_clear(config, context):
    """The context length is that of config.json, unless the positions are stretched or the file says none."""
    with hub(config=config) as server:
        assert check_on_hub("acme/teacher", "", server.variables).context == context


def test_a_public_model_whose_files_are_refused_is_no_error():
    """Without a token, a file that cannot be read says nothing about the model."""
    with hub(allowed=False) as server:
        assert check_on_hub("acme/teacher", "", server.variables) == HubModel(COMMIT, False)


def test_the_token_follows_no_redirect_to_another_host():
    """A redirect to another host is not followed, so that the token goes to no other."""
    with hub() as other, hub(status=307) as server:
        server.headers = {"Location": f"http://localhost:{other.server_port}/x"}
        with pytest.raises(OSError, match="another host"):
            check_on_hub("acme/teacher", "", {**server.variables, "HF_TOKEN": TOKEN})
    assert other.asked == []
