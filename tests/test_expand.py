"""The topic widener against a mock server: what it asks, what it keeps, what it leaves alone, and how it ends."""

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
def nothing_of_the_machine(tmp_path, monkeypatch):
    """No key, no address and no `.env` but the test's own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def topics(tmp_path):
    """A grouped topic file."""
    path = tmp_path / "topics.json"
    path.write_text(json.dumps({"groups": GROUPS}, indent=2), "utf-8")
    return path


def fresh_topics():
    """A function that answers with as many topics as were asked for, all of them new and unlike."""
    stock = (
        f"{VERBS[at % 10]} {thing} in a {place}" for at, (place, thing) in enumerate(itertools.product(PLACES, THINGS))
    )
    lock = threading.Lock()

    def answer(call: Call) -> str:
        with lock:
            return json.dumps({"topics": list(itertools.islice(stock, asked(call)["wanted"]))})

    return answer


def asked(call: Call) -> dict:
    """The JSON that a call hands to the model."""
    return json.loads(call.prompt)


def says(*topics: str):
    """An answer that is always these topics."""
    return lambda call: json.dumps({"topics": topics})


def widen(server, *flags: str) -> int:
    """Run the script on `server`."""
    return script.main(["--input", "topics.json", "--base-url", server.url, "--model", "m", *flags])


def widened(path: Path) -> dict[str, list[str]]:
    """The groups of a file."""
    return json.loads(path.read_text("utf-8"))["groups"]


def test_each_group_gets_its_number(topics, capsys):
    """Every group has just as many topics more as were asked for, after those that were there; all is 0."""
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--in-place", "--per-group", "5") == 0
    for group, had in GROUPS.items():
        assert widened(topics)[group][: len(had)] == had
        assert len(widened(topics)[group]) == len(had) + 5
    every = [topic for group in widened(topics).values() for topic in group]
    assert len(set(every)) == len(every)
    assert all(check_topic(topic) is None for topic in every[5:])
    assert "15 new topics" in capsys.readouterr().err
    assert json.loads((topics.parent / "topics.json.bak").read_text("utf-8"))["groups"] == GROUPS


def test_output_leaves_the_input_alone(topics):
    """With --output the widened list goes there, whole, and the input stays as it was."""
    before = topics.read_bytes()
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--output", "wide.json", "--per-group", "2", "--groups", "farm, home") == 0
    assert topics.read_bytes() == before
    assert {group: len(there) for group, there in widened(topics.parent / "wide.json").items()} == {
        "farm": 4, "garden": 2, "home": 3,
    }  # fmt: skip


def test_the_same_command_again_adds_to_the_output(topics, caplog):
    """A second run into the same --output keeps every topic that the first one paid for, and adds to them."""
    output = topics.parent / "wide.json"
    whole = fresh_topics()
    with serving(answer=whole) as server:
        assert widen(server, "--output", "wide.json", "--per-group", "2") == 0
        first = widened(output)
        assert widen(server, "--output", "wide.json", "--per-group", "3") == 0
    for group, had in first.items():
        assert widened(output)[group][: len(had)] == had
        assert len(widened(output)[group]) == len(had) + 3
    assert "wide.json already has all topics of topics.json: new topics are added to it." in caplog.text


def test_an_output_of_another_making_is_left_alone(topics, capsys):
    """An --output without the topics of --input is not written over: exit 2, and the ways out are named."""
    (topics.parent / "wide.json").write_text('["painting barrels in a harbour"]', "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--output", "wide.json") == 2
    assert server.stats.requests == 0
    assert (topics.parent / "wide.json").read_text("utf-8") == '["painting barrels in a harbour"]'
    told = capsys.readouterr().err
    assert "error: wide.json exists and does not have 5 of the topics of topics.json" in told
    assert "hint: Expand that list (--input wide.json --in-place)" in told


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (["--max-total-tokens", "1"], "tokens used of --max-total-tokens 1"),
        (["--max-cost", "0.000001", "--price-in", "1", "--price-out", "2"], "spent of --max-cost $1e-06"),
    ],
)
def test_a_budget_ends_all_groups(topics, capsys, budget, says):
    """When the budget is spent no group asks again; what was found is kept, and the status is 1."""
    whole = fresh_topics()
    with serving(answer=lambda call: json.dumps(json.loads(whole(call))["topics"][:3])) as server:
        assert widen(server, "--in-place", "--per-group", "9", "--max-concurrency", "1", *budget) == 1
    assert server.stats.requests == 1
    assert len(widened(topics)["farm"]) == 5
    assert capsys.readouterr().err.count(says) == 3


def test_what_the_model_is_told(topics):
    """Group and topics are data in the user's turn, the schema goes along, and nothing of theirs is in the rules."""
    with serving(answer=fresh_topics()) as server:
        widen(server, "--in-place", "--per-group", "3", "--groups", "farm")
    first = server.calls[0]
    assert asked(first)["group"] == "farm"
    assert set(GROUPS["farm"]) <= set(asked(first)["examples"])
    assert first.body["messages"][0]["content"] == rules()["ask"]["system"].strip()
    assert first.body["response_format"]["json_schema"]["schema"]["required"] == ["topics"]
    assert first.key == "no-key"


