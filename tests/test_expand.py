"""Expanding a topic list with a mock server: requests, accepted topics, files, errors and exit statuses."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import generate_topics_via_llm as script
import mock_server
from doric.core.files import encode_json, locked
from doric.quality.decontamination import held_out_prompts
from doric.topics.expand import MAX_RETRIES
from doric.topics.filters import check_topic, normalise, rules
from mock_server import ROOT, Action, Behaviour, Call, serving

KEY = "sk-test-5f0c2b7e91d34a68"
SCRIPT = ROOT / "dataset_generation" / "generate_topics_via_llm.py"
GROUPS = {
    "farm": ["keeping hens warm in winter", "training a sheepdog in its first year"],
    "garden": ["growing kale in a cold garden", "pruning a neglected apple tree"],
    "home": ["mending a kettle that leaks at the spout"],
}
VERBS = ["painting", "mending", "cleaning", "storing", "choosing"]
VERBS += ["carrying", "sharing", "drawing", "lifting", "hiding"]
THINGS = ["ladders", "saddles", "barrels", "lanterns", "buckets", "drums"]
THINGS += ["mirrors", "anvils", "pillows", "trumpets", "benches", "candles"]
PLACES = ["harbour", "attic", "forest", "bakery", "cinema", "stable"]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path, monkeypatch):
    """An environment without a key, a URL or a `.env`, except those that a test sets."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def topics(tmp_path):
    """A topic file with groups."""
    path = tmp_path / "topics.json"
    path.write_text(json.dumps({"groups": GROUPS}, indent=2), "utf-8")
    return path


def fresh_topics():
    """A function that answers each request with the requested number of topics, which are all new and different."""
    stock = (
        f"{VERBS[at % 10]} {thing} in a {place}" for at, (place, thing) in enumerate(itertools.product(PLACES, THINGS))
    )
    lock = threading.Lock()

    def answer(call: Call) -> str:
        with lock:
            return json.dumps({"topics": list(itertools.islice(stock, question_of(call)["wanted"]))})

    return answer


def question_of(call: Call) -> dict:
    """The JSON of the user message that a call sends to the model."""
    return json.loads(call.prompt)


def always(*topics: str):
    """A function that gives the same topics in every answer."""
    return lambda call: json.dumps({"topics": topics})


def expand(server, *flags: str) -> int:
    """Run the script with `server` and return its exit status."""
    return script.main(["--input", "topics.json", "--base-url", server.url, "--model", "m", *flags])


def groups_in(path: Path) -> dict[str, list[str]]:
    """The groups of a file."""
    return json.loads(path.read_text("utf-8"))["groups"]


def test_every_group_gets_its_topics(topics, capsys):
    """The new topics of each group follow its existing topics, and the exit status is 0."""
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--in-place", "--per-group", "5") == 0
    for group, had in GROUPS.items():
        assert groups_in(topics)[group][: len(had)] == had
        assert len(groups_in(topics)[group]) == len(had) + 5
    every = [topic for group in groups_in(topics).values() for topic in group]
    assert len(set(every)) == len(every)
    assert all(check_topic(topic) is None for topic in every[5:])
    assert "15 new topics" in capsys.readouterr().err
    assert json.loads((topics.parent / "topics.json.bak").read_text("utf-8"))["groups"] == GROUPS


def test_output_leaves_the_input_alone(topics):
    """--output receives the whole expanded list, and the input file does not change."""
    before = topics.read_bytes()
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--output", "wide.json", "--per-group", "2", "--groups", "farm, home") == 0
    assert topics.read_bytes() == before
    assert {group: len(there) for group, there in groups_in(topics.parent / "wide.json").items()} == {
        "farm": 4, "garden": 2, "home": 3,
    }  # fmt: skip


def test_the_same_command_again_adds_to_the_output(topics, caplog):
    """A second run with the same --output keeps every topic of the first run."""
    output = topics.parent / "wide.json"
    whole = fresh_topics()
    with serving(answer=whole) as server:
        assert expand(server, "--output", "wide.json", "--per-group", "2") == 0
        first = groups_in(output)
        assert expand(server, "--output", "wide.json", "--per-group", "3") == 0
    for group, had in first.items():
        assert groups_in(output)[group][: len(had)] == had
        assert len(groups_in(output)[group]) == len(had) + 3
    assert "wide.json already has all topics of topics.json: new topics are added to it." in caplog.text


