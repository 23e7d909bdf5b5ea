"""Chats of more than one exchange: their plan, their follow-ups, the gates of later answers, retries and resuming."""

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import generate_doric_dataset as script
import transform_to_sharegpt
from doric.core.conversations import check_row
from doric.core.errors import SettingsError
from doric.core.text import fold, sentences, words
from doric.data import FOLDER as DATA
from doric.dataset import asks, followups, prompts
from doric.dataset.plan import Exchange, Mix, Plan, read_turns
from doric.lint import followups as lint
from doric.lint.files import read_files
from doric.quality.gates import Answer
from doric.quality.later_answers import check_later
from doric.report.dataset_page import dataset_page, load_stats
from doric.topics.lists import Topic
from language_data import errors_in, forget
from mock_server import Action, Behaviour, Call, DoricAnswers, serving

DORIC = (
    "Double yer threid an pit a knot in the eyn. Come up throwe the cloot, lay a matchstick ower the tap o the button, "
    "an shew abeen the stick sax times. Syne draa the stick oot an feenish wi twa knots at the back o the cwite."
)
THINNER = (
    "Use a strong cotton and test the button at the end of the job afore ye wear the coat oot in the rain. Keep a bit "
    "o the thread in case the button comes aff again, an hae a look at the ither buttons on the coat as weel."
)
ENGLISH = "You should use a strong thread and sew the button on twice, and then check that it holds before you wear it."


@pytest.fixture(autouse=True)
def here(ten_topics):
    """A folder with ten topics, without a key, a URL or a `.env`."""
    return ten_topics


def generate(*flags: str, rows: int = 2) -> int:
    """Run the generator with `rows` rows for each of the ten topics; the exit status."""
    every = ["--topics", "topics.txt", "--out", "out.jsonl", "--n-per-topic", str(rows), "--no-progress", *flags]
    return script.main(every)


def asked_of(server) -> list[str]:
    """The flags that ask a mock server, without asks whose answers have rules of their own."""
    return ["--base-url", server.url, "--model", "mock-doric", "--max-concurrency", "1", *ADVICE]


ADVICE = ("--ask-mix", "none", "--adv-ratio", "0", "--safety-ratio", "0", "--multi-ratio", "0")


def lines(name: str = "out.jsonl") -> list[dict]:
    """The objects of a JSON Lines file; none if there is no file."""
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()] if Path(name).exists() else []


def answers(row: dict) -> list[str]:
    """The answers of a row."""
    return [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]


def users(row: dict) -> list[str]:
    """The user turns of a row."""
    return [turn["content"] for turn in row["messages"] if turn["role"] == "user"]


# ---- the plan


@pytest.mark.parametrize("text", ["1", "0", "4-2", "2-", "-3", "2-99", "two", "", "1-3", "2.5"])
def test_turns_that_no_chat_has_are_an_error(text, capsys):
    """A chat has at least a question and its answer, and the error says what to give."""
    with pytest.raises(SettingsError, match="--turns"):
        read_turns(text)
    assert generate(f"--turns={text}") == 2
    assert "or a range such as 2-4" in capsys.readouterr().err


def test_a_range_is_spread_evenly_over_the_buckets():
    """Each number of turns comes equally often in each bucket, and the plan counts exactly what its jobs have."""
    topics = [Topic(f"topic {number}", "g") for number in range(40)]
    plan = Plan(topics, Mix(6, turns=(2, 4)))
    assert plan.turns == dict(sorted(Counter(job.turns for job in plan).items()))
    for kind in prompts.KINDS:
        counts = Counter(job.turns for job in plan if job.kind == kind)
        assert counts.keys() == {2, 3, 4}
        assert max(counts.values()) - min(counts.values()) <= 20
    assert plan.answers == sum(job.turns - 1 for job in plan)


def test_two_turns_are_the_plan_of_earlier_versions():
    """The ids do not depend on --turns, and the fingerprint has no new key, so old runs resume."""
    topics = [Topic("how to bleed a radiator", "home")]
    old, new = Plan(topics, Mix(4)), Plan(topics, Mix(4, turns=(3, 3)))
    assert [job.id for job in old] == [job.id for job in new]
    assert "turns" not in old.fingerprint()
    assert new.fingerprint()["turns"] == [3, 3]


def test_the_forecast_counts_answers(capsys):
    """--dry-run says how many chats have how many turns, and expects more tokens for longer chats."""
    flags = ("--backend", "openai", "--model", "gpt-6-luna", "--dry-run")
    assert generate(*flags) == generate(*flags, "--turns", "3") == 0
    first, second = capsys.readouterr().out.split("20 rows over")[1:]
    assert "rows by turns" not in first
    assert "rows by turns: 3 turns 20; 40 answers" in second
    tokens = [int(text.split("about ")[1].split(" tokens")[0].replace(",", "")) for text in (first, second)]
    assert tokens[1] > 1.9 * tokens[0]


# ---- the embedded voice


