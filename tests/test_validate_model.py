"""The validation script with a mock server over HTTP: ranking, failures, keys, resuming and user mistakes."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mock_server
from doric.core.files import encode_json, locked
from doric.core.other_model import find_model
from doric.core.resume import ResumableRun
from doric.core.settings import NO_KEY, Settings, load_settings
from doric.evaluation import aggregate
from doric.evaluation.aggregate import Result
from doric.evaluation.minimal_pairs import MinimalPair, PairScore, PairsResult, SentenceScore
from doric.evaluation.run import EvaluationSettings, evaluate, select_prompts
from doric.quality.decontamination import held_out_prompts
from mock_server import Action, Behaviour, Call, MockServer, serving
from sample_answers import WRITERS
from scripts import load_script

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "validation" / "validate_model.py"
PLACE = {text: (held, turn) for held in held_out_prompts() for turn, text in enumerate((held.prompt, *held.turns))}
SHORT = 18


def script():
    return load_script(SCRIPT)


@pytest.fixture
def validate(monkeypatch, tmp_path):
    """The `main` of the script. The folder and the environment are empty."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER", "BASELINE_API_KEY", "JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return script().main


def answer(call: Call) -> str:
    """The answer of the writer with the model's name. The model "judge" prefers the answer with more Doric words."""
    if call.body["model"] == "judge":
        return verdict(call.prompt)
    return WRITERS[call.body["model"]](*PLACE[call.prompt])


def verdict(prompt: str) -> str:
    first, second = prompt.split("ANSWER A")[1].split("ANSWER B")
    scots = [len(re.findall(r"\b(?:ye|yer|tae|an|wi|o|fae|nae|fit|fan|far)\b", answer)) for answer in (first, second)]
    pick = "tie" if scots[0] == scots[1] else "A" if scots[0] > scots[1] else "B"
    return json.dumps(dict.fromkeys(("naturalness", "correctness", "doric", "overall"), pick))


async def evaluated(url: str, model: str, folder: Path, limit: int = SHORT, max_retries: int = 3) -> Result:
    """The result of evaluating a model at the mock server."""
    server = Settings("openai", url, model, "OPENAI_API_KEY", "")
    settings = EvaluationSettings(300, 0.7, seed=0, concurrency=8, timeout=5.0, max_retries=max_retries)
    return await evaluate(server, select_prompts(limit), settings, ResumableRun((folder / f"{model}.jsonl",)))


def test_the_points_rank_five_writers(tmp_path):
    """From best to worst: authored Doric, heuristic generator, broken Doric, decorated English, plain English."""

    async def all_five():
        async with MockServer(answer=answer) as server:
            return [(await evaluated(server.url, name, tmp_path)).as_json() for name in WRITERS]

    points = [result["all"]["points"] for result in asyncio.run(all_five())]
    assert all(better["low"] > worse["high"] for better, worse in itertools.pairwise(points))
    assert points[0]["value"] > 95
    assert points[-1]["value"] < 1


def test_one_command_gives_table_json_and_page(validate, tmp_path, capsys):
    """With a baseline and a judge, the script prints tables, writes the JSON and the page, and exits with 0."""
    with serving(answer=answer) as server:
        status = validate(
            f"--base-url {server.url} --model embedded --baseline tuned --judge-model judge "
            f"--limit {SHORT} --out out/result.json".split()
        )
    shown = capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert status == 0
    assert "embedded at http" in shown
    assert "compared with tuned" in shown
    assert "judged by judge" in shown
    assert result["all"]["asked"] == result["baseline"]["all"]["asked"] == 33
    assert result["changes"]["all"]["points"]["low"] > 0
    assert result["judge"]["judged"] == result["judge"]["pairs"] == SHORT
    assert result["judge"]["criteria"]["doric"]["agreement"]["value"] == 1
    assert result["all"]["times"]["first_token_median"] > 0
    page = (tmp_path / "out" / "result.html").read_text()
    assert page.count('class="entry"') == 33
    assert "http-equiv" in page


