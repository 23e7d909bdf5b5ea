"""The generator with prepared answers: gates, retries, cut-off answers, budgets and resuming."""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from dataclasses import replace

import pytest

from doric.core.conversations import check_row
from doric.core.errors import FatalServerError, InputError, RetryableError, ServerError
from doric.core.journal import Journal
from doric.core.jsonl import read_jsonl
from doric.core.text import whole_sentences
from doric.dataset.generate import BUDGET_GROWTHS, BudgetExhausted, Generator
from doric.dataset.history import History
from doric.dataset.plan import Attempt, Job, RejectedAnswer
from doric.dataset.prompts import Prompt
from doric.dataset.respelling import Respelling
from doric.dialect.scores import score
from doric.llm.brake import Brake
from doric.llm.budget import Budget
from doric.llm.prices import Price
from doric.llm.response import Completion
from doric.quality import faults, gates
from doric.quality.decontamination import held_out_prompts
from doric.quality.gates import Answer
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


class ScriptedVoice:
    """A voice that returns prepared answers or raises prepared errors, and records each attempt."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.attempts: list[Attempt] = []

    async def __call__(self, attempt):
        self.attempts.append(attempt)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Completion) else Completion(answer)


class Files:
    """The two journals of a run in a folder. Each call of `fill` opens them as a new run does."""

    def __init__(self, folder, max_tries=6, budget=None):
        self.rows, self.rejections = folder / "out.jsonl", folder / "out.rejected.jsonl"
        self.max_tries, self.budget = max_tries, budget or Budget()
        self.history = History()

    @contextlib.contextmanager
    def generator(self, voice):
        """A generator on the journals. Their existing rows are replayed into `history`."""
        self.history = History()
        with (
            Journal(self.rows, replay=self.history.replay_row) as rows,
            Journal(self.rejections, replay=self.history.replay_rejection) as rejections,
        ):
            yield Generator(
                voice, self.history, rows.write, rejections.write,
                backend="fake", model="m", max_tries=self.max_tries, budget=self.budget, brake=Brake(0),
            )  # fmt: skip

    def fill(self, voice, *jobs):
        """The result of `fill` for each job."""
        with self.generator(voice) as generator:

            async def run():
                return [await generator.fill(one) for one in jobs]

            return asyncio.run(run())

    def written(self):
        """The rows on disk."""
        return [row for _, row in read_jsonl(self.rows)] if self.rows.exists() else []

    def rejected(self):
        """The rejections on disk."""
        return [row for _, row in read_jsonl(self.rejections)] if self.rejections.exists() else []


@pytest.fixture
def files(tmp_path):
    """The files of a run in a separate folder."""
    return Files(tmp_path)


def test_the_sample_texts_are_what_the_tests_need():
    """The Doric samples pass the language gates, and the English sample does not."""
    assert [gates.check_language(text) for text in (SAVING, BREID, HENS)] == [None] * 3
    assert gates.check_language(ENGLISH) is not None


def test_an_answer_that_passes_becomes_a_row(files):
    """The row has the prompt, the answer, and the scores of the answer in its meta."""
    assert files.fill(ScriptedVoice(SAVING), job()) == [True]
    (row,) = files.written()
    check_row(row)
    assert row["messages"] == [
        {"role": "user", "content": job().prompt.text},
        {"role": "assistant", "content": SAVING},
    ]
    measured = score(SAVING)
    assert row["meta"] == {
        "topic": "saving a little each month", "group": "money", "kind": "core", "id": job().id, "lang": "en",
        "wc": len(SAVING.split()), "backend": "fake", "model": "m", "tries": 1,
        **{name: round(getattr(measured, name), 4)
           for name in ("substrate", "north_east", "leakage", "spread", "contamination")},
    }  # fmt: skip
    assert files.rejected() == []


def test_a_rejected_answer_is_recorded_and_retried_with_the_reason(files):
    """The next attempt gets the rejected answer and its reason, and the rejections file has the gate and the figure."""
    voice = ScriptedVoice(ENGLISH, SAVING)
    assert files.fill(voice, job()) == [True]
    first, second = voice.attempts
    found = gates.faults(ENGLISH, prompt=job().prompt.text, topic=job().topic.text, kind="core")
    rejection = faults.combined(Answer.of(ENGLISH), [*found])
    assert rejection is not None
    assert (first.number, first.rejected) == (0, ())
    assert second.rejected == (RejectedAnswer(ENGLISH, rejection.gate, rejection.reason, "m"),)
    (entry,) = files.rejected()
    assert entry["answer"] == ENGLISH
    assert entry["gate"] == rejection.gate
    assert entry["reason"] == rejection.reason
    assert entry["figure"] == pytest.approx(rejection.figure, abs=1e-4)
    assert (entry["id"], entry["try"], entry["prompt"]) == (job().id, 1, job().prompt.text)
    assert files.written()[0]["meta"]["tries"] == 2
    assert files.history.tally.by_try == Counter({2: 1})


def test_a_job_without_a_passing_answer_is_unfilled(files):
    """After `max_tries` answers the job is listed as unfilled, and all its answers are in the rejections file."""
    voice = ScriptedVoice(*[ENGLISH] * 6, SAVING)
    assert files.fill(voice, job(0), job(1)) == [False, True]
    assert files.history.tally.unfilled == [job(0)]
    assert [entry["try"] for entry in files.rejected()] == [1, 2, 3, 4, 5, 6]
    assert files.history.done == {job(1).id}


def test_each_bucket_has_its_own_gates(files):
    """A harmful request must be refused, and a harmless question must be answered."""
    files.fill(ScriptedVoice(SAVING, REFUSAL, REFUSAL, BREID), job(0, "safety"), job(1, "core"))
    assert [entry["gate"] for entry in files.rejected()] == ["must_refuse", "refuses"]


def test_a_near_duplicate_names_the_accepted_answer(files):
    """An answer that is nearly equal to an accepted answer is rejected with that row's id and the similarity."""
    nearly = SAVING.replace("ilka day", "ilka nicht")
    assert files.fill(ScriptedVoice(SAVING, BREID, nearly, HENS), job(0), job(1), job(2)) == [True, True, True]
    (entry,) = files.rejected()
    assert entry["gate"] == "near_duplicate"
    assert job(0).id in entry["reason"]
    assert 0.9 <= entry["figure"] < 1
    assert f"{entry['figure']:.0%}" in entry["reason"]