def test_the_same_seed_asks_the_same(topics):
    """One seed, one question; another seed, another side to come from, or other examples."""
    said = []
    for seed in ("1", "1", "2"):
        with serving(answer=fresh_topics()) as server:
            widen(server, "--output", f"{len(said)}.json", "--per-group", "2", "--groups", "farm", "--seed", seed)
        said.append(server.calls[0].body)
    assert said[0] == said[1] != said[2]


def test_groups_are_asked_at_once(topics):
    """Three groups take the time of one, and no more calls are in flight than --max-concurrency."""
    for limit, peak in (("8", 3), ("2", 2), ("1", 1)):
        with serving(Behaviour(latency=0.05), answer=fresh_topics()) as server:
            widen(server, "--output", f"{limit}.json", "--per-group", "2", "--max-concurrency", limit)
        assert server.stats.peak_in_flight == peak


@pytest.mark.parametrize("way", ["schema refused", "fenced", "bullets", "cut off"])
def test_lists_of_every_make(topics, way):
    """A server that takes no schema, and a model that writes its list in another way, are read all the same."""

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
        assert widen(server, "--in-place", "--per-group", "4", "--max-concurrency", "1") == 0
    assert len(widened(topics)["farm"]) == 6
    assert server.stats.kinds["refuses_response_format"] == (way == "schema refused")


def test_a_topic_that_was_cut_off_is_not_kept(topics, monkeypatch):
    """Of a list in lines that reached its limit the last one, which may be half a topic, does not come in."""
    monkeypatch.setattr(mock_server, "_cut", lambda text: text.rpartition(" before")[0])
    listed = [f"{verb} {thing} in a barn before winter" for verb, thing in zip(VERBS, THINGS, strict=False)]
    stock = iter(listed)

    def answer(call: Call) -> str:
        return "\n".join(f"- {topic}" for topic in itertools.islice(stock, 2))

    with serving(answer=answer, decide=lambda call: Action("truncated")) as server:
        assert widen(server, "--in-place", "--per-group", "3", "--groups", "home") == 0
    assert widened(topics)["home"] == [*GROUPS["home"], *listed[:6:2]]


def test_repeats_are_refused(topics, capsys):
    """What is there already, in the same words or nearly, in its own group or another, does not come in again."""
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
    with serving(answer=says(*suggested)) as server:
        assert widen(server, "--in-place", "--per-group", "2", "--max-concurrency", "1") == 1
    new = {topic for group in widened(topics).values() for topic in group} - {t for had in GROUPS.values() for t in had}
    assert new == {"carving spoons from birch wood"}
    told = capsys.readouterr().err
    assert "near_duplicate" in told
    assert "duplicate" in told
    assert "it is nearly 'keeping hens warm in winter'" in told


def test_what_is_unfit_is_refused_and_summed_up(topics, capsys):
    """Each rule's refusals are counted, with an example and a reason; nothing unfit is written."""
    held = next(one.prompt for one in held_out_prompts() if one.bucket == "core" and 5 <= len(one.prompt.split()) <= 12)
    suggested = ["tips for a tidy shed in spring", "too short", "why does the porch smell of damp?"]
    suggested += ["mending a `pump` in the yard", "two\nlines in one topic here", normalise(held.rstrip("?"))]
    with serving(answer=says(*suggested)) as server:
        assert widen(server, "--in-place", "--per-group", "1", "--groups", "farm") == 1
    assert widened(topics) == GROUPS
    told = capsys.readouterr().err
    for rule in ("opener", "length", "ending", "markup", "lines", "held_out"):
        assert f"    {rule} 3, for example '" in told
    assert "3 calls in a row gave no new suitable topic" in told