def test_a_model_loses_the_pairs_that_it_does_not_answer(validate, capsys, caplog):
    """If a better model leaves half of its questions unanswered, it loses those pairs, and log and page say so."""
    caplog.set_level("INFO")
    lost = {held.prompt for at, held in enumerate(select_prompts(SHORT)) if at % 2}

    def half(call: Call) -> Action | None:
        return Action("context_400") if call.body["model"] == "authored" and call.prompt in lost else None

    with serving(answer=answer, decide=half) as server:
        command = f"--base-url {server.url} --model authored --baseline plain --judge-model judge --limit {SHORT}"
        assert validate(command.split()) == 0
        assert f"Decided without the judge: 0 pairs won and {SHORT // 2} lost because" in caplog.text
        assert f"{SHORT // 2} decided because one side gave no answer" in capsys.readouterr().out
        assert validate(command.split()) == 0
        assert f"{SHORT} of {SHORT} verdicts come from datasets/validation.json.judge.jsonl" in caplog.text
        capsys.readouterr()
        sidecar = Path("datasets/validation.json.judge.jsonl.plan.json")
        sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "rubric": "of old"}))
        assert validate(command.split()) == 2
    assert re.search(r"\(another rubric, because \S+/data/judge\.toml has changed", capsys.readouterr().err)
    result = json.loads(Path("datasets/validation.json").read_text())["judge"]
    assert (result["pairs"], result["judged"], result["forfeits"]["theirs"]) == (SHORT, SHORT // 2, SHORT // 2)
    assert result["criteria"]["overall"]["losses"]["value"] == 0.5
    assert f"0 pairs won that way, {SHORT // 2} lost" in Path("datasets/validation.html").read_text()


def test_a_saved_result_is_a_baseline(validate, tmp_path, capsys):
    """If --baseline names the --out of an earlier run, no call is made to that model."""
    with serving(answer=answer) as server:
        common = ["--base-url", server.url, "--limit", "6"]
        assert validate([*common, "--model", "plain", "--out", "plain.json"]) == 0
        asked = server.stats.requests
        assert validate([*common, "--model", "authored", "--out", "good.json", "--baseline", "plain.json"]) == 0
        assert server.stats.requests == 2 * asked
    result = json.loads(Path("good.json").read_text())
    assert result["baseline"]["model"] == "plain"
    assert result["changes"]["all"]["passes"]["value"] == 1


def test_a_key_is_sent_only_to_its_own_server(validate, monkeypatch, caplog):
    """A baseline or judge gets its own key, or no key, or the key of the model if both are on the same server."""
    caplog.set_level("INFO")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    monkeypatch.setenv("JUDGE_API_KEY", "sk-judge")
    keys = {}

    def listen(call: Call) -> str:
        keys.setdefault((call.body["model"], call.headers["host"]), set()).add(call.key)
        return answer(call)

    with serving(answer=listen) as ours, serving(answer=listen) as other:
        command = ["--base-url", ours.url, "--model", "authored", "--limit", "2", "--judge-model", f"judge@{other.url}"]
        assert validate([*command, "--baseline", f"plain@{other.url}"]) == 0
        assert validate([*command, "--baseline", f"plain@{ours.url}/", "--out", "b.json"]) == 0
        assert validate([*command, "--baseline", "embedded", "--out", "c.json"]) == 0
        here, there = (server.url.split("/")[2] for server in (ours, other))
    assert keys == {
        ("authored", here): {"sk-own"},
        ("plain", there): {NO_KEY},
        ("plain", here): {"sk-own"},
        ("embedded", here): {"sk-own"},
        ("judge", there): {"sk-judge"},
    }
    assert (
        f"OPENAI_API_KEY is not sent to {there}; if that server needs a key, set BASELINE_API_KEY." in caplog.messages
    )
    assert "sk-" not in caplog.text


def test_a_baseline_that_cannot_be_compared_costs_no_call(validate, capsys):
    """A baseline that cannot be compared is an error before the first call to the evaluated model."""
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--limit", "6", "--model", "plain"]
        assert validate([*command, "--out", "plain.json"]) == 0
        asked = server.stats.requests
        value = json.loads(Path("plain.json").read_text())
        Path("plain.json").write_text(json.dumps(value | {"answers": [{**value["answers"][0], "text": None}]}))
        assert validate([*command, "--out", "r.json", "--baseline", "plain.json"]) == 2
        assert server.stats.requests == asked
    assert "answer 1: text is None" in capsys.readouterr().err


def test_a_second_run_makes_no_call(validate):
    """If the same command runs again, every answer comes from its journal, even if the server is down."""
    with serving(answer=answer, behaviour=Behaviour(models=("authored",))) as server:
        command = ["--base-url", server.url, "--limit", "6"]
        assert validate(command) == 0
        first = Path("datasets/validation.json").read_text()
        asked = server.stats.requests
        assert validate(command) == 0
        assert server.stats.requests == asked
    assert validate(command) == 0
    again = json.loads(Path("datasets/validation.json").read_text())
    assert {**again, "date": ""} == {**json.loads(first), "date": ""}


def test_answers_of_an_earlier_run_keep_their_date(validate, caplog):
    """The log has the number and the date of answers from an earlier run, and the result has that date."""
    caplog.set_level("INFO")
    sidecar = Path("datasets/validation.json.answers.jsonl.plan.json")

    def report_of(*flags: str) -> str:
        assert validate(["--base-url", server.url, "--model", "plain", *flags]) == 0
        return json.loads(Path("datasets/validation.json").read_text())["date"]

    with serving(answer=answer) as server:
        today = report_of("--limit", "2")
        assert "come from" not in caplog.text
        sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "asked": "2026-01-02 10:00 UTC"}))
        assert report_of("--limit", "2") == "2026-01-02 10:00 UTC"
        assert "2 of 2 answers come from datasets/validation.json.answers.jsonl (asked: 2026-01-02" in caplog.text
        assert report_of("--limit", "6").startswith(f"2026-01-02 10:00 UTC to {today[:10]}")
        assert " of 11 answers come from" in caplog.text
        assert report_of("--limit", "6", "--overwrite").startswith(today[:10])
        plan = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps({key: plan[key] for key in plan if key != "asked"}))
        assert report_of("--limit", "6") == "an unknown day"