def test_an_output_without_the_topics_of_the_input_is_left_alone(topics, capsys):
    """If the output lacks topics of the input, the exit status is 2, the hint says what to do, and no file changes."""
    (topics.parent / "wide.json").write_text('["painting barrels in a harbour"]', "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--output", "wide.json") == 2
    assert server.stats.requests == 0
    assert (topics.parent / "wide.json").read_text("utf-8") == '["painting barrels in a harbour"]'
    told = capsys.readouterr().err
    assert "error: wide.json exists and does not have 5 of the topics of topics.json" in told
    assert "hint: Expand that list (--input wide.json --in-place)" in told


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (["--max-total-tokens", "1"], "tokens used of --max-total-tokens 1"),
        (["--max-cost", "0.000001", "--price-in", "1", "--price-out", "2"], "spent of --max-cost $1e-06"),
    ],
)
def test_a_budget_stops_all_groups(topics, capsys, budget, message):
    """When the budget is used up, no group makes another call, the topics found are kept, and the exit status is 1."""
    whole = fresh_topics()
    with serving(answer=lambda call: json.dumps(json.loads(whole(call))["topics"][:3])) as server:
        assert expand(server, "--in-place", "--per-group", "9", "--max-concurrency", "1", *budget) == 1
    assert server.stats.requests == 1
    assert len(groups_in(topics)["farm"]) == 5
    assert capsys.readouterr().err.count(message) == 3


def test_what_the_model_is_told(topics):
    """The user turn has group and examples as data, the request has a schema, and the instructions are fixed."""
    with serving(answer=fresh_topics()) as server:
        expand(server, "--in-place", "--per-group", "3", "--groups", "farm")
    first = server.calls[0]
    assert question_of(first)["group"] == "farm"
    assert set(GROUPS["farm"]) <= set(question_of(first)["examples"])
    assert first.body["messages"][0]["content"] == rules()["ask"]["system"].strip()
    assert first.body["response_format"]["json_schema"]["schema"]["required"] == ["topics"]
    assert first.key == "no-key"


def test_the_seed_decides_the_request(topics):
    """With another seed, the request has another point of view or other examples."""
    said = []
    for seed in ("1", "1", "2"):
        with serving(answer=fresh_topics()) as server:
            expand(server, "--output", f"{len(said)}.json", "--per-group", "2", "--groups", "farm", "--seed", seed)
        said.append(server.calls[0].body)
    assert said[0] == said[1] != said[2]


def test_groups_are_asked_in_parallel(topics):
    """The number of calls in flight never exceeds --max-concurrency."""
    for limit, peak in (("8", 3), ("2", 2), ("1", 1)):
        with serving(Behaviour(latency=0.05), answer=fresh_topics()) as server:
            expand(server, "--output", f"{limit}.json", "--per-group", "2", "--max-concurrency", limit)
        assert server.stats.peak_in_flight == peak


@pytest.mark.parametrize("way", ["schema refused", "fenced", "bullets", "cut off"])
def test_lists_in_every_form_are_read(topics, way):
    """A list is read as JSON, in a fence, with bullets and cut off, also from a server that refuses a schema."""

    def answer(call: Call) -> str:
        found = json.loads(whole(call))["topics"]
        return {
            "fenced": f"Sure!\n```json\n{json.dumps(found)}\n```",
            "bullets": "Here they are:\n"
            + "\n".join(f"{at}. {topic.capitalize()}." for at, topic in enumerate(found, 1)),
            "cut off": json.dumps({"topics": [*found, "left out"]})[:-6],
        }.get(way, json.dumps(found))

    whole = fresh_topics()
    with serving(Behaviour(refuses=("response_format",) if way == "schema refused" else ()), answer=answer) as server:
        assert expand(server, "--in-place", "--per-group", "4", "--max-concurrency", "1") == 0
    assert len(groups_in(topics)["farm"]) == 6
    assert server.stats.kinds["refuses_response_format"] == (way == "schema refused")


