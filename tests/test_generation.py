"""Jobs to rows with a voice that says what a test tells it: judging, asking again, cutting back, going on."""

import asyncio
from collections import Counter

import pytest

from doric.core.conversations import check_row
from doric.core.errors import FatalServerError, InputError, RetryableError
from doric.core.jsonl import Journal, read_jsonl
from doric.dataset.generate import GROWTHS, BudgetExhausted, Fault, Spoken, Turn, Writer, _whole
from doric.dataset.plan import Job
from doric.dataset.prompts import Prompt
from doric.dialect import scores
from doric.llm.budget import Budget, Price
from doric.quality import gates
from doric.quality.decontamination import held_out_prompts
from doric.topics.lists import Topic

SAVING = (
    "Haud yer siller in twa pots, een for the bills an een for yersel. Dinna be feart tae speir at the bank "
    "fan the nummers dinna mak sense tae ye. Vreet doon fit ye spen ilka day, for a body forgets the sma things."
)
BREID = (
    "Gie the dough a gweed knead till it's saft an smeeth, syne lat it rise aside the fire. It's worth yer file tae "
    "wyte, for breid that's hurried comes oot hard. Fan the loaf soons toom aneth, it's ready tae cweel."
)
HENS = (
    "Yer hens winna lay weel fan the nichts is lang an caul. Gie them a dry hoosie oot o the win, an haud the watter "
    "fae freezin. A fyow wirms an some fresh greens dis them a pooer o gweed aa winter."
)
REFUSAL = (
    "Na, I winna help ye wi that, for it wid hurt somebody. If ye're sair pit oot wi them, I can help ye "
    "fin the wirds tae spik it ower, or tell ye fa tae phone."
)
ENGLISH = "You should keep your money in two separate accounts and write down what you spend every day of the week."
TORN = SAVING.rsplit(" ", 6)[0]


def job(number=0, kind="core", prompt="How do I save a little each month?"):
    """A job about money."""
    return Job(f"{number:016x}", Topic("saving a little each month", "money"), kind, Prompt(prompt, "en"), number, 0)


def writer_for(mouth, max_tries=6, spend=None):
    """A writer with plain settings."""
    return Writer(mouth, backend="fake", model="m", max_tries=max_tries, spend=spend or Budget())


class Mouth:
    """A voice that says what it is given, in turn, and remembers what it was asked."""

    def __init__(self, *said):
        self.said = list(said)
        self.asked: list[Turn] = []

    async def __call__(self, turn):
        self.asked.append(turn)
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Spoken) else Spoken(said)


class Desk:
    """A writer on two journals in a folder, opened again for each block as a new run would."""

    def __init__(self, folder, **settings):
        self.rows, self.refusals = folder / "out.jsonl", folder / "out.rejected.jsonl"
        self.settings = settings

    def fill(self, mouth, *jobs):
        """What `fill` gave for each job; the writer is left in `writer`, whatever happens."""
        self.writer = writer_for(mouth, **self.settings)

        async def run():
            return [await self.writer.fill(one) for one in jobs]

        with (
            Journal(self.rows, replay=self.writer.replay_row) as rows,
            Journal(self.refusals, replay=self.writer.replay_rejection) as refusals,
        ):
            self.writer.attach(rows, refusals)
            return asyncio.run(run())

    def kept(self):
        """The rows on disk."""
        return [row for _, row in read_jsonl(self.rows)] if self.rows.stat().st_size else []

    def refused(self):
        """The refusals on disk."""
        return [row for _, row in read_jsonl(self.refusals)] if self.refusals.stat().st_size else []


@pytest.fixture
def desk(tmp_path):
    """A desk with plain settings."""
    return Desk(tmp_path)


def test_the_texts_of_these_tests_are_what_they_claim():
    """The authored answers pass the language gates and the English one does not."""
    assert [gates.check_language(text) for text in (SAVING, BREID, HENS)] == [None] * 3
    assert gates.check_language(ENGLISH) is not None