def test_the_embedded_voice_writes_whole_chats(capsys):
    """All kinds of rows have their turns, no chat says a sentence twice, and meta has the figures of each answer."""
    assert generate("--turns", "4", "--ask-mix", "joke=0.1,venting=0.1,thanks=0.1", rows=6) == 0
    rows = lines()
    assert len(rows) == 60
    assert {row["meta"]["kind"] for row in rows} == set(prompts.KINDS)
    for row in rows:
        check_row(row)
        assert len(row["messages"]) == 6
        assert row["meta"]["turns"] == 4
        assert len(row["meta"]["follow_ups"]) == 2
        assert len(set(users(row))) == 3
        said = [fold(line) for text in answers(row) for line in sentences(text) if len(line.split()) > 3]
        assert len(said) == len(set(said))
    told = capsys.readouterr().err
    assert "by turns:  4 turns 60" in told
    assert "drift:     120 later answers; Scots words " in told


def test_a_noun_that_is_named_is_in_both_answers():
    """If a follow-up names a noun, an answer before it has this noun, and so has its own answer."""
    assert generate("--turns", "3", *ADVICE, rows=12) == 0
    named = [row for row in lines() if row["meta"]["follow_ups"][0]["wants"] == "named"]
    assert len(named) > 10
    for row in named:
        shared = set(words(answers(row)[0])) & set(words(answers(row)[1]))
        assert any(len(word) > 2 for word in shared)


def test_a_question_is_followed_by_what_stands_beside_it():
    """The first follow-up of a pair with `then` is one of its turns, and the answer is one of each of its parts."""
    assert generate("--turns", "3", "--ask-mix", "none,lookalike=1", rows=4) == 0
    beside = {turn: pair.then for pair in asks.asks()["lookalike"].pairs if pair.then for turn in pair.asks}
    chats = [row for row in lines() if row["messages"][0]["content"] in beside]
    assert chats
    for row in chats:
        then = beside[users(row)[0]]
        assert users(row)[1] in (*then.says, *then.doric)
        assert answers(row)[1] in {" ".join(lines) for lines in itertools.product(*then.parts)}


def test_no_two_chats_draw_the_same_question():
    """Follow-ups that ask something of another kind ask each question once before any again."""
    plan = Plan([Topic(f"topic {at}", "g") for at in range(200)], Mix(6, turns=(3, 3)))
    first = [job for job in plan if job.prompt.ask == "sum"]
    draw = followups.for_model(0)
    drawn = [draw(job, (Exchange(job.prompt, "Sax."),)).number for job in first]
    assert len(set(drawn)) == len(drawn) > 10


def test_the_same_seed_gives_the_same_chats():
    """A second run writes the same bytes, also if it resumes a file that was cut."""
    assert generate("--turns", "2-4") == 0
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:7]))
    assert generate("--turns", "2-4") == 0
    assert Path("out.jsonl").read_bytes() == whole


def test_other_turns_do_not_continue_a_run(capsys):
    """A run with other turns is refused with both values; so is one of an earlier version, which had two."""
    assert generate() == 0
    assert generate("--turns", "2-4") == 2
    assert "--turns 2 then, 2-4 now" in capsys.readouterr().err
    assert generate("--turns", "3", "--overwrite") == 0
    assert generate() == 2
    assert "--turns 3 then, 2 now" in capsys.readouterr().err


def test_chats_convert_and_the_report_counts_them():
    """A chat of four messages becomes a ShareGPT row with four, and the page says how many turns the rows have."""
    assert generate("--turns", "3") == 0
    assert transform_to_sharegpt.main(["--input", "out.jsonl", "--output", "share.jsonl"]) == 0
    assert {len(row["conversations"]) for row in lines("share.jsonl")} == {4}
    stats = load_stats(Path("out.jsonl"), None)
    assert stats.turns == {3: 20}
    page = dataset_page(stats, "out.jsonl")
    assert "Rows by turns" in page
    assert "later answers" in page


# ---- the gates of later answers


def test_a_later_answer_repeats_nothing():
    """A sentence that the chat has is refused; a short one, such as a thank-you, is not."""
    first = Answer.of(f"Nae bother. {DORIC}")
    assert check_later(Answer.of(DORIC), [first]).gate == "repeats_chat"
    assert check_later(Answer.of("Nae bother. Steek it weel an it'll bide on for eers tae come."), [first]) is None
    assert check_later(Answer.of(DORIC), []) is None


def test_a_later_answer_stays_as_thick_as_the_first():
    """Scots that would pass alone is refused after an answer with more than twice as many Scots words."""
    first, thinner = Answer.of(DORIC), Answer.of(THINNER)
    assert thinner.scores.substrate < first.scores.substrate / 2
    rejection = check_later(thinner, [first])
    assert rejection.gate == "drifts"
    assert "after" in rejection.reason
    assert check_later(thinner, [first], ask="translate") is None
    assert check_later(first, [thinner]) is None


# ---- a model


ANSWERS = DoricAnswers(seed=11)


def turns_of(call: Call) -> int:
    """The user turns of a call after the examples: 1 for a first answer, 3 for a follow-up or a retry."""
    said = [message["content"] for message in call.body["messages"] if message["role"] != "system"]
    return len(said)


