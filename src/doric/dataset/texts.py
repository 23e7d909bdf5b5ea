"""A speaker's own texts as answers: a model writes the question that each passage answers.

The passage stays as it was written. The gates report what they would say about it, in meta, and refuse only questions.
"""

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from doric import data
from doric.core.characters import find_flaw, tidy
from doric.core.conversations import Row, stable_id
from doric.core.text import MAX_CHARACTERS, fold, has_text, sentences, words
from doric.dataset import instructions
from doric.dataset.chats import Accepted, Chat
from doric.dataset.instructions import Message, shortened
from doric.dataset.passages import Section, passages, sections
from doric.dataset.plan import Exchange, Job
from doric.dataset.prompts import Prompt
from doric.dataset.provenance import Provenance
from doric.dataset.sources import FROM, TEXTS, LeftOut, Writing
from doric.dataset.text_files import MARKDOWN, WORD, read_any_text, read_docx, text_files
from doric.llm.client import Backend
from doric.quality import gates
from doric.quality.decontamination import find_match
from doric.quality.gates import Answer, Rejection
from doric.quality.wrapping import unwrap
from doric.topics.lists import Topic

KIND = "core"
GATES = "gates"
"""The key of `meta` with the names of the gates that would refuse the passage if a model had written it."""
MOST_SCOTS, LEAST_SCOTS = 0.34, 0.12
"""A question has at most this share of Scots words if it is to be English, and at least this one if Doric."""
FOR_LANGUAGE = {"en": "English", "sco": "Doric"}


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage, the file that it is from (relative to the folder), its number there from 1, and its heading."""

    text: str
    file: str
    number: int
    title: str

    @property
    def id(self) -> str:
        """The same in every run."""
        return stable_id(TEXTS, self.text)


@dataclass
class Collection:
    """The passages of a folder, what was left out, and the encodings of the files."""

    passages: list[Passage] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    files: int = 0
    encodings: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, folder: Path, size: int) -> Self:
        """All passages of about `size` words. Raises `InputError` for a bad file, and if there is no passage."""
        found, seen = cls(), set()
        files, others = text_files(folder)
        for path in others:
            found.left_out.add("files that are not .txt, .md or .docx", path.name)
        for path in files:
            name = path.name if folder.is_file() else path.relative_to(folder).as_posix()
            found._add_file(path, name, size, seen)
        if not found.passages:
            hint = "Give a folder with texts in .txt, .md or .docx."
            raise found.left_out.nothing_left("text", folder, hint)
        return found

    def _add_file(self, path: Path, name: str, size: int, seen: set[str]) -> None:
        before = len(self.passages)
        pieces = [(section.title, text) for section in self._sections(path) for text in passages(section.text, size)]
        for number, (title, text) in enumerate(pieces, 1):
            if reason := _unusable(text, seen):
                self.left_out.add(reason, f"{name} passage {number}")
            else:
                seen.add(fold(text))
                self.passages.append(Passage(text, name, number, title))
        self.files += len(self.passages) > before
        if not pieces:
            self.left_out.add("empty files", name)

    def _sections(self, path: Path) -> list[Section]:
        if path.suffix.lower() in WORD:
            found: list[Section] = []
            for is_heading, group in itertools.groupby(read_docx(path), key=lambda one: one.is_heading):
                text = "\n\n".join(one.text for one in group)
                title = found.pop().title if found and not found[-1].text else ""
                found.append(Section(text.strip(), "") if is_heading else Section(title, text))
            return [section for section in found if section.text]
        text, encoding = read_any_text(path)
        self.encodings[encoding] += 1
        return sections(text) if path.suffix.lower() in MARKDOWN else [Section("", text)]


def _unusable(text: str, seen: set[str]) -> str:
    """Why a passage cannot be a row that is trained; "" if it can."""
    if len(text) > MAX_CHARACTERS:
        return f"passages of more than {MAX_CHARACTERS:,} characters without an end of a sentence"
    if not words(text):
        return "passages without words"
    if find_flaw(tidy(text)) or find_flaw(text):
        return "passages with damaged characters or marks of a chat template"
    if fold(text) in seen:
        return "passages that are there twice"
    if any(map(find_match, sentences(text))):
        return "passages that match an evaluation prompt"
    return ""


class QuestionTask:
    """The model writes the question; the passage, which is the prompt of the job, is the answer of the row."""

    def __init__(self, passages: Mapping[str, Passage], provenance: Mapping[str, str]) -> None:
        self._passages, self._provenance = passages, provenance
        self._asked: dict[str, str] = {}

    def replay(self, row: Row) -> None:
        """Note the question of a row of an earlier run."""
        self._asked.setdefault(fold(row["messages"][0]["content"]), row["meta"]["id"])

    def draft(self, text: str) -> Answer:
        """The question, tidy, without a label or quotation marks around it."""
        return Answer.of(text if len(text) > MAX_CHARACTERS else unwrap(tidy(text)).strip())

    def fault(self, draft: Answer, chat: Chat) -> Rejection | None:
        """Why a question is refused: empty, too long, several lines, meta talk, the passage itself, or asked before."""
        passage = chat.job.prompt.text
        found = _form_fault(draft) or _copy_fault(draft, passage) or _language_fault(draft, chat.job.prompt.lang)
        if found is None and fold(draft.text) in self._asked:
            return Rejection("same_question", "another passage has the same question: ask for what this one says")
        return found

    def accept(self, chat: Chat, draft: Answer, tries: int, more: Mapping[str, Any]) -> Accepted:
        """The question and the passage, with what the gates say about the passage and where it is from in meta."""
        job, passage = chat.job, self._passages[chat.job.id]
        self._asked[fold(draft.text)] = job.id
        answer = Answer.of(passage.text)
        found = gates.faults(answer, prompt=draft.text, topic="", kind=KIND)
        of_text = {
            "file": passage.file,
            "passage": passage.number,
            **({"title": passage.title} if passage.title else {}),
        }
        meta = {FROM: TEXTS, **of_text, **self._provenance, GATES: list(dict.fromkeys(one.gate for one in found))}
        asked = Prompt(draft.text, job.prompt.lang, job.prompt.length)
        return Accepted(replace(job, prompt=asked), answer, tries, {**more, **meta})


def _form_fault(draft: Answer) -> Rejection | None:
    if not draft.words or not has_text(draft.text):
        return Rejection("empty", "it has no words", 0)
    if flaw := find_flaw(draft.text):
        return Rejection("garbled", f"{flaw}: write plain words")
    if "\n" in draft.text:
        return Rejection("several_lines", "it has several lines: write one question on one line")
    least, most = (_spec()["words"][key] for key in ("least", "most"))
    if not least <= (count := len(draft.words)) <= most:
        gate = "too_short" if count < least else "too_long"
        return Rejection(gate, f"it has {count} words: write from {least} to {most}", count)
    if found := _meta_talk().search(gates.lowered(draft.text)):
        reason = f"it talks about the text or the task ('{found.group()}'): ask as somebody who has not seen it"
        return Rejection("meta_talk", reason)
    return None


def _copy_fault(draft: Answer, passage: str) -> Rejection | None:
    said, asked = fold(passage), fold(draft.text)
    if asked in said or said in asked:
        return Rejection("echoes_answer", "it is the passage itself: ask for what it says")
    if echo := gates.echoes_prompt(Answer.of(passage), draft.text):
        return Rejection("echoes_answer", "it repeats the passage: ask in other words", echo.figure)
    return None


def _language_fault(draft: Answer, lang: str) -> Rejection | None:
    share = draft.scores.substrate
    wrong = share > MOST_SCOTS if lang == "en" else share < LEAST_SCOTS
    reason = f"{share:.0%} of its words are Scots: write it in {FOR_LANGUAGE[lang]}"
    return Rejection("wrong_language", reason, share) if wrong else None


@functools.cache
def _spec() -> dict[str, Any]:
    return data.read_toml("sources/questions.toml")


@functools.cache
def _meta_talk() -> re.Pattern[str]:
    return re.compile("|".join(_spec()["meta"]["patterns"]))


def compose(job: Job, rejected: Sequence[tuple[str, str]], said: Sequence[Exchange] = ()) -> list[Message]:
    """The request for the question that the passage of a job answers. `rejected` are earlier questions and reasons."""
    spec = _spec()
    rules = spec["system"].strip().replace("{language}", spec["language"][job.prompt.lang])
    rules = rules.replace("{least}", str(spec["words"]["least"])).replace("{most}", str(spec["words"]["most"]))
    chat = [{"role": "system", "content": rules}, {"role": "user", "content": job.prompt.text}]
    for text, reason in rejected[-1:]:
        again = spec["again"].replace("{reason}", reason)
        if text:
            chat += [{"role": "assistant", "content": shortened(text)}, {"role": "user", "content": again}]
        else:
            chat[-1]["content"] += f"\n\n({again})"
    return chat


@dataclass
class TextSource:
    """The passages of a folder as jobs. `english` is the share of questions in English; the others are in Doric."""

    folder: Path
    size: int
    english: float
    seed: int
    provenance: Provenance
    needs_model: bool = True
    respells: bool = False

    def __post_init__(self) -> None:
        self.collection = Collection.read(self.folder, self.size)
        self._by_id = {passage.id: passage for passage in self.collection.passages}
        self._task = QuestionTask(self._by_id, self.provenance.fields())

    @property
    def answers(self) -> int:
        """One per passage."""
        return len(self)

    def __len__(self) -> int:
        return len(self.collection.passages)

    def __iter__(self) -> Iterator[Job]:
        return itertools.starmap(self._job, enumerate(self.collection.passages))

    def _job(self, number: int, passage: Passage) -> Job:
        is_english = math.floor((number + 1) * self.english) > math.floor(number * self.english)
        lang = "en" if is_english else "sco"
        topic = Topic(passage.title or passage.file, TEXTS)
        return Job(passage.id, topic, KIND, Prompt(passage.text, lang, "short"), passage.number, number, number=number)

    def find(self, id: str, *, kind: str, group: str, topic: str, prompt: str) -> str:
        """The id of the passage, or ""."""
        return id if id in self._by_id else ""

    def fingerprint(self) -> dict[str, object]:
        """The texts, how they are cut, and where they are from."""
        return {
            FROM: TEXTS,
            TEXTS: stable_id(*self._by_id),
            "passage_words": self.size,
            "english_questions": self.english,
            "seed": self.seed,
            **self.provenance.fields(),
        }

    def description(self) -> str:
        """The passages, their words, and what was left out."""
        found, counts = self.collection, [len(words(one.text)) for one in self.collection.passages]
        english = sum(job.prompt.lang == "en" for job in self)
        lines = [
            f"{len(self):,} passages of {found.files:,} files: {sum(counts):,} words, from {min(counts):,} to "
            f"{max(counts):,} in a passage; {english:,} questions in English and {len(self) - english:,} in Doric"
        ]
        if found.encodings["cp1252"]:
            lines.append(f"read as Windows-1252: {found.encodings['cp1252']:,} files that are not UTF-8")
        return "\n".join([*lines, *found.left_out.lines()])

    def expected_tokens(self) -> tuple[float, float]:
        """Means over a sample of the passages."""
        jobs = list(itertools.islice(self, instructions.SAMPLE))
        return instructions.mean_tokens([compose(job, []) for job in jobs], jobs)

    def expected_cached(self) -> float:
        """None: the rules are too short."""
        return 0.0

    def writing(self, client: Backend | None, temperature: float) -> Writing:
        """A model writes the questions. Rows have two turns, so nothing follows."""
        assert client is not None, "the run has made sure of a model"
        voice = instructions.voice(client, self.seed, temperature, compose)
        return Writing(voice, lambda job, said: job.prompt, self._task)

    def replay(self, row: Row) -> None:
        """Note the question of a row, so that none is asked twice."""
        self._task.replay(row)