def test_a_rejected_answer_does_not_block_others(files):
    """An answer is compared only with accepted answers, so a rejected answer does not block a similar one."""
    assert files.fill(ScriptedVoice(SAVING, REFUSAL, SAVING), job(0, "safety"), job(1)) == [True, True]
    assert [entry["gate"] for entry in files.rejected()] == ["must_refuse"]


def test_an_answer_with_a_held_out_prompt_is_rejected(files):
    """An answer that contains a held-out prompt never becomes a row."""
    held = next(one for one in held_out_prompts() if one.lang == "sco" and one.bucket == "core")
    assert files.fill(ScriptedVoice(f"{SAVING} {held.prompt}", BREID), job()) == [True]
    (entry,) = files.rejected()
    assert entry["gate"] == "held_out"
    assert held.id in entry["reason"]


def test_a_cut_off_answer_is_retried_with_a_larger_budget(files):
    """A cut-off answer is retried with a larger token budget, at most twice, even if the answer would pass."""
    voice = ScriptedVoice(*[Completion(SAVING, "length", 9, 90)] * BUDGET_GROWTHS, SAVING)
    assert files.fill(voice, job()) == [True]
    assert [attempt.cut_off for attempt in voice.attempts] == [0, 1, 2]
    assert [(entry["gate"], entry["figure"]) for entry in files.rejected()] == [("cut_off", 90)] * BUDGET_GROWTHS


def test_after_two_growths_a_cut_off_answer_is_shortened(files):
    """After two larger budgets, the answer is shortened to its last whole sentence and then checked."""
    assert files.fill(ScriptedVoice(*[Completion(TORN, "length", 9, 90)] * (BUDGET_GROWTHS + 1)), job()) == [True]
    assert files.written()[0]["messages"][1]["content"] == SAVING.rsplit(". ", 1)[0] + "."