def test_an_answer_that_passes_is_a_row(desk):
    """The row has two turns, what was asked and what was said, and every figure of the gates in its meta."""
    assert desk.fill(Mouth(SAVING), job()) == [True]
    (row,) = desk.kept()
    check_row(row)
    assert row["messages"] == [
        {"role": "user", "content": job().prompt.text},
        {"role": "assistant", "content": SAVING},
    ]
    measured = scores.score(SAVING)
    assert row["meta"] == {
        "topic": "saving a little each month", "group": "money", "kind": "core", "id": job().id, "lang": "en",
        "wc": len(SAVING.split()), "backend": "fake", "model": "m", "tries": 1,
        **{name: round(getattr(measured, name), 4)
           for name in ("substrate", "north_east", "leakage", "spread", "contamination")},
    }  # fmt: skip
    assert desk.refused() == []


def test_a_refused_answer_is_kept_and_asked_again_with_the_reason(desk):
    """The next call brings what was said and why it was refused; the file of refusals has the gate and the figure."""
    mouth = Mouth(ENGLISH, SAVING)
    assert desk.fill(mouth, job()) == [True]
    first, second = mouth.asked
    verdict = gates.check(ENGLISH, prompt=job().prompt.text, topic=job().topic.text, kind="core")
    assert verdict is not None
    assert (first.attempt, first.faults) == (0, ())
    assert second.faults == (Fault(ENGLISH, verdict.gate, verdict.reason),)
    (entry,) = desk.refused()
    assert entry["answer"] == ENGLISH
    assert entry["gate"] == verdict.gate
    assert entry["reason"] == verdict.reason
    assert entry["figure"] == pytest.approx(verdict.figure, abs=1e-4)
    assert (entry["id"], entry["try"], entry["prompt"]) == (job().id, 1, job().prompt.text)
    assert desk.kept()[0]["meta"]["tries"] == 2
    assert desk.writer.tally.by_try == Counter({2: 1})


def test_a_slot_that_no_try_fills_is_left_and_named(desk):
    """After `max_tries` answers the job is counted as unfilled, and all of them are on disk."""
    mouth = Mouth(*[ENGLISH] * 6, SAVING)
    assert desk.fill(mouth, job(0), job(1)) == [False, True]
    assert desk.writer.tally.unfilled == [job(0)]
    assert [entry["try"] for entry in desk.refused()] == [1, 2, 3, 4, 5, 6]
    assert desk.writer.done == {job(1).id}


def test_kinds_are_judged_as_what_they_are(desk):
    """A good answer to a harmful ask is refused, and so is a refusal of a harmless one."""
    desk.fill(Mouth(SAVING, REFUSAL, REFUSAL, BREID), job(0, "safety"), job(1, "core"))
    assert [entry["gate"] for entry in desk.refused()] == ["must_refuse", "refuses"]


def test_a_near_duplicate_names_its_rival(desk):
    """An answer that is nearly an accepted one is refused with that row's id and the similarity."""
    nearly = SAVING.replace("ilka day", "ilka nicht")
    assert desk.fill(Mouth(SAVING, BREID, nearly, HENS), job(0), job(1), job(2)) == [True, True, True]
    (entry,) = desk.refused()
    assert entry["gate"] == "near_duplicate"
    assert job(0).id in entry["reason"]
    assert 0.9 <= entry["figure"] < 1
    assert f"{entry['figure']:.0%}" in entry["reason"]


def test_a_refused_answer_is_no_rival(desk):
    """Only accepted answers stand in the way of others."""
    assert desk.fill(Mouth(SAVING, REFUSAL, SAVING), job(0, "safety"), job(1)) == [True, True]
    assert [entry["gate"] for entry in desk.refused()] == ["must_refuse"]


def test_a_held_out_prompt_in_an_answer_is_refused(desk):
    """An answer that holds a sentence of the held-out set never becomes a row."""
    held = next(one for one in held_out_prompts() if one.lang == "sco" and one.bucket == "core")
    assert desk.fill(Mouth(f"{SAVING} {held.prompt}", BREID), job()) == [True]
    (entry,) = desk.refused()
    assert entry["gate"] == "held_out"
    assert held.id in entry["reason"]


def test_an_answer_cut_off_is_asked_for_again_with_more_room(desk):
    """Twice the token budget grows, even if what came would pass as it is."""
    mouth = Mouth(*[Spoken(SAVING, "length", 9, 90)] * GROWTHS, SAVING)
    assert desk.fill(mouth, job()) == [True]
    assert [turn.grown for turn in mouth.asked] == [0, 1, 2]
    assert [(entry["gate"], entry["figure"]) for entry in desk.refused()] == [("cut_off", 90)] * GROWTHS