def test_a_cut_off_topic_is_dropped(topics, monkeypatch):
    """If a list reaches its token limit, its last line is dropped, because it may be half a topic."""
    monkeypatch.setattr(mock_server, "_cut", lambda text: text.rpartition(" before")[0])
    listed = [f"{verb} {thing} in a barn before winter" for verb, thing in zip(VERBS, THINGS, strict=False)]
    stock = iter(listed)

    def answer(call: Call) -> str:
        return "\n".join(f"- {topic}" for topic in itertools.islice(stock, 2))

    with serving(answer=answer, decide=lambda call: Action("truncated")) as server:
        assert expand(server, "--in-place", "--per-group", "3", "--groups", "home") == 0
    assert groups_in(topics)["home"] == [*GROUPS["home"], *listed[:6:2]]


def test_duplicates_are_rejected(topics, capsys):
    """A topic is not added if any group already has it in the same or nearly the same words."""
    suggested = [
        "Keeping hens warm in winter",
        "how to keep your hens warm in winter",
        "carving spoons from birch wood",
    ]
    suggested += [
        "pruning an old neglected apple tree",
        "carving a spoon from birch wood",
        "carving spoons from birch wood",
    ]
    with serving(answer=always(*suggested)) as server:
        assert expand(server, "--in-place", "--per-group", "2", "--max-concurrency", "1") == 1
    new = {topic for group in groups_in(topics).values() for topic in group} - {
        t for had in GROUPS.values() for t in had
    }
    assert new == {"carving spoons from birch wood"}
    told = capsys.readouterr().err
    assert "near_duplicate" in told
    assert "duplicate" in told
    assert "it is nearly 'keeping hens warm in winter'" in told


def test_unsuitable_topics_are_rejected_and_counted(topics, capsys):
    """The summary has the count and an example for each rule, and no rejected topic is written."""
    held = next(one.prompt for one in held_out_prompts() if one.bucket == "core" and 5 <= len(one.prompt.split()) <= 12)
    suggested = ["tips for a tidy shed in spring", "too short", "why does the porch smell of damp?"]
    suggested += ["mending a `pump` in the yard", "two\nlines in one topic here", normalise(held.rstrip("?"))]
    with serving(answer=always(*suggested)) as server:
        assert expand(server, "--in-place", "--per-group", "1", "--groups", "farm") == 1
    assert groups_in(topics) == GROUPS
    told = capsys.readouterr().err
    for rule in ("opener", "length", "ending", "markup", "lines", "held_out"):
        assert f"    {rule} 3, for example '" in told
    assert "3 calls in a row gave no new suitable topic" in told


def test_no_control_character_reaches_the_terminal(capsys, caplog):
    """Escape sequences from the model or a file are removed, and a line break in a topic cannot fake an output line."""
    groups = {"far\x1b]0;m\x07": ["keeping \x1b[2Jhens warm in winter"]}
    Path("topics.json").write_text(json.dumps({"groups": groups}), "utf-8")
    bad = ["mending a \x07kettle at home", "one topic\n  spent: 0 tokens in it"]
    with serving(answer=always(*bad)) as server:
        assert expand(server, "--in-place", "--per-group", "1") == 1
        assert expand(server, "--in-place", "--dry-run") == 0
        assert expand(server, "--in-place", "--groups", "moon") == 2
    told = capsys.readouterr()
    shown = told.out + told.err + caplog.text
    assert "unprintable" in shown
    assert "'one topic spent: 0 tokens in it'" in shown
    assert not set(shown) & {"\x1b", "\x07"}
    assert groups_in(Path("topics.json")) == groups


def test_nothing_found_writes_nothing(topics):
    """If no new topic is found, neither the file nor a backup is written."""
    before = topics.stat().st_mtime_ns
    with serving(answer=always()) as server:
        assert expand(server, "--in-place") == 1
    assert topics.stat().st_mtime_ns == before
    assert [file.name for file in topics.parent.iterdir()] == ["topics.json"]