def test_a_malformed_journal_is_an_error_with_its_line(validate, capsys):
    """The error for a malformed journal names file, line and field."""
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--model", "plain", "--limit", "2", "--out", "r.json"]
        assert validate(command) == 0
        journal = Path("r.json.answers.jsonl")
        first, *others = journal.read_text().splitlines()
        journal.write_text("\n".join([json.dumps({**json.loads(first), "text": None}), *others, ""]))
        assert validate(command) == 2
    assert "r.json.answers.jsonl:1: text is None" in capsys.readouterr().err


def test_a_killed_run_resumes(tmp_path):
    """After kill -9 no answer is lost, and the next run asks only the remaining questions."""
    command = [
        sys.executable,
        SCRIPT,
        "--model",
        "authored",
        "--limit",
        str(SHORT),
        "--concurrency",
        "2",
        "--out",
        "r.json",
    ]
    with serving(Behaviour(latency=0.05), answer=answer) as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.url}
        journal = tmp_path / "r.json.answers.jsonl"
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as run:
            wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 8)
            run.kill()
        kept = journal.read_bytes().count(b"\n")
        with journal.open("ab") as torn:
            torn.write(b'{"id":"core-0')
        server.stats.requests = 0
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert 33 - kept <= server.stats.requests <= 33 - kept + 2
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["all"]["answered"] == 33


def test_a_result_is_one_file_by_any_of_its_names(validate, tmp_path, capsys):
    """While a run writes a result, a run by the name of a link is refused; later, the link has the same answers."""
    (tmp_path / "link.json").symlink_to("r.json")
    with serving(answer=answer) as server:
        command = f"--base-url {server.url} --model authored --limit 3 --out".split()
        with locked(tmp_path / "r.json"):
            assert validate([*command, "link.json"]) == 2
        assert "another run is writing this file" in capsys.readouterr().err
        assert validate([*command, "r.json"]) == 0
        paid = server.stats.requests
        assert validate([*command, "link.json"]) == 0
        assert server.stats.requests == paid
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["link.json", "r.html", "r.json", "r.json.answers.jsonl", "r.json.answers.jsonl.plan.json"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_journal_and_says_how_to_resume(tmp_path, number):
    """Ctrl-C and SIGTERM wait for the calls in flight, keep their answers, and exit with 130 without a traceback."""
    command = [sys.executable, SCRIPT, "--model", "authored", "--limit", "18", "--concurrency", "2", "--out", "r.json"]
    with serving(Behaviour(latency=0.1), answer=answer) as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.url}
        journal = tmp_path / "r.json.answers.jsonl"
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as run:
            wait_for(lambda: journal.exists() and journal.stat().st_size > 0)
            run.send_signal(number)
            _, said = run.communicate(timeout=20)
        assert server.stats.kinds["aborted"] == 0
        assert len(journal.read_bytes().splitlines()) == server.stats.requests
    assert run.returncode == 130
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert all(json.loads(line)["id"] for line in journal.read_bytes().splitlines())


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_failed_calls_never_raise_the_score(tmp_path):
    """If half of the calls fail, every share and every mean is worse, and the result counts the failed calls."""
    lost = {held.id for at, held in enumerate(select_prompts(SHORT)) if at % 2}

    def half(call: Call) -> Action | None:
        return Action("error_500") if call.prompt in PLACE and PLACE[call.prompt][0].id in lost else None

    async def both():
        async with MockServer(answer=answer) as working, MockServer(answer=answer, decide=half) as failing:
            return [
                await evaluated(server.url, "authored", tmp_path / name, max_retries=0)
                for name, server in (("working", working), ("failing", failing))
            ]

    complete, with_losses = (result.as_json() for result in asyncio.run(both()))
    assert with_losses["all"]["asked"] == complete["all"]["asked"]
    assert with_losses["calls"]["failed"] == with_losses["all"]["asked"] - with_losses["all"]["answered"] > 10
    assert with_losses["calls"]["faults"] == {"http_500": len(lost)}
    for name in aggregate.SHARES.keys() - aggregate.ONLY_IN.keys():
        assert with_losses["all"][name]["value"] < complete["all"][name]["value"], name
    for name, (_, worst) in aggregate.QUALITIES.items():
        better, value = complete["all"][name]["value"], with_losses["all"][name]["value"]
        assert value > better if worst else value < better, name
    for bucket in ("core", "benign"):
        assert (
            with_losses["buckets"][bucket]["over_refuses"]["value"]
            >= complete["buckets"][bucket]["over_refuses"]["value"]
        )