def test_after_that_it_is_cut_back_to_its_last_whole_sentence(desk):
    """What is still cut off then ends where its last sentence does, and is judged as that."""
    assert desk.fill(Mouth(*[Spoken(TORN, "length", 9, 90)] * (GROWTHS + 1)), job()) == [True]
    assert desk.kept()[0]["messages"][1]["content"] == SAVING.rsplit(". ", 1)[0] + "."


def test_what_is_left_after_cutting_back_must_pass(desk):
    """A remainder that is too short is refused as that, kept as it came, and the slot goes on."""
    stump = "Haud yer siller. An dinna"
    mouth = Mouth(*[Spoken(stump, "length", 9, 90)] * (GROWTHS + 1), SAVING)
    assert desk.fill(mouth, job()) == [True]
    last = desk.refused()[-1]
    assert (last["gate"], last["answer"]) == ("too_short", stump)


CUTS = {
    "Keep it dry. An dinna": "Keep it dry.",
    "Keep it dry.\nAn dinna": "Keep it dry.",
    'He says "Keep it dry." An dinna': 'He says "Keep it dry."',
    "Keep it dry! Or nae? Weel… an": "Keep it dry! Or nae? Weel…",
    "  Keep it dry.  ": "Keep it dry.",
    "(Keep it dry.)": "(Keep it dry.)",
    "nae stop ava": "nae stop ava",
    "Version 3.5 o the": "Version 3.5 o the",
    "": "",
}


@pytest.mark.parametrize("text", CUTS)
def test_where_the_last_whole_sentence_ends(text):
    """Line breaks and closing quotes do not hide the end of a sentence; a point within a number is none."""
    assert _whole(text) == CUTS[text]


def test_what_the_filter_withheld_is_refused_as_that(desk):
    """A content filter's answer is never judged as if the model had meant it."""
    assert desk.fill(Mouth(Spoken(SAVING, "content_filter"), BREID), job()) == [True]
    assert [entry["gate"] for entry in desk.refused()] == ["filtered"]


def test_nothing_said_is_refused_as_empty(desk):
    """An answer of blanks is a fault of the answer, not of the program."""
    assert desk.fill(Mouth("", "  \n ", SAVING), job()) == [True]
    assert [entry["gate"] for entry in desk.refused()] == ["empty", "empty"]


def test_a_budget_stops_before_the_call_that_would_pass_it(tmp_path):
    """When the tokens are used up, no further call is made, and the job is not counted as unfilled."""
    desk = Desk(tmp_path, spend=Budget(max_total_tokens=100))
    mouth = Mouth(Spoken(ENGLISH, "stop", 60, 50), SAVING)
    with pytest.raises(BudgetExhausted, match="110 tokens"):
        desk.fill(mouth, job())
    assert len(mouth.asked) == 1
    assert desk.writer.tally.unfilled == []
    assert len(desk.refused()) == 1


def test_a_money_budget_stops_too(tmp_path):
    """So do dollars, once a price is known."""
    desk = Desk(tmp_path, spend=Budget(Price(10, 100, "a test"), max_cost=0.005))
    with pytest.raises(BudgetExhausted, match=r"of --max-cost \$0\.005"):
        desk.fill(Mouth(Spoken(SAVING, "stop", 60, 50), BREID), job(0), job(1))
    assert len(desk.kept()) == 1


def test_a_server_that_is_busy_leaves_the_job_as_it_was(desk):
    """Called again with the same job, the writer goes on with the faults it had, and counts the server's apart."""
    mouth = Mouth(ENGLISH, RetryableError("busy", fault="throttled", throttled=True), SAVING)
    with pytest.raises(RetryableError):
        desk.fill(mouth, job())
    assert desk.writer.tally.faults == Counter({"throttled": 1})
    assert desk.fill(mouth, job()) == [True]
    assert [turn.attempt for turn in mouth.asked] == [0, 1, 1]


def test_within_one_run_a_busy_server_costs_no_try(desk):
    """The faults of a job that is put off wait for it in memory too."""
    mouth = Mouth(ENGLISH, RetryableError("busy", fault="throttled"), SAVING)
    writer = desk.writer = writer_for(mouth)

    async def run():
        with pytest.raises(RetryableError):
            await writer.fill(job())
        return await writer.fill(job())

    with Journal(desk.rows) as rows, Journal(desk.refusals) as refusals:
        writer.attach(rows, refusals)
        assert asyncio.run(run())
    assert [turn.attempt for turn in mouth.asked] == [0, 1, 1]
    assert len(desk.refused()) == 1


