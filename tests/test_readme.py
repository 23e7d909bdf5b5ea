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
PAGES = (
    *("README.md", "CHANGELOG.md", "finetune_notebook/README.md", "modal/README.md"),
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
"""The pages of the documentation."""
FOLDERS = ("dataset_generation", "validation", "finetune_notebook", "modal", "benchmarks")
SUBCOMMANDS = {"review_doric.py": ("make", "agree", "apply", "undo")}
MODAL_APPS = ("finetune_doric.py", "vllm_doric.py", "teacher_app.py")
ELSEWHERE = {
    "./check": "runs these tests; .ci/run calls it",
    "./journey.sh": "takes 25 minutes and is run by hand; each of its steps has its own test",
    "uv run --group finetune python finetune_notebook/finetune.py": "tests/test_finetune_command.py, with a small one",
    "uv run --group finetune python validation/validate_model.py": "tests/test_local_model.py, with a tiny one",
    "uv run --group finetune python validation/score_minimal_pairs.py": "tests/test_minimal_pairs.py, a tiny model",
    "uv run --group docs mkdocs build": "needs the group docs; tests/test_house.py checks its list of pages",
    "cd modal": "tests/test_vllm_doric.py, against a recorder, and tests/test_chat_cli.py, in a terminal",
    "uv run python chat_cli.py": "tests/test_chat_cli.py, in a pseudo-terminal",
    "uv run modal": "tests/test_vllm_doric.py, against a recorder",
    "uv run --group vllm vllm serve": "needs a GPU; the CPU version in modal/README.md is run by hand",
    "uv run --group laptop transformers serve": "journey.sh serves in this way",
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
    """Each server in a README has --host 127.0.0.1, because vLLM otherwise listens to the whole network."""
    for page in (README, (ROOT / "modal" / "README.md").read_text("utf-8")):
        lines = [line for block in BLOCK.findall(page) for line in block.splitlines()]
        served = [line for line in lines if "vllm serve " in line or "transformers serve " in line]
        assert served
        assert [line for line in served if "--host 127.0.0.1" not in line] == []


def test_ci_runs_readmes_own_test_command():
    """.ci/run runs the same test command that README gives."""
    assert "exec ./check" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_check_runs_the_tests_with_the_fine_tuning_packages():
    """./check runs the notebook's tests, and README also names the shorter check."""
    assert "uv run --group finetune --group review pytest" in (ROOT / "check").read_text("utf-8")
    assert "`uv run pytest` is the light version" in README


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_a_file_and_a_heading(page):
    """Each relative link in a page leads to a file of this repository, and its anchor to a heading."""
    wrong = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", (ROOT / page).read_text("utf-8")):
        path, _, anchor = link.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            wrong.append(link)
    assert wrong == []


def test_flags_in_the_pages_are_flags_of_the_commands():
    """Each flag that a page gives to a command of this repository is in the command's --help."""
    known: dict[Path, str] = {}
    wrong = []
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8").replace("\\\n", " ")
        for folder, name, words in re.findall(rf"\b({'|'.join(FOLDERS)})/(\w+\.py)([^`\n|]*)", text):
            script = ROOT / folder / name
            words, _, inner = words.partition(" -- ")  # what teacher_doric.py passes on
            for path, flags in ((script, words), (ROOT / "dataset_generation/generate_doric_dataset.py", inner)):
                for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", flags):
                    if path not in known:
                        known[path] = help_of(path)
                    if not re.search(rf"{flag}(?![\w-])", known[path]):
                        wrong.append(f"{page}: {path.name} {flag}")
    assert len(known) > 8
    assert wrong == []


def help_of(script: Path) -> str:
    """The --help of a command and of its subcommands; of a Modal app, which has no --help of its own, its source."""
    if script.name in MODAL_APPS:
        return script.read_text("utf-8")
    texts = []
    for words in ([], *([name] for name in SUBCOMMANDS.get(script.name, ()))):
        argv = [sys.executable, script, *words, "--help"]
        texts.append(subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    return "".join(texts)


def test_readme_says_how_many_sentences_are_authored():
    """The number of sentences of the embedded voice in README is at most a tenth from the number in the data."""
    from doric.lint import asks, sentences
    from doric.lint.files import read_files

    sources, _ = read_files()
    authored = {sentence.text for sentence in sentences.authored(sources)} | {part.text for part in asks.parts(sources)}
    said = int(re.search(r"about ([\d,]+) authored Doric sentences", README)[1].replace(",", ""))
    assert abs(said / len(authored) - 1) < 0.1


def test_readme_says_what_a_dataset_costs(tmp_path):
    """The costs in README are at most a tenth from those of --dry-run."""
    said = re.search(
        r"gpt-5.4-mini \$([\d.]+) if nothing is cached, \$([\d.]+)\s+with its cache, \$([\d.]+)", README
    ).groups()
    command = [sys.executable, "dataset_generation/generate_doric_dataset.py", "--backend", "openai", "--dry-run"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "MODEL"))}
    found = []
    for tier in ([], ["--service-tier", "flex"]):
        argv = [*command, "--model", "gpt-5.4-mini", "--out", str(tmp_path / "rows.jsonl"), *tier]
        done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        found.append([float(cost) for cost in re.findall(r"\$([\d.]+)", done.stdout.splitlines()[-1])])
    (cached, full), (flex, _) = found
    assert [float(one) for one in said] == pytest.approx([full, cached, flex], rel=0.1)


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