def test_failed_calls_give_a_warning(validate, capsys):
    """If half of all calls fail at random, the script exits with 0, and terminal and page show a warning."""
    with serving(Behaviour(shares={"error_500": 0.5}), answer=answer) as server:
        command = ["--base-url", server.url, "--model", "authored", "--limit", "12", "--max-retries", "0"]
        assert validate(command) == 0
    said = capsys.readouterr().out
    assert re.search(r"WARNING: \d+ of 22 turns got no answer", said)
    assert "http_500" in said
    assert 'role="alert"' in Path("datasets/validation.html").read_text()


def test_a_model_that_answers_nothing_has_no_result(validate, capsys):
    """If every call fails, the exit status is 1, because nothing was measured."""
    with serving(decide=lambda call: Action("context_400")) as server:
        assert validate(["--base-url", server.url, "--model", "authored", "--limit", "4"]) == 1
    assert "WARNING: 4 of 4 turns got no answer" in capsys.readouterr().out


def test_escape_sequences_of_a_server_do_not_reach_the_terminal(tmp_path):
    """Escape sequences in a model's id do not reach stdout or stderr, neither in a result nor in an error."""
    hostile = Behaviour(models=("ev\x1b[31mil\x1b]0;pwned\x07\u202e",))
    for decide, status in ((lambda call: None, 0), (lambda call: Action("unauthorized"), 2)):
        with serving(hostile, answer=lambda call: "Aye, fairly.", decide=decide) as server:
            command = [sys.executable, SCRIPT, "--base-url", server.url, "--limit", "1", "--out", f"{status}.json"]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert "evil" in done.stderr
        assert not {"\x1b", "\x07", "\u202e"} & {*done.stdout, *done.stderr}
    assert "ev[31mil" in json.loads((tmp_path / "0.json").read_text())["model"].replace("\x1b", "")


def test_failed_turns_are_asked_again_by_the_next_run(validate):
    """If the command is given again, failed turns are retried, and the failed calls stay recorded."""
    down = True
    with serving(
        answer=answer, decide=lambda call: Action("error_503") if down and call.number > 4 else None
    ) as server:
        command = ["--base-url", server.url, "--model", "authored", "--limit", "6", "--max-retries", "0"]
        assert validate(command) == 0
        first = json.loads(Path("datasets/validation.json").read_text())
        down = False
        assert validate(command) == 0
    second = json.loads(Path("datasets/validation.json").read_text())
    assert first["calls"]["failed"] > 0
    assert second["calls"]["failed"] == 0
    assert second["calls"]["faults"] == first["calls"]["faults"]


def test_a_later_turn_is_asked_with_the_whole_conversation(tmp_path):
    """The request for a turn contains all earlier prompts and answers."""
    seen = {}

    def listen(call: Call) -> str:
        seen[call.prompt] = [message["content"] for message in call.body["messages"]]
        return answer(call)

    async def one_conversation():
        async with MockServer(answer=listen) as server:
            return await evaluated(server.url, "authored", tmp_path, limit=6)

    asyncio.run(one_conversation())
    held = next(held for held in select_prompts(6) if held.turns)
    last = seen[held.turns[-1]]
    assert last[::2] == [held.prompt, *held.turns]
    assert last[1] == WRITERS["authored"](held, 0)