def test_a_shortened_answer_must_pass_the_gates(files):
    """A shortened answer that is too short is rejected, recorded in full, and retried."""
    stump = "Haud yer siller. An dinna"
    voice = ScriptedVoice(*[Completion(stump, "length", 9, 90)] * (BUDGET_GROWTHS + 1), SAVING)
    assert files.fill(voice, job()) == [True]
    last = files.rejected()[-1]
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
def test_whole_sentences_end_at_the_last_sentence_end(text):
    """A sentence end may be followed by line breaks and closing quotes, and a decimal point is not a sentence end."""
    assert whole_sentences(text) == CUTS[text]


def test_a_filtered_answer_is_rejected_as_filtered(files):
    """If a content filter rejects an answer, the language gates do not check its text."""
    assert files.fill(ScriptedVoice(Completion(SAVING, "content_filter"), BREID), job()) == [True]
    assert [entry["gate"] for entry in files.rejected()] == ["filtered"]


def test_an_answer_that_was_cancelled_is_no_row(files):
    """An answer that was cancelled at the server is rejected, although it passes the language gates."""
    assert files.fill(ScriptedVoice(Completion(SAVING, "abort"), BREID), job()) == [True]
    assert [entry["gate"] for entry in files.rejected()] == ["broken_off"]


def test_the_tokens_of_an_answer_without_an_end_are_counted(tmp_path):
    """An answer that is too large to read was paid for: its estimated tokens count for the budget, and as a fault."""
    files = Files(tmp_path, budget=Budget())
    error = ServerError("too large", fault="oversized", tokens_in=60, tokens_out=50, counted=False)
    with pytest.raises(ServerError):
        files.fill(ScriptedVoice(error), job())
    assert (files.budget.tokens_in, files.budget.tokens_out, files.budget.estimated) == (60, 50, True)
    assert files.history.tally.faults == Counter({"oversized": 1})


def test_a_blank_answer_is_rejected_as_empty(files):
    """An answer of white space only is rejected as empty."""
    assert files.fill(ScriptedVoice("", "  \n ", SAVING), job()) == [True]
    assert [entry["gate"] for entry in files.rejected()] == ["empty", "empty"]


def test_a_token_budget_stops_before_the_next_call(tmp_path):
    """When the tokens are used up, no further call is made, and the job is not listed as unfilled."""
    files = Files(tmp_path, budget=Budget(max_total_tokens=100))
    voice = ScriptedVoice(Completion(ENGLISH, "stop", 60, 50), SAVING)
    with pytest.raises(BudgetExhausted, match="110 tokens"):
        files.fill(voice, job())
    assert len(voice.attempts) == 1
    assert files.history.tally.unfilled == []
    assert len(files.rejected()) == 1


def test_a_cost_budget_stops_before_the_next_call(tmp_path):
    """If the price is known, a cost budget works in the same way as a token budget."""
    files = Files(tmp_path, budget=Budget(Price(10, 100, "a test"), max_cost=0.005))
    with pytest.raises(BudgetExhausted, match=r"of --max-cost \$0\.005"):
        files.fill(ScriptedVoice(Completion(SAVING, "stop", 60, 50), BREID), job(0), job(1))
    assert len(files.written()) == 1


def test_a_busy_server_costs_a_job_no_try(files):
    """If the generator is called again with the same job, it continues with the rejected answers of that job."""
    voice = ScriptedVoice(ENGLISH, RetryableError("busy", fault="throttled", throttled=True), SAVING)
    with pytest.raises(RetryableError):
        files.fill(voice, job())
    assert files.history.tally.faults == Counter({"throttled": 1})
    assert files.fill(voice, job()) == [True]
    assert [attempt.number for attempt in voice.attempts] == [0, 1, 1]


def test_within_one_run_a_busy_server_costs_no_try(files):
    """A postponed job keeps its rejected answers in memory."""
    voice = ScriptedVoice(ENGLISH, RetryableError("busy", fault="throttled"), SAVING)
    with files.generator(voice) as generator:

        async def run():
            with pytest.raises(RetryableError):
                await generator.fill(job())
            return await generator.fill(job())

        assert asyncio.run(run())
    assert [attempt.number for attempt in voice.attempts] == [0, 1, 1]
    assert len(files.rejected()) == 1


def test_a_fatal_error_is_raised(files):
    """A wrong key stops the run and writes nothing."""
    with pytest.raises(FatalServerError):
        files.fill(ScriptedVoice(FatalServerError("no such key")), job())
    assert files.written() == files.rejected() == []


