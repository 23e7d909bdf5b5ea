"""Every command that README.md shows is run, in a copy of the repository, or named here with the test that runs it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mock_server import Behaviour, Call, serving
from test_generate_topics_via_llm import fresh_topics

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "./check": "this very run: .ci/run calls it",
    "./journey.sh": "half an hour long, run by hand: each of its steps has a test of its own",
    "uv run --group finetune python finetune_notebook/run_notebook.py": "tests/test_run_notebook.py, with three steps",
    "cd modal": "tests/test_vllm_doric.py, against a recorder, and tests/test_chat_cli.py, in a terminal",
    "uv run python chat_cli.py": "tests/test_chat_cli.py, in a pseudo-terminal",
    "uv run modal": "tests/test_vllm_doric.py, against a recorder",
    "uv run --group vllm vllm serve": "its arguments need a GPU; modal/README.md has the CPU's, run by hand",
}
"""How a command begins that is not run here -> what runs it."""


def commands() -> list[str]:
    """The commands in README's shell blocks, continuation lines joined, comments dropped."""
    lines = "\n".join(BLOCK.findall(README)).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


RUN_HERE = [command for command in commands() if not command.startswith(tuple(ELSEWHERE))]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository as a new user has it, in a folder of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    folder = tmp_path_factory.mktemp("readme") / "doric"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def server():
    topics = fresh_topics()

    def answer(call: Call) -> str:
        return topics(call) if "response_format" in call.body else "Haud it dry an cweel, an ye'll nae gyang far wrang."

    with serving(Behaviour(), answer=answer) as running:
        yield running


def as_argv(command: str, url: str) -> list[str]:
    """The command with this Python for uv's, and the mock server for whichever server README names."""
    argv = [sys.executable if word == "python" else word for word in shlex.split(command)]
    if argv[:2] == ["uv", "run"]:
        argv = argv[2:]
    return [url if word.startswith("http://localhost") else word for word in argv]


def test_readme_shows_commands():
    """README holds the two commands that a new user starts with."""
    assert any(one.startswith("uv run python dataset_generation/generate_doric_dataset.py") for one in commands())
    assert "./check" in commands()


@pytest.mark.parametrize("command", RUN_HERE)
def test_every_command_in_readme_runs(command, copy, server):
    """A command copied from README ends well, from top to bottom, on a fresh copy of the repository."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "MODEL"))}
    environ |= (
        {"PYTHONPATH": str(copy / "src"), "OPENAI_API_KEY": "not-a-real-key"}
        if ("--backend openai" in command)
        else {"PYTHONPATH": str(copy / "src")}
    )
    done = subprocess.run(
        as_argv(command, server.url), cwd=copy, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("start", ELSEWHERE)
def test_no_stand_in_without_a_command(start):
    """What is said to be run elsewhere is still in README."""
    assert any(command.startswith(start) for command in commands())


def test_local_servers_listen_to_this_machine_only():
    """Every `vllm serve` that a README shows is bound to 127.0.0.1: vLLM would answer the whole network."""
    for page in (README, (ROOT / "modal" / "README.md").read_text("utf-8")):
        served = [line for block in BLOCK.findall(page) for line in block.splitlines() if "vllm serve " in line]
        assert served
        assert [line for line in served if "--host 127.0.0.1" not in line] == []


def test_ci_runs_readmes_own_test_command():
    """.ci/run ends in the command that README gives for the tests."""
    assert "exec ./check" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_check_runs_the_tests_with_the_packages_that_fine_tune():
    """The notebook's own tests are part of ./check, not skipped; README names the light way beside it."""
    assert "uv run --group finetune pytest" in (ROOT / "check").read_text("utf-8")
    assert "`uv run pytest` is the light way" in README


def test_links_in_readme_lead_somewhere():
    """Each relative link of README names a file of this repository."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_row_that_readme_shows_is_a_row_of_the_dataset(tmp_path):
    """README's chat is one that its first command writes, word for word."""
    command = next(one for one in commands() if "generate_doric_dataset.py --topics-json" in one)
    argv = [
        word if word != "datasets/doric_synth.jsonl" else str(tmp_path / "rows.jsonl") for word in as_argv(command, "")
    ]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "MODEL"))}
    subprocess.run(argv, cwd=ROOT, env=environ | {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}, check=True)
    quoted = " ".join(line.removeprefix("> ") for line in README.splitlines() if line.startswith(">"))
    asked, answered = re.findall(r"\*\*You:\*\* (.*?) > \*\*A row of the dataset:\*\* (.*?)(?= \*\*You|$)", quoted)[0]
    rows = [json.loads(line)["messages"] for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert (asked, answered) in [(first["content"], second["content"]) for first, second in rows]