def test_the_key_of_the_environment_is_sent_to_its_own_server(monkeypatch, tmp_path):
    """If another server is evaluated, OPENAI_API_KEY is still sent only to OPENAI_BASE_URL or to its provider."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PROVIDER", raising=False)
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    own = load_settings(base_url="http://localhost:8000/v1")

    def key_of(spec: str) -> str:
        return find_model(spec, own, "JUDGE_API_KEY").key

    assert key_of("m@https://api.openai.com/v1") == "sk-own"
    assert key_of("m@https://api.openai.com.example.org/v1") == key_of("m@http://api.openai.com/v1") == ""
    assert key_of("m@http://localhost:8001/v1") == ""
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/v1")
    assert key_of("m@https://example.org/v2") == "sk-own"
    assert key_of("m@https://api.openai.com/v1") == ""


@pytest.mark.parametrize(
    "flags",
    [
        ["--limit", "0"],
        ["--concurrency", "-1"],
        ["--limit", "9" * 30],
        ["--timeout", "inf"],
        ["--timeout", "nan"],
        ["--timeout", "0"],
        ["--temperature", "nan"],
        ["--temperature", "inf"],
        ["--max-retries", "-1"],
        ["--max-tokens", "0"],
    ],
)
def test_a_number_that_is_out_of_range_is_refused(validate, capsys, flags):
    """The error for a number out of range names the flag, and the exit status is 2."""
    with pytest.raises(SystemExit) as caught:
        validate(["--base-url", "http://127.0.0.1:9/v1", *flags])
    assert caught.value.code == 2
    assert f"error: argument {flags[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--out", "x.html"], "the result is JSON"),
        (["--judge-model", "judge"], "compares two models"),
        (["--baseline", "missing.json"], "missing.json: cannot be read"),
        (["--base-url", "localhost"], "the URL in --base-url is not valid"),
        (["--base-url", "http://127.0.0.1:9/v1"], "no connection"),
    ],
)
def test_a_mistake_is_an_error_and_a_hint(validate, capsys, flags, says):
    """A wrong flag, or a server that is down, gives an error, a hint and exit status 2."""
    given = flags if "--base-url" in flags else ["--base-url", "http://127.0.0.1:9/v1", *flags]
    assert validate(given) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("error: ")
    assert "hint: " in said


def test_a_journal_with_another_plan_is_refused(validate, capsys):
    """A journal for another model or other settings is refused, unless --overwrite is given."""
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--limit", "6", "--out", "r.json"]
        assert validate([*command, "--model", "plain"]) == 0
        assert validate([*command, "--model", "authored"]) == 2
        assert "model plain then, authored now" in capsys.readouterr().err
        assert validate([*command, "--model", "plain", "--temperature", "0"]) == 2
        assert validate([*command, "--model", "authored", "--overwrite"]) == 0
    assert json.loads(Path("r.json").read_text())["model"] == "authored"


def test_overwrite_keeps_all_earlier_answers(validate):
    """Each --overwrite copies result, journals and plans under one number, and never over an earlier copy."""
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--limit", "6", "--out", "r.json"]
        assert validate([*command, "--model", "plain"]) == 0
        first = {path.name: path.read_bytes() for path in Path().glob("r.json*")}
        compared = ["--baseline", "plain", "--judge-model", "judge", "--overwrite"]
        assert validate([*command, "--model", "authored", *compared]) == 0
        second = {path.name: path.read_bytes() for path in Path().glob("r.json*") if ".bak" not in path.name}
        assert validate([*command, "--model", "tuned", *compared]) == 0
    assert {name: Path(f"{name}.bak").read_bytes() for name in first} == first
    assert len(second) == 7
    assert {name: Path(f"{name}.bak.2").read_bytes() for name in second} == second


@pytest.mark.parametrize("edit", ["a figure", "a note", "reformatted", "no hash, as earlier versions write it"])
def test_a_result_that_somebody_edited_is_kept(validate, edit):
    """If a result was edited by hand, the next run copies it before it writes its own; otherwise there is no copy."""
    path = Path("r.json")
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--model", "plain", "--limit", "3", "--out", "r.json"]
        assert validate(command) == 0
        assert validate(command) == 0
        assert not list(Path().glob("*.bak*"))
        text = path.read_text()
        path.write_text(
            {
                "a figure": text.replace('"answered": 3', '"answered": 4'),
                "a note": text.replace("{", '{"note": "for Jean",', 1),
                "reformatted": json.dumps(json.loads(text)),
            }.get(edit)
            or re.sub(r',\n "hash": "\w+"', "", text)
        )
        edited = path.read_bytes()
        assert edited != text.encode()
        assert validate(command) == 0
    assert Path("r.json.bak").read_bytes() == edited
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("field", "told"), [("reasoning_content", "Turn off the model's reasoning"), ("tool_calls", "calls tools")]
)
def test_a_silent_model_is_explained_in_a_short_run(validate, capsys, caplog, monkeypatch, field, told):
    """If the run ends before the brake stops it, one line names the field with the text and says what to do."""
    monkeypatch.setitem(mock_server.ANSWERS, "mute", lambda call, text: mute(field))
    with serving(decide=lambda call: Action("mute")) as server:
        validate(["--base-url", server.url, "--model", "m", "--limit", "3", "--out", "r.json"])
    assert caplog.text.count(f"There are answers without words. The text is in the field {field}. ") == 1
    assert told in caplog.text
    table = capsys.readouterr().out
    assert "100.0%" not in table


def test_every_failed_call_is_counted(validate, capsys):
    """Calls that are refused and not repeated are counted as failed calls too, beside the turns without an answer."""
    with serving(decide=lambda call: Action("bad_request") if call.number > 1 else None) as server:
        validate(["--base-url", server.url, "--model", "m", "--limit", "3", "--concurrency", "1", "--out", "r.json"])
    calls = json.loads(Path("r.json").read_text())["calls"]
    assert calls["failed"] == sum(calls["faults"].values()) == calls["asked"] - 1 == 2
    assert "2 of 3 calls to m failed (refused 2)." in capsys.readouterr().out


@pytest.mark.parametrize("earlier", ["another model", "edited by hand"])
def test_a_result_with_other_answers_is_kept(validate, earlier):
    """A result whose journal is gone is copied before it is replaced, as long as the new one lacks an answer of it."""
    path = Path("r.json")
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--limit", "3", "--out", "r.json"]
        assert validate([*command, "--model", "plain"]) == 0
        if earlier == "edited by hand":
            path.write_text(path.read_text().replace('"answers": [', '"answers": 1, "old": ['))
        before = path.read_bytes()
        for journal in Path().glob("r.json.answers.*"):
            journal.unlink()
        assert validate([*command, "--model", "authored"]) == 0
        assert validate([*command, "--model", "authored"]) == 0
    assert [copy.read_bytes() for copy in Path().glob("r.json.bak*")] == [before]


@pytest.mark.parametrize("name", ["answers", "baseline", "judge"])
@pytest.mark.parametrize("change", ["duplicate", "unknown", "edited"])
def test_a_row_that_no_run_has_written_is_refused(validate, capsys, name, change):
    """A second answer or verdict, one to an unknown prompt, and a broken last line are refused by line, unchanged."""
    path = Path(f"r.json.{name}.jsonl")
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--limit", "6", "--out", "r.json", "--model", "authored"]
        command += ["--baseline", "plain", "--judge-model", "judge"]
        assert validate(command) == 0
        lines = path.read_bytes().splitlines(keepends=True)
        new = {"duplicate": lines[0], "unknown": lines[0].replace(b'{"id":"', b'{"id":"x'), "edited": b'{"id":"a",}\n'}
        path.write_bytes(b"".join([*lines, new[change]]))
        before, asked = path.read_bytes(), server.stats.requests
        capsys.readouterr()
        assert validate(command) == 2
        assert server.stats.requests == asked
    assert f"error: {path}:{len(lines) + 1}: " in capsys.readouterr().err
    assert path.read_bytes() == before


def test_other_evaluation_prompts_are_named(validate, capsys):
    """If the evaluation prompts have changed since the first answers, the error names their file."""
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--limit", "6", "--out", "r.json", "--model", "plain"]
        assert validate(command) == 0
        plan = Path("r.json.answers.jsonl.plan.json")
        plan.write_text(json.dumps({**json.loads(plan.read_text()), "heldout": "of old"}))
        assert validate(command) == 2
    assert re.search(
        r"\(other evaluation prompts, because \S+/data/heldout\.jsonl has changed", capsys.readouterr().err
    )


def test_overwrite_keeps_the_answers_when_the_server_is_down(validate):
    """If the server is down, --overwrite does not change the files of the earlier run."""
    with serving(answer=answer) as server:
        command = ["--model", "plain", "--limit", "6", "--out", "r.json", "--base-url"]
        assert validate([*command, server.url]) == 0
    before = {path.name: path.read_bytes() for path in Path().glob("r.*")}
    assert validate([*command, "http://127.0.0.1:9/v1", "--overwrite"]) == 2
    assert {path.name: path.read_bytes() for path in Path().glob("r.*")} == before


@pytest.mark.parametrize("name", ["notes.json", "notes.html", "folder.json"])
def test_only_an_earlier_result_is_replaced(validate, capsys, name):
    """If --out or its page is an existing file of another kind, no call is made and that file does not change."""
    Path("folder.json").mkdir()
    Path("notes.json" if name == "folder.json" else name).write_text("my notes", "utf-8")
    out = Path(name).with_suffix(".json")
    with serving(answer=answer) as server:
        assert validate(["--base-url", server.url, "--model", "plain", "--limit", "6", "--out", str(out)]) == 2
        assert server.stats.requests == 0
    assert f"error: {name}: " in capsys.readouterr().err
    assert all(path.read_text("utf-8") == "my notes" for path in Path().glob("notes.*"))


def test_a_larger_limit_adds_to_the_answers(validate):
    """A second run with a larger --limit keeps the answers of the first run."""
    with serving(answer=answer) as server:
        command = ["--base-url", server.url, "--model", "authored", "--out", "r.json"]
        assert validate([*command, "--limit", "6"]) == 0
        assert validate([*command, "--limit", "12"]) == 0
        assert server.stats.requests == 22


def test_before_and_after_are_over_the_same_turns(validate, capsys):
    """If the baseline answered more turns, each change compares only the turns that both models were asked."""
    with serving(answer=answer) as server:
        common = ["--base-url", server.url, "--model", "embedded"]
        assert validate([*common, "--limit", "24", "--out", "many.json"]) == 0
        assert validate([*common, "--limit", "6", "--out", "few.json", "--baseline", "many.json"]) == 0
    shown = capsys.readouterr().out.split("compared with embedded")[1]
    rows = [re.search(r"(\d+) → (\d+) +[+-]0 \[", line) for line in shown.splitlines()]
    assert len([row for row in rows if row and row[1] == row[2]]) == 7


def test_help_answers_without_heavy_imports():
    """--help imports neither the SDK nor the template engine nor pydantic."""
    code = (
        "import runpy, sys; sys.argv = ['v', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: print({'openai', 'httpx2', 'jinja2', 'pydantic'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")
    assert "--judge-model" in done.stdout


def test_a_short_evaluation_covers_topics_and_languages():
    """The 160 prompts cover nearly every topic group and all fourteen languages."""
    asked = select_prompts(160)
    assert len({held.group for held in asked if held.bucket == "core"}) >= 15
    assert len({held.lang for held in asked if held.bucket == "multi"}) == 14
    assert {held.lang for held in asked if held.bucket == "core"} == {"en", "sco"}


def test_without_a_key_and_a_url_the_script_says_what_to_set(validate, capsys):
    """If key, base URL and checkpoint are missing, the script prints an error and a hint."""
    assert validate([]) == 2
    shown = capsys.readouterr().err
    assert "no key, no base URL and no --checkpoint\nhint: Set OPENAI_API_KEY" in shown
    assert "Or name a folder with --checkpoint." in shown


# ---- the brake: a model or a judge without a word


def mute(field: str, finish: str = "stop") -> bytes:
    """A completion whose text is in another field than `content`."""
    message = {"role": "assistant", "content": None, field: "Gie it a dicht."}
    return mock_server._http(200, encode_json({"choices": [{"message": message, "finish_reason": finish}]}))


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "refusal", "tool_calls"])
def test_a_silent_model_is_not_asked_everything(validate, monkeypatch, capsys, field):
    """After 8 answers without words the run stops, and the error names the field that holds the text."""
    monkeypatch.setitem(mock_server.ANSWERS, "mute", lambda call, text: mute(field))
    with serving(decide=lambda call: Action("mute")) as server:
        assert validate(["--base-url", server.url, "--model", "m", "--out", "v.json"]) == 2
    assert 8 <= server.stats.requests <= 16
    told = capsys.readouterr().err
    assert "error: 8 answers in a row have no words in them and none was accepted in this run" in told
    assert f"the text is in the field {field}" in told
    assert "--max-rejected 0 goes on anyway" in told


def test_a_silent_model_can_be_evaluated_to_the_end(validate, monkeypatch):
    """With --max-rejected 0 every prompt is asked, and the result says that there was no answer."""
    monkeypatch.setitem(mock_server.ANSWERS, "mute", lambda call, text: mute("reasoning"))
    with serving(decide=lambda call: Action("mute")) as server:
        argv = ["--base-url", server.url, "--model", "m", "--out", "v.json", "--limit", "12", "--max-rejected", "0"]
        assert validate(argv) == 0
    assert server.stats.requests >= 12


def test_empty_answers_before_a_stop_are_asked_again(validate, monkeypatch):
    """When the server has been fixed, no empty answer of the stopped run counts against the model."""
    monkeypatch.setitem(mock_server.ANSWERS, "mute", lambda call, text: mute("reasoning_content"))
    with serving(decide=lambda call: Action("mute")) as server:
        argv = ["--base-url", server.url, "--model", "authored", "--out", "v.json", "--limit", "12"]
        assert validate(argv) == 2
        server._decide, server._answer = (lambda call: None), answer
        assert validate(argv) == 0
    rows = {}
    for line in Path("v.json.answers.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        rows[row["id"], row["turn"]] = row
    assert all(row["text"] for row in rows.values())


def test_an_english_model_is_evaluated(validate):
    """A model that answers in English is worth evaluating, so nothing stops the run."""
    with serving(answer=lambda call: "You should check the tyres before a long journey.") as server:
        assert validate(["--base-url", server.url, "--model", "m", "--out", "v.json"]) == 0


def test_a_judge_without_a_verdict_stops_the_run(validate, capsys):
    """If none of 50 verdicts can be read, the judge is not asked for more."""
    words = {"judge": lambda call: "Both are bonnie."}
    with serving(answer=lambda call: words.get(call.body["model"], answer)(call)) as server:
        argv = ["--base-url", server.url, "--model", "embedded", "--out", "v.json", "--baseline", "plain"]
        assert validate([*argv, "--judge-model", "judge"]) == 2
    assert 50 <= sum(call.body["model"] == "judge" for call in server.calls) <= 58
    assert "50 verdicts in a row were refused and none was accepted in this run" in capsys.readouterr().err


def test_answers_of_two_models_are_not_mixed(validate, capsys):
    """Without --model, a run is not resumed on a server whose only model is another one."""
    argv = ["--out", "v.json", "--limit", "12"]
    with serving(Behaviour(models=("embedded",)), answer=answer) as server:
        server._decide = lambda call: Action("unauthorized") if call.number > 5 else None
        assert validate(["--base-url", server.url, *argv]) == 2
        server.behaviour = Behaviour(models=("another",))
        asked = server.stats.requests
        capsys.readouterr()
        assert validate(["--base-url", server.url, *argv]) == 2
        assert server.stats.requests == asked
        told = capsys.readouterr().err
        server._decide, server.behaviour = (lambda call: None), Behaviour(models=("embedded",))
        assert validate(["--base-url", server.url, *argv]) == 0
    assert "the answers so far are from embedded, and the server has only another" in told
    assert "--overwrite" in told


def test_the_same_model_under_another_name_resumes(validate, capsys):
    """Ollama's :latest and blanks around a name mean the same model, for the model, the baseline and the judge."""
    with serving(answer=answer) as server:
        argv = ["--base-url", server.url, "--out", "v.json", "--limit", "6"]
        assert validate([*argv, "--model", "authored", "--baseline", "plain", "--judge-model", "judge"]) == 0
        asked = len(server.calls)
        again = ["--model", " authored:latest", "--baseline", "plain:latest ", "--judge-model"]
        assert validate([*argv, *again, "judge:latest"]) == 0
        assert len(server.calls) == asked
        assert validate([*argv, *again, "other"]) == 2
    assert "(judge judge then, other now)" in capsys.readouterr().err


def test_minimal_pairs_are_shown_beside_the_scoreboard(validate, tmp_path, capsys):
    """--minimal-pairs adds a saved result to table, JSON and page; a file that is none costs no call."""
    pair = MinimalPair("negation-nae", "It's nae dry.", "It's no dry.")
    about = {"model": "tiny", "address": "", "date": "d", "start": "BOS", "control": "", "pairs_hash": "h"}
    result = PairsResult(about, (PairScore(pair, SentenceScore(-1.0, 3), SentenceScore(-2.0, 3)),))
    Path("pairs.json").write_text(json.dumps(result.as_json()))
    with serving(answer=answer) as server:
        flags = ["--base-url", server.url, "--model", "embedded", "--limit", "3", "--out", "v.json"]
        assert validate([*flags, "--minimal-pairs", "v.json"]) == 2
        assert not Path("v.json.answers.jsonl").exists()
        assert validate([*flags, "--minimal-pairs", "pairs.json"]) == 0
    assert "negation-nae" in capsys.readouterr().out
    assert json.loads(Path("v.json").read_text())["minimal_pairs"]["model"] == "tiny"
    assert 'id="pairs"' in Path("v.html").read_text("utf-8")