def test_no_control_character_reaches_the_terminal(capsys, caplog):
    """What a model or a file brings that a terminal would obey is not shown, and a line break forges no line."""
    groups = {"far\x1b]0;m\x07": ["keeping \x1b[2Jhens warm in winter"]}
    Path("topics.json").write_text(json.dumps({"groups": groups}), "utf-8")
    bad = ["mending a \x1b[2Jkettle at home", "one topic\n  spent: 0 tokens in it"]
    with serving(answer=says(*bad)) as server:
        assert widen(server, "--in-place", "--per-group", "1") == 1
        assert widen(server, "--in-place", "--dry-run") == 0
        assert widen(server, "--in-place", "--groups", "moon") == 2
    told = capsys.readouterr()
    shown = told.out + told.err + caplog.text
    assert "unprintable" in shown
    assert "'one topic spent: 0 tokens in it'" in shown
    assert not set(shown) & {"\x1b", "\x07"}
    assert widened(Path("topics.json")) == groups


def test_nothing_found_writes_nothing(topics):
    """Without a new topic neither the file nor a backup is written."""
    before = topics.stat().st_mtime_ns
    with serving(answer=says()) as server:
        assert widen(server, "--in-place") == 1
    assert topics.stat().st_mtime_ns == before
    assert [file.name for file in topics.parent.iterdir()] == ["topics.json"]


def test_batches_until_it_has_its_number(topics):
    """A model that gives little at a time is asked again, and is shown what it has given."""
    whole = fresh_topics()
    with serving(answer=lambda call: json.dumps(json.loads(whole(call))["topics"][:3])) as server:
        assert widen(server, "--in-place", "--per-group", "8", "--groups", "home") == 0
    assert server.stats.requests == 3
    assert set(widened(topics)["home"][1:7]) <= set(asked(server.calls[2])["examples"])


def test_a_group_that_stops_yielding_says_so(topics, capsys):
    """A model with no more to give is left after three barren calls; what it gave is kept; the status is 1."""
    with serving(answer=says("carving spoons from birch wood")) as server:
        assert widen(server, "--in-place", "--per-group", "5", "--groups", "home") == 1
    assert widened(topics)["home"] == [*GROUPS["home"], "carving spoons from birch wood"]
    assert "home: 1 of 5 in 4 calls, stopped: 3 calls in a row gave no new suitable topic" in capsys.readouterr().err


def test_faults_are_waited_out(topics, capsys):
    """Rate limits, broken connections and garbled answers cost a wait, no topic, and are counted."""
    faults = {
        1: Action("rate_limit", retry_after="0.05"),
        2: Action("disconnect"),
        3: Action("malformed"),
        5: Action("error_503"),
    }
    with serving(answer=fresh_topics(), decide=lambda call: faults.get(call.number)) as server:
        assert widen(server, "--in-place", "--per-group", "3") == 0
    assert sum(map(len, widened(topics).values())) == 5 + 9
    told = capsys.readouterr().err
    for fault in ("rate_limit 1", "connection 1", "malformed 1", "http_503 1"):
        assert fault in told


def test_a_failed_group_loses_nothing_of_the_others(topics, capsys):
    """A group whose calls are lost for good is named; the others have their number."""
    whole = fresh_topics()

    def decide(call: Call) -> Action | None:
        return Action("context_400") if asked(call)["group"] == "garden" else None

    with serving(answer=whole, decide=decide) as server:
        assert widen(server, "--in-place", "--per-group", "4") == 1
    assert {group: len(there) for group, there in widened(topics).items()} == {"farm": 6, "garden": 2, "home": 5}
    assert "garden: 0 of 4 in 0 calls, stopped: the request is too long" in capsys.readouterr().err