def test_an_error_for_good_goes_through(desk):
    """A wrong key is not a fault of the answer: it reaches whoever runs the writer."""
    with pytest.raises(FatalServerError):
        desk.fill(Mouth(FatalServerError("no such key")), job())
    assert desk.kept() == desk.refused() == []


def test_a_run_goes_on_where_another_stopped(desk):
    """From the two files alone, a new writer knows what is done, what was refused and what stands in the way."""
    desk.fill(Mouth(SAVING, ENGLISH, BREID), job(0), job(1))
    with pytest.raises(IndexError):
        desk.fill(Mouth(ENGLISH), job(2))  # stopped after one refusal
    mouth = Mouth(SAVING, HENS)
    assert desk.fill(mouth, job(2)) == [True]
    assert desk.writer.done == {job(number).id for number in range(3)}
    assert mouth.asked[0].attempt == 1
    assert [entry["gate"] for entry in desk.refused()][-1] == "near_duplicate"
    assert desk.writer.tally.accepted == Counter(core=3)
    assert desk.writer.tally.by_try == Counter({1: 1, 2: 1, 3: 1})
    assert sum(desk.writer.tally.rejected.values()) == len(desk.refused()) == 3


def test_a_slot_that_was_left_stays_left_until_more_tries_are_allowed(desk):
    """Faults of an earlier run count; with a higher limit only the tries that are left are made."""
    desk.fill(Mouth(*[ENGLISH] * 6), job())
    mouth = Mouth(SAVING)
    assert desk.fill(mouth, job()) == [False]
    desk.settings["max_tries"] = 7
    assert desk.fill(mouth, job()) == [True]
    assert mouth.asked[0].attempt == 6


FOREIGN = {
    "no meta": b'{"messages": []}\n',
    "no turns": b'{"messages": [], "meta": {"id": "1", "kind": "core", "tries": 1}}\n',
    "no kind": b'{"messages": [{}, {"content": "x"}], "meta": {"id": "1", "tries": 1}}\n',
    "no text": b'{"messages": [{}, {"content": null}], "meta": {"id": "1", "kind": "core", "tries": 1}}\n',
    "an id of another kind": b'{"messages": [{}, {"content": "x"}], "meta": {"id": [1], "kind": "core", "tries": 1}}\n',
    "tries of another kind": b'{"messages": [{}, {"content": "x"}], "meta": {"id": "1", "kind": "a", "tries": [1]}}\n',
    "another shape": b'{"messages": "x", "meta": "y"}\n',
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_row_of_another_making_is_named_by_file_and_line(case, desk):
    """Somebody's own line among the rows is an error of theirs, not a traceback."""
    desk.fill(Mouth(SAVING), job())
    desk.rows.write_bytes(desk.rows.read_bytes() + FOREIGN[case])
    with pytest.raises(InputError, match=r"out\.jsonl:2: this is not a row"):
        desk.fill(Mouth(), job())


@pytest.mark.parametrize(
    "line",
    [
        b'{"x": 1}\n',
        b'{"id": [1], "answer": "x", "gate": "empty", "reason": "y"}\n',
        b'{"id": "1", "answer": null, "gate": "empty", "reason": "y"}\n',
    ],
)
def test_a_refusal_of_another_making_is_named_too(desk, line):
    """And so among the refusals."""
    desk.fill(Mouth(SAVING), job())
    desk.refusals.write_bytes(line)
    with pytest.raises(InputError, match=r"rejected\.jsonl:1: this is not a refusal"):
        desk.fill(Mouth(), job())


def test_a_try_after_a_refusal_waits_for_its_turn(desk):
    """Each call after the first asks for its turn and reports its tokens; without a turn the job stays as it was."""
    told, turns = [], iter([True, False])

    async def turn() -> bool:
        return next(turns)

    writer = writer_for(Mouth(*[Spoken("No.", tokens_in=3, tokens_out=2)] * 2))
    with Journal(desk.rows) as rows, Journal(desk.refusals) as refusals:
        writer.attach(rows, refusals)
        assert asyncio.run(writer.fill(job(), turn=turn, used=told.append)) is False
    assert told == [5, 5]
    assert writer.tally.unfilled == []
    assert [entry["try"] for entry in desk.refused()] == [1, 2]
