"""Runs each command of README.md in a copy of the repository, except the commands that are listed in this file."""

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
from test_expand import fresh_topics

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = {
    "./check": "runs these tests; .ci/run calls it",
    "./journey.sh": "takes half an hour and is run by hand; each of its steps has its own test",
    "uv run --group finetune python finetune_notebook/finetune.py": "tests/test_finetune_command.py, with a small one",
    "uv run --group finetune python validation/score_minimal_pairs.py": "tests/test_minimal_pairs.py, a tiny model",
    "uv run --group docs mkdocs build": "needs the group docs; tests/test_house.py checks its list of pages",
    "cd modal": "tests/test_vllm_doric.py, against a recorder, and tests/test_chat_cli.py, in a terminal",
    "uv run python chat_cli.py": "tests/test_chat_cli.py, in a pseudo-terminal",
    "uv run modal": "tests/test_vllm_doric.py, against a recorder",
    "uv run --group vllm vllm serve": "needs a GPU; the CPU version in modal/README.md is run by hand",
}
"""The start of each command that is not run here -> the test that runs it, or the reason."""


def commands() -> list[str]:
    """The commands in the shell blocks of README, with continuation lines joined and comments removed."""
    lines = "\n".join(BLOCK.findall(README)).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


RUN_HERE = [command for command in commands() if not command.startswith(tuple(ELSEWHERE))]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository, as a new user gets it."""
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
    """The command for this Python instead of `uv run python`. The mock server's URL replaces that of a local server."""
    argv = [sys.executable if word == "python" else word for word in shlex.split(command)]
    if argv[:2] == ["uv", "run"]:
        argv = argv[2:]
    return [url if word.startswith("http://localhost") else word for word in argv]


def test_readme_shows_the_two_first_commands():
    """README contains the two commands that a new user runs first."""
    assert any(one.startswith("uv run python dataset_generation/generate_doric_dataset.py") for one in commands())
    assert "./check" in commands()


@pytest.mark.parametrize("command", RUN_HERE)
def test_every_command_in_readme_runs(command, copy, server):
    """All commands of README succeed when they are run in order in a new copy of the repository."""
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


def section(page: str, title: str) -> str:
    """The part of a page from a title to the next one of any level, or a bold paragraph to the next empty line."""
    return re.split(r"^#+ |\n\n", page.partition(title)[2].strip(), maxsplit=1, flags=re.MULTILINE)[0]


def test_the_path_with_an_api_key_takes_the_model_from_env():
    """The command with a key names no model, because .env has it; the path ends with the format for fine-tuning."""
    (command,) = [one for one in commands() if "--backend openai" in one]
    assert "--model" not in command
    assert "(#3-sharegpt)" in section(README, "**You have an API key:**")


def test_the_path_with_a_gpu_names_each_step():
    """Who rents a GPU is led to the teacher, the conversion, the training, the evaluation and the chat, in order."""
    links = re.findall(r"\]\(([^)]+)\)", section(README, "**You have money for a GPU:**"))
    assert [link.rpartition("#")[2] for link in links] == [
        "generate-a-dataset-with-an-open-model", "3-sharegpt", "from-no-account-on", "4-fine-tune", "5-validate",
        "6-serve-and-chat",
    ]  # fmt: skip
    titles = re.findall(r"^#+ (.+)$", README + (ROOT / "modal" / "README.md").read_text("utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    assert {link.rpartition("#")[2] for link in links} <= anchors


def test_the_teacher_needs_the_first_five_commands_of_quick_start():
    """The first five commands log in, make the proxy token, create the key, give it to the server, and save it."""
    page = (ROOT / "modal" / "README.md").read_text("utf-8")
    steps = BLOCK.search(page.partition("## Quick start")[2])
    assert steps
    words = ("modal token new", "proxy-tokens", "openssl rand", "secret create doric-vllm", "../.env.new ../.env")
    assert all(word in line for word, line in zip(words, steps[1].splitlines(), strict=False))
    assert "needs the first five commands of [Quick start]" in section(page, "## Generate a dataset with an open model")


@pytest.mark.parametrize("start", ELSEWHERE)
def test_listed_commands_are_still_in_readme(start):
    """Every command in the list above is still in README."""
    assert any(command.startswith(start) for command in commands())


def test_local_servers_listen_to_this_machine_only():
    """Each `vllm serve` in a README has --host 127.0.0.1, because vLLM otherwise listens to the whole network."""
    for page in (README, (ROOT / "modal" / "README.md").read_text("utf-8")):
        served = [line for block in BLOCK.findall(page) for line in block.splitlines() if "vllm serve " in line]
        assert served
        assert [line for line in served if "--host 127.0.0.1" not in line] == []


def test_ci_runs_readmes_own_test_command():
    """.ci/run runs the same test command that README gives."""
    assert "exec ./check" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_check_runs_the_tests_with_the_fine_tuning_packages():
    """./check runs the notebook's tests, and README also names the shorter check."""
    assert "uv run --group finetune --group review pytest" in (ROOT / "check").read_text("utf-8")
    assert "`uv run pytest` is the light version" in README


def test_relative_links_in_readme_exist():
    """Each relative link in README leads to a file of this repository."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_row_that_readme_shows_is_a_row_of_the_dataset(tmp_path):
    """The row in README is exactly a row that README's first command writes."""
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