def test_a_key_that_dies_keeps_what_was_found(topics, capsys):
    """When the quota ends in the middle, the run stops with 2 and one line, and what was found is on disk."""
    whole = fresh_topics()

    def decide(call: Call) -> Action | None:
        return None if asked(call)["group"] == "farm" else Action("quota", seconds=0.3)

    with serving(answer=whole, decide=decide) as server:
        assert widen(server, "--in-place", "--per-group", "4") == 2
    assert len(widened(topics)["farm"]) == 6
    told = capsys.readouterr().err
    assert "error: the quota is used up (429)" in told
    assert "4 new topics" in told


FATAL = {
    "unauthorized": "rejected the key (401)",
    "forbidden": "rejected the key (403)",
    "payment": "the quota is used up",
    "no_model": "has no model 'm'",
    "bad_request": "rejected the request (400)",
}


@pytest.mark.parametrize("kind", FATAL)
def test_a_fatal_fault_is_one_line(topics, monkeypatch, capsys, caplog, kind):
    """What no later call can mend ends the run with 2 and one line, without a trace or the key, the file untouched."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level("DEBUG")
    before = topics.read_bytes()
    with serving(decide=lambda call: Action(kind)) as server:
        assert widen(server, "--in-place") == 2
    told = capsys.readouterr().err
    assert FATAL[kind] in told
    assert sum(line.startswith("error: ") for line in told.splitlines()) == 1
    assert "Traceback" not in told
    assert KEY not in told + caplog.text
    assert topics.read_bytes() == before


def test_a_fatal_fault_lets_no_waiting_group_ask(tmp_path, capsys):
    """Groups that wait for their turn when the quota ends do not ask: twelve groups, one call."""
    Path("topics.json").write_text(json.dumps({f"group {at}": [f"topic number {at}"] for at in range(12)}), "utf-8")
    with serving(decide=lambda call: Action("quota")) as server:
        assert widen(server, "--in-place", "--max-concurrency", "1") == 2
    assert server.stats.requests == 1
    assert "error: the quota is used up (429)" in capsys.readouterr().err


def test_a_list_that_cannot_be_written_ends_the_run(topics, capsys):
    """At the first write that fails no more is asked; what was found is kept, and the summary tells what is on disk."""
    whole = fresh_topics()

    def answer(call: Call) -> str:
        topics.unlink()
        topics.mkdir()
        return whole(call)

    with serving(answer=answer) as server:
        assert widen(server, "--in-place", "--per-group", "2", "--max-concurrency", "1") == 2
    assert server.stats.requests == 1
    told = capsys.readouterr().err
    assert "error: topics.json: cannot be read: it is a directory" in told
    assert "0 new topics: nothing is written\n  farm: 0 of 2 in 1 calls" in told
    assert "not written there: 2 new topics; they are in topics.json.found" in told
    assert len(Path("topics.json.found").read_text("utf-8").splitlines()) == 2


def test_topics_that_can_be_written_nowhere_are_printed(topics):
    """Where the system lets no file grow, the topics that were paid for are told, one a line."""
    with serving(answer=says("carving spoons from birch wood")) as server:
        process = start(server, "--per-group", "1", "--groups", "farm", limit=True)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "not written anywhere: 1 new topics; copy them from here\ncarving spoons from birch wood\n" in told
    assert "the file would exceed the size limit" in told
    assert widened(topics) == GROUPS


def test_a_backup_that_cannot_be_written_costs_no_call(topics, capsys):
    """A folder in the place of the backup is named before anything is asked."""
    Path("topics.json.bak").mkdir()
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--in-place") == 2
    assert server.stats.requests == 0
    assert "error: topics.json.bak: cannot be written: it is a directory" in capsys.readouterr().err


def test_every_group_failing_is_an_error(topics, capsys):
    """When no group got a single answer there is nothing to sum up but the error."""
    with serving(decide=lambda call: Action("context_400")) as server:
        assert widen(server, "--in-place") == 2
    assert "error: no group got an answer" in capsys.readouterr().err


def test_tokens_that_nobody_counted_are_told_as_a_guess(topics, monkeypatch, capsys):
    """Where the server counts no tokens, the summary says about how many there were."""
    uncounted = {"choices": [{"message": {"content": '["x"]'}, "finish_reason": "stop"}]}
    monkeypatch.setitem(mock_server.ANSWERS, "ok", lambda call, text: mock_server._http(200, encode_json(uncounted)))
    with serving(answer=lambda call: "") as server:
        widen(server, "--in-place")
    assert re.search(r"spent: about [\d,]+ tokens in", capsys.readouterr().err)


def test_two_runs_on_one_list_lose_nothing(topics, capsys):
    """A second run on a list that is being widened is refused before it asks; the first keeps all that it found."""
    with serving(Behaviour(latency=0.1), answer=fresh_topics()) as server, locked(topics):
        assert widen(server, "--in-place") == 2
    assert server.stats.requests == 0
    assert "another run is writing this file" in capsys.readouterr().err


def test_a_key_that_a_server_repeats_goes_nowhere(topics, monkeypatch, capsys):
    """The user's key in an answer reaches neither the list nor the terminal."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(
        answer=lambda call: json.dumps([f"keeping {call.key} in a tin box", "carving a birch spoon"])
    ) as server:
        widen(server, "--in-place", "--per-group", "1", "--groups", "farm")
    told = capsys.readouterr()
    assert "spacing" in told.err
    assert KEY not in told.out + told.err + topics.read_text("utf-8")