def test_a_group_is_asked_until_it_has_its_topics(topics):
    """A group is asked again until it has its topics, and the request lists the topics that the model gave before."""
    whole = fresh_topics()
    with serving(answer=lambda call: json.dumps(json.loads(whole(call))["topics"][:3])) as server:
        assert expand(server, "--in-place", "--per-group", "8", "--groups", "home") == 0
    assert server.stats.requests == 3
    assert set(groups_in(topics)["home"][1:7]) <= set(question_of(server.calls[2])["examples"])


def test_a_group_stops_after_three_calls_without_a_new_topic(topics, capsys):
    """After three calls without a new topic the summary says why, found topics are kept, and the exit status is 1."""
    with serving(answer=always("carving spoons from birch wood")) as server:
        assert expand(server, "--in-place", "--per-group", "5", "--groups", "home") == 1
    assert groups_in(topics)["home"] == [*GROUPS["home"], "carving spoons from birch wood"]
    assert "home: 1 of 5 in 4 calls, stopped: 3 calls in a row gave no new suitable topic" in capsys.readouterr().err


def test_server_errors_are_retried(topics, capsys):
    """Rate limits, broken connections and unreadable answers are counted, and no topic is lost."""
    faults = {
        1: Action("rate_limit", retry_after="0.05"),
        2: Action("disconnect"),
        3: Action("malformed"),
        5: Action("error_503"),
    }
    with serving(answer=fresh_topics(), decide=lambda call: faults.get(call.number)) as server:
        assert expand(server, "--in-place", "--per-group", "3") == 0
    assert sum(map(len, groups_in(topics).values())) == 5 + 9
    told = capsys.readouterr().err
    for fault in ("rate_limit 1", "connection 1", "malformed 1", "http_503 1"):
        assert fault in told


def test_a_failed_group_does_not_affect_the_others(topics, capsys):
    """If one group fails, the summary names the group and its error, and the other groups get their topics."""
    whole = fresh_topics()

    def decide(call: Call) -> Action | None:
        return Action("context_400") if question_of(call)["group"] == "garden" else None

    with serving(answer=whole, decide=decide) as server:
        assert expand(server, "--in-place", "--per-group", "4") == 1
    assert {group: len(there) for group, there in groups_in(topics).items()} == {"farm": 6, "garden": 2, "home": 5}
    assert "garden: 0 of 4 in 0 calls, stopped: the request is too long" in capsys.readouterr().err


def test_a_quota_that_ends_during_the_run_loses_no_topic(topics, capsys):
    """The run stops with exit status 2 and one error line, and the topics found before are on disk."""
    whole = fresh_topics()

    def decide(call: Call) -> Action | None:
        return None if question_of(call)["group"] == "farm" else Action("quota", seconds=0.3)

    with serving(answer=whole, decide=decide) as server:
        assert expand(server, "--in-place", "--per-group", "4") == 2
    assert len(groups_in(topics)["farm"]) == 6
    told = capsys.readouterr().err
    assert "error: the quota is used up (429)" in told
    assert "4 new topics" in told


FATAL = {
    "unauthorized": "rejected the key (401)",
    "forbidden": "gives no access (403)",
    "payment": "the quota is used up",
    "no_model": "has no model 'm'",
    "bad_request": "rejected the request (400)",
}