def test_a_run_resumes_from_its_two_files(files):
    """The two files tell a new generator which jobs are done, which answers were rejected, and what is a duplicate."""
    files.fill(ScriptedVoice(SAVING, ENGLISH, BREID), job(0), job(1))
    with pytest.raises(IndexError):
        files.fill(ScriptedVoice(ENGLISH), job(2))  # the job stopped after one refusal
    voice = ScriptedVoice(SAVING, HENS)
    assert files.fill(voice, job(2)) == [True]
    assert files.history.done == {job(number).id for number in range(3)}
    assert voice.attempts[0].number == 1
    assert [entry["gate"] for entry in files.rejected()][-1] == "near_duplicate"
    assert files.history.tally.accepted == Counter(core=3)
    assert files.history.tally.by_try == Counter({1: 1, 2: 1, 3: 1})
    assert sum(files.history.tally.rejected.values()) == len(files.rejected()) == 3


def test_an_unfilled_job_stays_unfilled_until_more_tries_are_allowed(files):
    """Rejected answers of an earlier run count as tries."""
    files.fill(ScriptedVoice(*[ENGLISH] * 6), job())
    voice = ScriptedVoice(SAVING)
    assert files.fill(voice, job()) == [False]
    files.max_tries = 7
    assert files.fill(voice, job()) == [True]
    assert voice.attempts[0].number == 6


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
def test_a_line_that_is_not_a_generator_row_is_an_error(files, case):
    """The error for a line that is not a generator row names the file and the line."""
    files.fill(ScriptedVoice(SAVING), job())
    files.rows.write_bytes(files.rows.read_bytes() + FOREIGN[case])
    with pytest.raises(InputError, match=r"out\.jsonl:2: the generator did not write this row"):
        files.fill(ScriptedVoice(), job())


@pytest.mark.parametrize(
    ("turn", "text"),
    [*itertools.product((0, 1), ("", " \n", "\u200b\ufeff", "\u2800")), (1, "<think>Fit like?</think>")],
    ids=ascii,
)
def test_a_row_without_a_question_or_an_answer_is_an_error(files, turn, text):
    """A row whose question or answer nobody can read is no row, and the error names its line."""
    files.fill(ScriptedVoice(SAVING), job())
    row = json.loads(files.rows.read_bytes())
    row["messages"][turn]["content"] = text
    files.rows.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"out\.jsonl:1: this row has no (question|answer)"):
        files.fill(ScriptedVoice(), job())


@pytest.mark.parametrize(
    "line",
    [
        b'{"x": 1}\n',
        b'{"id": [1], "answer": "x", "gate": "empty", "reason": "y"}\n',
        b'{"id": "1", "answer": null, "gate": "empty", "reason": "y"}\n',
    ],
)
def test_a_line_that_is_not_a_generator_rejection_is_an_error(files, line):
    """The error for a line that is not a generator rejection names the file and the line."""
    files.fill(ScriptedVoice(SAVING), job())
    files.rejections.write_bytes(line)
    with pytest.raises(InputError, match=r"rejected\.jsonl:1: the generator did not write this rejection"):
        files.fill(ScriptedVoice(), job())


def test_each_retry_asks_for_permission_and_each_call_reports_its_tokens(files):
    """The first call needs no permission, and if a retry gets none, the job keeps its rejected answers."""
    tokens, permissions = [], iter([True, False])

    async def may_call() -> bool:
        return next(permissions)

    voice = ScriptedVoice(*[Completion("No.", tokens_in=3, tokens_out=2)] * 2)
    with files.generator(voice) as generator:
        assert asyncio.run(generator.fill(job(), may_call=may_call, count_tokens=tokens.append)) is False
    assert tokens == [5, 5]
    assert files.history.tally.unfilled == []
    assert [entry["try"] for entry in files.rejected()] == [1, 2]


SAYS = {
    "a label": f"Doric: {SAVING}",
    "quotation marks": f"“{SAVING}”",
    "a label and quotation marks": f'**Answer:** "{SAVING}"',
    "a note": f"{SAVING}[1]",
    "a closing tag": f"{SAVING}</p>",
    "a zero-width space": f"{SAVING}\u200b",
    "a byte-order mark": f"\ufeff{SAVING}",
    "narrow spaces": SAVING.replace(" ", "\u202f", 3),
    "soft hyphens": SAVING.replace("a", "a\u00ad", 2),
    "an escape sequence": SAVING.replace(" ", " \x1b[31m", 1),
    "entities": SAVING.replace("'", "&#39;"),
    "an unfinished sentence": f"{SAVING} An dinna",
}