def test_no_model_at_all(topics, capsys):
    """Without a key and a base URL the run ends with 2 and says how to get one."""
    assert script.main(["--in-place"]) == 2
    told = capsys.readouterr().err
    assert "no key and no base URL" in told
    assert "hint: Set OPENAI_API_KEY" in told


def test_nobody_listening(topics, capsys):
    """A server that is not there ends the run with 2, at once."""
    assert script.main(["--in-place", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "error: no connection to http://127.0.0.1:9/v1"
    assert len(said) == 2, "no summary of what was never asked"


def test_a_key_from_dotenv(topics):
    """The key may come from `.env`, and is the one that the server sees."""
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n", "utf-8")
    with serving(Behaviour(key=KEY), answer=fresh_topics()) as server:
        assert widen(server, "--in-place", "--per-group", "1") == 0


def test_dry_run_asks_nothing(topics, capsys):
    """--dry-run tells groups, calls and tokens, calls nothing, writes nothing, and needs no key."""
    before = topics.read_bytes()
    with serving() as server:
        assert widen(server, "--in-place", "--dry-run", "--per-group", "30") == 0
    assert server.stats.requests == 0
    assert script.main(["--dry-run"]) == 0
    assert topics.read_bytes() == before
    told = capsys.readouterr().out
    assert "90 new topics in 3 groups" in told
    assert "about 6 calls" in told


@pytest.mark.parametrize(
    ("flags", "says"),
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
def test_a_mistake_is_named(topics, capsys, flags, says):
    """What the user gave wrong is said in one line with a hint, and ends with 2."""
    with serving() as server:
        assert script.main(["--input", "topics.json", "--base-url", server.url, "--model", "m", *flags]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert says in told
    assert "\nhint: " in told
    assert server.stats.requests == 0


@pytest.mark.parametrize(
    ("flag", "number"),
    [
        *[("--per-group", "0"), ("--max-concurrency", "-1"), ("--price-in", "-1"), ("--max-cost", "nan")],
        *[("--max-total-tokens", "0"), ("--timeout", "inf")],
    ],
)
def test_a_number_that_no_run_can_have_is_a_usage_error(capsys, flag, number):
    """A bad number ends with exit 2 and a line that names the flag and the number."""
    with pytest.raises(SystemExit, match="2"):
        script.main(["--in-place", flag, number])
    assert f"error: argument {flag}: {number} is not a" in capsys.readouterr().err


def test_held_out_topics_that_are_there_are_reported(tmp_path, capsys, caplog):
    """A topic of the list that is too near a held-out prompt is named, and stays where it is."""
    held = next(one.prompt for one in held_out_prompts() if one.bucket == "core")
    Path("topics.json").write_text(json.dumps([held, *GROUPS["farm"]]), "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--in-place", "--per-group", "1") == 0
    assert f"The topic '{held}' matches the held-out prompt" in caplog.text
    assert json.loads(Path("topics.json").read_text("utf-8"))[:3] == [held, *GROUPS["farm"]]


@pytest.mark.parametrize("flags", [[], ["--groups", "cooking"]])
def test_an_empty_group_is_filled(flags):
    """A group without a topic is asked for like any other."""
    Path("topics.json").write_text(json.dumps({"groups": {"farm": ["keeping hens warm"], "cooking": []}}), "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--in-place", "--per-group", "2", *flags) == 0
    assert len(widened(Path("topics.json"))["cooking"]) == 2


@pytest.mark.parametrize("names", ["garden, tools,farm", "farm,garden,tools", "farm , garden ,  tools"])
def test_a_group_with_a_comma_can_be_chosen(names):
    """A group's name may have commas in it: known names are seen first, however they are spaced."""
    groups = {"garden, tools": ["growing kale"], "home": ["mending a kettle"], "farm": ["keeping hens"]}
    Path("topics.json").write_text(json.dumps({"groups": groups}), "utf-8")
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--in-place", "--per-group", "1", "--groups", names) == 0
    assert {group: len(topics) for group, topics in widened(Path("topics.json")).items()} == {
        "garden, tools": 2, "home": 1, "farm": 2,
    }  # fmt: skip


def test_the_same_command_again_adds_to_a_text_output(topics):
    """A grouped list that was widened into a text file is widened there again, group by group."""
    with serving(answer=fresh_topics()) as server:
        assert widen(server, "--output", "out.txt", "--per-group", "2") == 0
        first = Path("out.txt").read_text("utf-8")
        assert widen(server, "--output", "out.txt", "--per-group", "1", "--groups", "farm") == 0
    assert Path("out.txt").read_text("utf-8").startswith(first)
    assert len(Path("out.txt").read_text("utf-8").splitlines()) == 5 + 6 + 1


def test_a_text_list_has_one_group(topics):
    """A plain list is widened as one group, and stays plain."""
    Path("topics.txt").write_text("keeping hens warm in winter\n", "utf-8")
    with serving(answer=fresh_topics()) as server:
        flags = ["--input", "topics.txt", "--in-place", "--per-group", "2", "--base-url", server.url, "--model", "m"]
        assert script.main(flags) == 0
    lines = Path("topics.txt").read_text("utf-8").splitlines()
    assert lines[0] == "keeping hens warm in winter"
    assert len(lines) == 3


def start(server, *flags: str, limit: bool = False) -> subprocess.Popen[str]:
    """The script as a process of its own; with a `limit` no file may have a byte."""
    command = [sys.executable, SCRIPT, "--in-place", "--base-url", server.url, "--model", "m", *flags]
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command] if limit else command
    env = os.environ | {"OPENAI_API_KEY": KEY, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)


def until(condition) -> None:
    """Wait until `condition()` holds, half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_keeps_what_was_found(topics):
    """The first Ctrl-C awaits the calls in flight and writes what they gave; the status is 130."""
    with serving(Behaviour(latency=0.2), answer=fresh_topics()) as server:
        process = start(server, "--per-group", "60")
        until(lambda: server.stats.kinds["ok"] >= 1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    assert sum(map(len, widened(topics).values())) > 5
    assert server.stats.kinds["aborted"] == 0


def test_ctrl_c_lets_no_waiting_group_ask(topics):
    """Groups that wait for their turn when Ctrl-C comes do not ask."""
    with serving(Behaviour(latency=0.5), answer=fresh_topics()) as server:
        process = start(server, "--per-group", "2", "--max-concurrency", "1")
        until(lambda: server.stats.requests == 1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert server.stats.requests == 1


def test_ctrl_c_lets_no_group_ask_that_waits_for_room_in_a_budget(topics):
    """Groups that a budget keeps waiting when Ctrl-C comes do not ask once there is room."""
    with serving(Behaviour(latency=0.5), answer=fresh_topics()) as server:
        process = start(server, "--max-total-tokens", "900")
        until(lambda: server.stats.requests == 1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "tokens used of" not in told
    assert server.stats.requests == 1


def test_a_second_ctrl_c_stops_now(topics):
    """A second Ctrl-C does not wait for a server that hangs."""
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


def test_kill_loses_only_calls_in_flight(topics):
    """Killed outright, the file is whole and holds what every finished call but those of that moment gave."""
    with serving(Behaviour(latency=0.02), answer=fresh_topics()) as server:
        process = start(server, "--per-group", "70", "--max-concurrency", "1")
        until(lambda: server.stats.kinds["ok"] >= 2)
        process.kill()
        process.communicate(timeout=30)
    assert sum(map(len, widened(topics).values())) > 5