@pytest.mark.parametrize("kind", FATAL)
def test_a_fatal_error_is_one_line(topics, monkeypatch, capsys, caplog, kind):
    """A fatal error gives exit status 2, no traceback and no key, and the file does not change."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level("DEBUG")
    before = topics.read_bytes()
    with serving(decide=lambda call: Action(kind)) as server:
        assert expand(server, "--in-place") == 2
    told = capsys.readouterr().err
    assert FATAL[kind] in told
    assert sum(line.startswith("error: ") for line in told.splitlines()) == 1
    assert "Traceback" not in told
    assert KEY not in told + caplog.text
    assert topics.read_bytes() == before


def test_after_a_fatal_error_no_waiting_group_makes_a_call(tmp_path, capsys):
    """If the first of twelve groups finds that the quota is used up, no other group makes a call."""
    Path("topics.json").write_text(json.dumps({f"group {at}": [f"topic number {at}"] for at in range(12)}), "utf-8")
    with serving(decide=lambda call: Action("quota")) as server:
        assert expand(server, "--in-place", "--max-concurrency", "1") == 2
    assert server.stats.requests == 1
    assert "error: the quota is used up (429)" in capsys.readouterr().err


def test_a_failed_write_stops_the_run(topics, capsys):
    """After a failed write no further call is made, the topics are saved in another file, and the summary says so."""
    whole = fresh_topics()

    def answer(call: Call) -> str:
        topics.unlink()
        topics.mkdir()
        return whole(call)

    with serving(answer=answer) as server:
        assert expand(server, "--in-place", "--per-group", "2", "--max-concurrency", "1") == 2
    assert server.stats.requests == 1
    told = capsys.readouterr().err
    assert "error: topics.json: cannot be read: it is a directory" in told
    assert "0 new topics: nothing is written\n  farm: 0 of 2 in 1 calls" in told
    assert "not written there: 2 new topics; they are in topics.json.found" in told
    assert len(Path("topics.json.found").read_text("utf-8").splitlines()) == 2


def test_topics_that_can_be_written_nowhere_are_printed(topics):
    """If no file can be written, the summary lists the topics that were paid for."""
    with serving(answer=always("carving spoons from birch wood")) as server:
        process = start(server, "--per-group", "1", "--groups", "farm", limit=True)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "not written anywhere: 1 new topics; copy them from here\ncarving spoons from birch wood\n" in told
    assert "the file would exceed the size limit" in told
    assert groups_in(topics) == GROUPS


def test_a_backup_gets_a_free_name(topics):
    """If a folder has the name of the backup file, the backup gets the next number."""
    Path("topics.json.bak").mkdir()
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--in-place", "--per-group", "2") == 0
    assert json.loads(Path("topics.json.bak.2").read_text("utf-8"))["groups"] == GROUPS


@pytest.mark.parametrize("how", ["removed", "emptied", "replaced", "no list"])
def test_topics_that_another_program_removed_are_saved(topics, capsys, how):
    """If the list is changed after the last write, its new topics are in another file, and the run is an error."""
    before = topics.read_bytes()

    def change(call: Call) -> Action | None:
        if call.number == 2:  # the topics of the first call are on disk, and this call finds none
            if how == "removed":
                topics.unlink()
            else:
                topics.write_bytes({"emptied": b"", "replaced": before, "no list": b"hallo"}[how])
            return Action(text='{"topics": []}')
        return Action(text='{"topics": []}') if call.number > 2 else None

    with serving(answer=always("carving spoons from birch wood"), decide=change) as server:
        assert expand(server, "--in-place", "--per-group", "2", "--groups", "farm", "--max-concurrency", "1") == 2
    told = capsys.readouterr().err
    assert Path("topics.json.found").read_text("utf-8") == "carving spoons from birch wood\n"
    assert "error: another program has changed topics.json during the run, and 1 new topics are not in it" in told
    assert "0 new topics: nothing is written" in told
    assert "farm: 0 of 2" in told


def test_every_group_failing_is_an_error(topics, capsys):
    """If no group gets an answer, the run ends with an error and without a summary of topics."""
    with serving(decide=lambda call: Action("context_400")) as server:
        assert expand(server, "--in-place") == 2
    told = capsys.readouterr().err
    assert told.count("error: no group got an answer") == 1
    assert "longer context" in told
    assert "new topics" not in told


def test_a_server_that_never_answers_ends_the_run_once_a_group_is_given_up(topics, monkeypatch, capsys, caplog):
    """The other groups are not tried as often, and the error is told once."""
    monkeypatch.setattr("doric.topics.expand.backoff", lambda *_: 0.0)
    with serving(decide=lambda call: Action("error_500")) as server:
        assert expand(server, "--in-place", "--max-concurrency", "1") == 2
        assert len(server.calls) < 3 * (MAX_RETRIES + 1)
    told = capsys.readouterr().err
    assert told.count("times and never an answer") == 1
    assert caplog.text.count("asked again for about a minute") == 1
    assert "new topics" not in told


def test_uncounted_tokens_are_estimated(topics, monkeypatch, capsys):
    """If the server does not count tokens, the summary says "about"."""
    uncounted = {"choices": [{"message": {"content": '["x"]'}, "finish_reason": "stop"}]}
    monkeypatch.setitem(mock_server.ANSWERS, "ok", lambda call, text: mock_server._http(200, encode_json(uncounted)))
    with serving(answer=lambda call: "") as server:
        expand(server, "--in-place")
    assert re.search(r"spent: about [\d,]+ tokens in", capsys.readouterr().err)


def test_a_second_run_on_the_same_list_is_refused(topics, capsys):
    """The second run makes no call, and the first run keeps all its topics."""
    with serving(Behaviour(latency=0.1), answer=fresh_topics()) as server, locked(topics):
        assert expand(server, "--in-place") == 2
    assert server.stats.requests == 0
    assert "another run is writing this file" in capsys.readouterr().err


def test_a_key_in_an_answer_is_removed(topics, monkeypatch, capsys):
    """A key in an answer is removed, so that neither the list nor the terminal shows it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(
        answer=lambda call: json.dumps([f"keeping {call.key} in a tin box", "carving a birch spoon"])
    ) as server:
        expand(server, "--in-place", "--per-group", "1", "--groups", "farm")
    told = capsys.readouterr()
    assert "spacing" in told.err
    assert KEY not in told.out + told.err + topics.read_text("utf-8")