@pytest.mark.parametrize("way", SAYS)
def test_what_is_around_an_answer_is_not_written(files, way):
    """A label, quotation marks, notes and characters that nobody sees cost no try and are not in the row."""
    assert files.fill(ScriptedVoice(SAYS[way]), job()) == [True]
    assert files.written()[0]["messages"][1]["content"] == SAVING
    assert files.rejected() == []


@pytest.mark.parametrize("tail", ["😊", ".»", "”", " 👩\u200d🌾"])
def test_a_tail_stays_with_its_sentence(files, tail):
    """Emoji and closing marks after the last full stop cost neither the answer nor its last sentence."""
    assert files.fill(ScriptedVoice(SAVING + tail), job()) == [True]
    assert files.written()[0]["messages"][1]["content"].startswith(SAVING)


@pytest.mark.parametrize(
    ("answer", "gate"),
    [
        (SAVING.replace(" ", " [INST] ", 1), "garbled"),
        (SAVING.replace(" ", " \u202e", 1), "garbled"),
        (SAVING.replace(" ", "Ġ"), "garbled"),
        (SAVING.replace(" ", " \ufffd ", 1), "garbled"),
        (SAVING.replace(" ", " <|im_start|> ", 1), "markup"),
        (SAVING + " " + "a" * 30_000, "too_long"),
        ("<a" * 100_000, "too_long"),
    ],
)
def test_a_damaged_answer_is_rejected(files, answer, gate):
    """Damage inside an answer and endless answers are rejected before they are scored, and are kept in full."""
    assert files.fill(ScriptedVoice(answer, SAVING), job()) == [True]
    assert [(entry["gate"], entry["answer"]) for entry in files.rejected()] == [(gate, answer)]
    assert len(files.rejected()[0]["reason"]) < 300


@pytest.mark.parametrize("mode", ["on", "report"])
def test_an_answer_that_would_fail_in_the_house_spelling_stays_as_written(mode):
    """If the gates refuse the rewritten answer, the original is accepted and counted; quoted words of a prompt stay."""
    respelling = Respelling(mode)
    answer = Answer.of(f"{SAVING} So that's it.")
    found = respelling.apply(answer, job(), lambda new: gates.Rejection("edges", "no"))
    assert (found.answer, found.rejection) == (answer, None)
    assert (respelling.kept, respelling.answers) == ((1, 0) if mode == "on" else (0, 1))
    assert found.meta == ({} if mode == "on" else {"outside_house": 1})
    assert respelling.apply(answer, job(prompt='What is "so" in Doric?'), lambda new: None).answer is answer


def test_an_answer_that_becomes_a_near_duplicate_is_refused():
    """Accepted answers were rewritten, so an answer in another spelling may be like one of them only in this one."""
    english = SAVING.replace(" an ", " and ")
    refused = gates.Rejection("near_duplicate", "the same")
    respelling = Respelling("on")
    assert respelling.apply(Answer.of(english), job(), lambda new: refused).rejection is refused
    assert (respelling.answers, respelling.kept) == (0, 0)


def test_the_embedded_voice_is_not_rewritten():
    """Without a mode nothing is rewritten or counted."""
    respelling = Respelling()
    answer = Answer.of("So ye and me gang hame.")
    assert respelling.apply(answer, job(), lambda new: None).answer is answer
    assert str(respelling) == ""


def test_an_answer_about_words_keeps_the_words_it_is_about():
    """An answer that explains words keeps its English and the words of the question; other Scots is rewritten."""
    asked = job(prompt="What does caal mean?")
    asked = replace(asked, prompt=replace(asked.prompt, ask="meaning"))
    answer = Answer.of("Caal is cold, and gyaan oot in the caal is nae haud tae aal fowk.")
    respelt = Respelling("on").apply(answer, asked, lambda new: None)
    assert respelt.answer.text == "Caal is cold, and gyaan oot in the caal is nae haud tae aul fowk."