def test_a_wrong_second_answer_is_retried_alone():
    """The first answer is not asked for again: the retry has the conversation, the rejected answer and the reason."""
    with serving(Behaviour(), decide=lambda call: Action(text=ENGLISH) if call.number == 2 else None) as server:
        assert generate("--turns", "3", "--house-spelling", "off", *asked_of(server), rows=1) == 0
    assert server.stats.requests == 10 * 2 + 1 + len(lines("out.jsonl.rejected.jsonl")[1:])
    row, rejection = lines()[0], lines("out.jsonl.rejected.jsonl")[0]
    assert (rejection["turn"], rejection["follow_up"], rejection["answer"]) == (3, users(row)[1], ENGLISH)
    assert rejection["prompt"] == users(row)[0]
    assert row["meta"]["follow_ups"][0]["tries"] == 2
    assert row["meta"]["tries"] == 1
    chat = [message["content"] for message in server.calls[2].body["messages"]]
    assert chat[-5:-1] == [users(row)[0], answers(row)[0], users(row)[1], ENGLISH]
    assert rejection["reason"] in chat[-1]


def test_a_failed_call_in_a_later_turn_costs_one_call():
    """If the server fails in the second turn, the run goes on with this turn."""
    with serving(Behaviour(), decide=lambda call: Action("error_503") if call.number == 2 else None) as server:
        assert generate("--turns", "3", *asked_of(server), rows=1) == 0
    assert len(lines()) == 10
    assert server.stats.requests == 10 * 2 + 1 + len(lines("out.jsonl.rejected.jsonl"))


def test_a_later_turn_has_the_conversation_and_its_own_instruction():
    """A follow-up is sent after the first exchange, and the rules say that it is a later turn."""
    with serving(Behaviour()) as server:
        assert generate("--turns", "3", "--house-spelling", "off", *asked_of(server), rows=1) == 0
    first, second = (call.body["messages"] for call in server.calls[:2])
    row = lines()[0]
    assert [turn["content"] for turn in second[-3:]] == [users(row)[0], answers(row)[0], users(row)[1]]
    assert "later turn of a conversation" in second[0]["content"]
    assert "later turn of a conversation" not in first[0]["content"]


def test_an_incomplete_chat_costs_at_most_that_chat():
    """A run that a budget stops within a chat keeps all complete chats, and resuming writes the others."""
    with serving(Behaviour()) as server:
        flags = ("--turns", "3", *asked_of(server))
        assert generate(*flags, "--max-total-tokens", "20000", rows=1) == 1
        before, calls = lines(), server.stats.requests
        assert 0 < len(before) < 10
        assert calls - 2 * len(before) - len(lines("out.jsonl.rejected.jsonl")) <= 1
        assert generate(*flags, rows=1) == 0
    assert lines()[: len(before)] == before
    assert len(lines()) == 10


def test_a_row_that_lost_a_turn_is_refused(capsys):
    """A chat whose last exchange was deleted by hand is no row of the plan."""
    assert generate("--turns", "3") == 0
    rows = lines()
    del rows[4]["messages"][2:]
    Path("out.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    assert generate("--turns", "3") == 2
    assert "out.jsonl:5: this row does not have all its turns" in capsys.readouterr().err


# ---- the file


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A copy of the language data, which the test changes."""
    folder = tmp_path / "data"
    shutil.copytree(str(DATA), folder)
    monkeypatch.setattr("doric.data.FOLDER", folder)
    forget()
    yield folder
    monkeypatch.undo()
    forget()


CASES = {
    "an unknown slot": ('"And the {english}?"', '"And the {engish}?"', "unknown slot {engish}: write {english}"),
    "a missing slot": ('"{ask} Just talk normally."', '"Just talk normally."', "write {ask} exactly once"),
    "a kind of answer that is none": ('answer = "whys"', 'answer = "why"', "'answer' is 'why'"),
    "an unknown ask": ('of = "goodbye"', 'of = "farewell"', "there is no ask 'farewell' in asks/"),
    "an ask that nothing follows": ('after = ["sum"]', 'after = ["code"]', "nothing follows it: add 'sum'"),
    "an unknown category": ('categories = ["self-harm"]', 'categories = ["harm"]', "no category of refusals.toml"),
    "a language without follow-ups": ("[multi.zh]", "[multi.xx]", "add [multi.zh]"),
    "Central Scots": ('"Fit wye?"', '"How no, ya wean?"', "Central Scots: "),
    "an answer in English": (
        "Be kin tae yersel the nicht.", "You should be kind to yourself with all of your heart tonight.", "English",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "reason"), CASES.values(), ids=CASES)
def test_a_mistake_in_the_file_is_found(data, old, new, reason):
    """Each mistake is reported with what to write instead."""
    file = data / lint.FILE
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")
    assert any(reason in finding.reason for finding in errors_in(lint.FILE))


def test_the_file_has_no_mistakes():
    """The file of the project is right."""
    forget()
    assert list(lint.check_followups(read_files()[0])) == []