def test_a_run_without_a_model_is_an_error(topics, capsys):
    """A run without a model is an error, and the hint says how to give a key or a base URL."""
    assert script.main(["--in-place"]) == 2
    told = capsys.readouterr().err
    assert "no key and no base URL" in told
    assert "hint: Set OPENAI_API_KEY" in told


def test_an_unreachable_server_is_an_error(topics, capsys):
    """If the server cannot be reached, the run ends at once with exit status 2."""
    assert script.main(["--in-place", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: no connection to http://127.0.0.1:9/v1: connection refused"
    assert len(said) == 2, "no summary without an answer"


def test_a_key_from_dotenv(topics):
    """The key in `.env` is sent to the server."""
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n", "utf-8")
    with serving(Behaviour(key=KEY), answer=fresh_topics()) as server:
        assert expand(server, "--in-place", "--per-group", "1") == 0


def test_a_dry_run_makes_no_call(topics, capsys):
    """A dry run prints groups, calls and tokens, writes nothing, and needs no key."""
    before = topics.read_bytes()
    with serving() as server:
        assert expand(server, "--in-place", "--dry-run", "--per-group", "30") == 0
    assert server.stats.requests == 0
    assert script.main(["--dry-run"]) == 0
    assert topics.read_bytes() == before
    told = capsys.readouterr().out
    assert "90 new topics in 3 groups" in told
    assert re.search(r"at http://127.0.0.1:\d+/v1: about 6 calls", told)
    assert "a model (MODEL or --model names it) at https://api.openai.com/v1: about" in told


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--in-place", "--groups", "moon"], "there is no group 'moon'"),
        (["--in-place", "--groups", ","], "--groups names no group"),
        (["--in-place", "--input", "none.json"], "none.json"),
        (["--in-place", "--price-in", "1"], "only one of --price-in and --price-out"),
        (["--in-place", "--max-cost", "1"], "--max-cost needs a known price"),
        ([], "neither --output nor --in-place"),
        (["--output", "-"], "cannot go to '-'"),
        (["--output", "wide.jsonl"], "a JSON Lines file is not a topic list"),
        (["--in-place", "--input", "topics.jsonl"], "a JSON Lines file is not a topic list"),
        (["--in-place", "--base-url", "localhost:80"], "is not valid"),
    ],
)
def test_a_wrong_flag_is_an_error_with_a_hint(topics, capsys, flags, message):
    """A wrong flag gives exit status 2, and no call is made."""
    with serving() as server:
        assert script.main(["--input", "topics.json", "--base-url", server.url, "--model", "m", *flags]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert "\nhint: " in told
    assert server.stats.requests == 0


@pytest.mark.parametrize(
    ("flag", "number"),
    [
        *[("--per-group", "0"), ("--max-concurrency", "-1"), ("--price-in", "-1"), ("--max-cost", "nan")],
        *[("--max-total-tokens", "0"), ("--timeout", "0")],
    ],
)
def test_a_number_out_of_range_is_a_usage_error(capsys, flag, number):
    """The error for a number out of range names the flag and the number."""
    with pytest.raises(SystemExit, match="2"):
        script.main(["--in-place", flag, number])
    assert f"error: argument {flag}: {number} is not a" in capsys.readouterr().err


def test_an_existing_topic_that_is_held_out_is_reported(tmp_path, capsys, caplog):
    """An existing topic that matches a held-out prompt is logged and stays in the list."""
    held = next(one.prompt for one in held_out_prompts() if one.bucket == "core")
    Path("topics.json").write_text(json.dumps([held, *GROUPS["farm"]]), "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--in-place", "--per-group", "1") == 0
    assert f"The topic '{held}' matches the held-out prompt" in caplog.text
    assert json.loads(Path("topics.json").read_text("utf-8"))[:3] == [held, *GROUPS["farm"]]


@pytest.mark.parametrize("flags", [[], ["--groups", "cooking"]])
def test_an_empty_group_is_filled(flags):
    """A group without topics gets new topics like any other group."""
    Path("topics.json").write_text(json.dumps({"groups": {"farm": ["keeping hens warm"], "cooking": []}}), "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--in-place", "--per-group", "2", *flags) == 0
    assert len(groups_in(Path("topics.json"))["cooking"]) == 2


@pytest.mark.parametrize("names", ["garden, tools,farm", "farm,garden,tools", "farm , garden ,  tools"])
def test_a_group_with_a_comma_can_be_chosen(names):
    """The name of a group may contain commas, and spaces around the names do not matter."""
    groups = {"garden, tools": ["growing kale"], "home": ["mending a kettle"], "farm": ["keeping hens"]}
    Path("topics.json").write_text(json.dumps({"groups": groups}), "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--in-place", "--per-group", "1", "--groups", names) == 0
    assert {group: len(topics) for group, topics in groups_in(Path("topics.json")).items()} == {
        "garden, tools": 2, "home": 1, "farm": 2,
    }  # fmt: skip


def test_the_same_command_again_adds_to_a_text_output(topics):
    """If a grouped list was expanded into a text file, a second run expands that file, group by group."""
    with serving(answer=fresh_topics()) as server:
        assert expand(server, "--output", "out.txt", "--per-group", "2") == 0
        first = Path("out.txt").read_text("utf-8")
        assert expand(server, "--output", "out.txt", "--per-group", "1", "--groups", "farm") == 0
    assert Path("out.txt").read_text("utf-8").startswith(first)
    assert len(Path("out.txt").read_text("utf-8").splitlines()) == 5 + 6 + 1


def test_a_text_list_has_one_group(topics):
    """A text list is expanded as one group and stays plain text."""
    Path("topics.txt").write_text("keeping hens warm in winter\n", "utf-8")
    with serving(answer=fresh_topics()) as server:
        flags = ["--input", "topics.txt", "--in-place", "--per-group", "2", "--base-url", server.url, "--model", "m"]
        assert script.main(flags) == 0
    lines = Path("topics.txt").read_text("utf-8").splitlines()
    assert lines[0] == "keeping hens warm in winter"
    assert len(lines) == 3


def start(server, *flags: str, limit: bool = False) -> subprocess.Popen[str]:
    """Run the script as a separate process. With `limit`, no file may grow beyond 0 bytes."""
    command = [sys.executable, SCRIPT, "--in-place", "--base-url", server.url, "--model", "m", *flags]
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command] if limit else command
    env = os.environ | {"OPENAI_API_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)


def until(condition) -> None:
    """Wait until `condition()` is true, for at most half a minute."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_loses_no_topic(topics):
    """The first Ctrl-C waits for the calls in flight and writes their topics, and the exit status is 130."""
    with serving(Behaviour(latency=0.2), answer=fresh_topics()) as server:
        process = start(server, "--per-group", "60")
        until(lambda: server.stats.kinds["ok"] >= 1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    assert sum(map(len, groups_in(topics).values())) > 5
    assert server.stats.kinds["aborted"] == 0


def test_after_ctrl_c_no_waiting_group_makes_a_call(topics):
    """After Ctrl-C, groups that wait for a free worker make no call."""
    with serving(Behaviour(latency=0.5), answer=fresh_topics()) as server:
        process = start(server, "--per-group", "2", "--max-concurrency", "1")
        until(lambda: server.stats.requests == 1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert server.stats.requests == 1


def test_after_ctrl_c_no_group_that_waits_for_a_budget_makes_a_call(topics):
    """After Ctrl-C, groups that wait because the budget is reserved make no call."""
    with serving(Behaviour(latency=0.5), answer=fresh_topics()) as server:
        process = start(server, "--max-total-tokens", "900")
        until(lambda: server.stats.requests == 1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "tokens used of" not in told
    assert server.stats.requests == 1


def test_a_second_ctrl_c_stops_now(topics):
    """After the second Ctrl-C the run does not wait for a server that hangs."""
    with serving(decide=lambda call: Action("hang")) as server:
        process = start(server)
        until(lambda: server.stats.requests == 3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert KEY not in told


def test_a_killed_run_loses_only_calls_in_flight(topics):
    """After a kill, the file is complete and has the topics of every finished call."""
    with serving(Behaviour(latency=0.02), answer=fresh_topics()) as server:
        process = start(server, "--per-group", "70", "--max-concurrency", "1")
        until(lambda: server.stats.kinds["ok"] >= 2)
        process.kill()
        process.communicate(timeout=30)
    assert sum(map(len, groups_in(topics).values())) > 5


# ---- the brake: a model that gives no topics


@pytest.fixture
def forty_groups(tmp_path):
    """A topic file with so many groups that a useless model would be asked 120 times."""
    groups = {f"group {number}": ["keeping hens warm in winter"] for number in range(40)}
    (tmp_path / "topics.json").write_text(json.dumps({"groups": groups}), "utf-8")


def test_a_model_without_new_topics_stops_the_run(forty_groups, capsys):
    """If no call gives a new topic, the run stops after 20 calls, names the rule, and writes nothing."""
    with serving(answer=always("Top ten tips for the garden", "hens")) as server:
        assert expand(server, "--output", "more.json") == 2
    assert 20 <= server.stats.requests <= 20 + 8
    told = capsys.readouterr().err
    assert re.search(r"error: 20 calls in a row were refused and none was accepted in this run: \w+ \d+ \(\d+%\)", told)
    assert "--max-rejected 0 goes on anyway" in told
    assert not Path("more.json").exists()


def test_the_widener_goes_on_if_it_is_told_to(forty_groups):
    """With --max-rejected 0 every group is asked until it is dry."""
    with serving(answer=always("hens")) as server:
        assert expand(server, "--output", "more.json", "--max-rejected", "0") == 1
    assert server.stats.requests == 40 * rules()["ask"]["dry"]


def test_a_silent_model_stops_the_widener(forty_groups, monkeypatch, capsys):
    """After 8 calls without a word the run stops, and the error names the field with the text."""
    message = {"content": None, "reasoning_content": '["stacking peats for the winter"]'}
    body = encode_json({"choices": [{"message": message, "finish_reason": "stop"}], "usage": None})
    monkeypatch.setitem(mock_server.ANSWERS, "mute", lambda call, text: mock_server._http(200, body))
    with serving(decide=lambda call: Action("mute")) as server:
        assert expand(server, "--output", "more.json") == 2
    assert server.stats.requests <= 8 + 8
    assert "8 calls in a row have no words in them" in (told := capsys.readouterr().err)
    assert "the text is in the field reasoning_content" in told


def test_topics_found_before_the_stop_are_kept(forty_groups, capsys):
    """A model that runs out of topics is stopped later, and its topics are in the file."""
    fresh = fresh_topics()
    answer = lambda call: fresh(call) if call.number == 1 else '["hens"]'  # noqa: E731
    with serving(answer=answer) as server:
        expand(server, "--output", "more.json", "--max-rejected", "10", "--max-concurrency", "1", "--per-group", "2")
    assert server.stats.requests == 1 + 20
    assert "2 new topics in more.json" in capsys.readouterr().err
