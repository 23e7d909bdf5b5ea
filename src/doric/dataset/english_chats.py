"""English chats whose answers a model writes anew in Doric, behind the gates. The user's turns stay as they are."""

import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from doric import data
from doric.core.characters import find_flaw
from doric.core.conversations import MESSAGES, REASONING_PARTS, SHAREGPT, TEXT_PARTS, Row, as_messages, stable_id
from doric.core.errors import InputError
from doric.core.files import parse_json, parse_object
from doric.core.jsonl import open_lines
from doric.core.text import MAX_CHARACTERS, has_text, listed_counts, words
from doric.dataset import instructions
from doric.dataset.chats import Accepted, Chat
from doric.dataset.instructions import Message
from doric.dataset.plan import FIRST_TURNS, Attempt, Exchange, Job
from doric.dataset.prompts import LENGTHS, MOST_SCOTS, Prompt
from doric.dataset.sources import CHATS, FROM, LeftOut, Writing
from doric.dataset.tasks import WriteAnswer
from doric.dialect.scores import score
from doric.llm.client import Backend
from doric.quality import gates
from doric.quality.decontamination import find_match
from doric.quality.gates import Answer
from doric.topics.lists import Topic

CORE, SAFETY = "core", "safety"
TOPIC_WORDS = 8
"""The topic of a row is the beginning of its first question: so many words."""
MOST_ENGLISH = 6_000
"""Characters of an English answer that the model is shown."""
USERS, ANSWERS, SYSTEMS = ("human", "user"), ("gpt", "assistant", "chatgpt", "bot", "model"), ("system", "developer")
ROLES = {
    MESSAGES.turns: {**dict.fromkeys(USERS, "user"), **dict.fromkeys(ANSWERS, "assistant")},
    SHAREGPT.turns: {**dict.fromkeys(USERS, "human"), **dict.fromkeys(ANSWERS, "gpt")},
}
"""Roles of files -> the role that a row may have."""
TOOLS = frozenset(
    ("tool", "function", "function_call", "function_response", "tool_call", "tool_response", "observation")
)
TOOL_KEYS = ("tool_calls", "function_call", "tool_call_id")
IMAGE_KEYS = ("image", "images", "audio", "audios", "video", "videos")
IMAGE_MARKS = ("<image>", "<audio>", "<video>")
HINT = 'A chat is an object with a list "messages" (role, content) or "conversations" (from, value), one per line.'


@dataclass(frozen=True, slots=True)
class EnglishChat:
    """The user's turns and the English answers, which alternate, and the line of the file."""

    asked: tuple[str, ...]
    answers: tuple[str, ...]
    line: int
    id: str
    kind: str


@dataclass
class ChatFile:
    """The chats of a file, and what was left out."""

    path: Path
    chats: list[EnglishChat] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)

    @classmethod
    def read(cls, path: Path) -> Self:
        """All chats of a file. Raises `InputError` with the line of a bad row, and if there is no chat to use."""
        found, seen = cls(path), set()
        for number, row in _rows(path):
            if reason := _unsupported(row):
                found._leave_out(reason, number)
                continue
            try:
                turns = as_messages(_known_keys(row))["messages"]
            except InputError as error:
                raise InputError(error.message, file=path, line=number, hint=error.hint or HINT) from error
            found._add(turns, number, seen)
        if not found.chats:
            raise found.left_out.nothing_left("chat", path, HINT)
        return found

    def _add(self, turns: list[dict[str, str]], number: int, seen: set[str]) -> None:
        dialogue = [turn for turn in turns if turn["role"] != "system"]
        if len(dialogue) < len(turns):
            self._leave_out("system prompts, of chats that are used without them", number)
        if dialogue and dialogue[-1]["role"] == "user":
            self._leave_out("last user turns without an answer", number)
            dialogue.pop()
        if reason := _unusable(dialogue):
            self._leave_out(reason, number)
            return
        texts = [turn["content"] for turn in dialogue]
        asked, answers = tuple(texts[::2]), tuple(texts[1::2])
        if (id := stable_id(CHATS, *texts)) in seen:
            self._leave_out("chats that are there twice", number)
            return
        seen.add(id)
        kind = SAFETY if gates.is_refusal(answers[0], plainly=True) else CORE
        self.chats.append(EnglishChat(asked, answers, number, id, kind))

    def _leave_out(self, reason: str, number: int) -> None:
        self.left_out.add(reason, f"line {number}")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of each row of JSON Lines; (number, row) of each of one JSON array."""
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith(b"["):
                yield from _array(line + lines.read(), path)
                return
            if line.strip():
                yield number, parse_object(line, file=path, number=number)


def _array(content: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = parse_json(content)
    except ValueError as error:
        line = content[: getattr(error, "pos", 0)].count(b"\n") + 1
        raise InputError(f"not JSON: {error}", file=path, line=line, hint=HINT) from error
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict):
            raise InputError(f"entry {number} of the list is not an object", file=path, hint=HINT)
        yield number, row


def _turns(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    for format in (MESSAGES, SHAREGPT):
        if isinstance(turns := row.get(format.turns), list):
            return [turn for turn in turns if isinstance(turn, dict)]
    return []


def _unsupported(row: Mapping[str, Any]) -> str:
    """Why a chat cannot be used at all: it has tools, or images and other attachments; "" if it has neither."""
    turns = _turns(row)
    roles = {turn.get("role") or turn.get("from") for turn in turns}
    if any(isinstance(role, str) and role in TOOLS for role in roles) or any(
        turn.get(key) for turn in turns for key in TOOL_KEYS
    ):
        return "chats with calls of tools"
    if any(row.get(key) for key in IMAGE_KEYS) or any(map(_has_attachment, turns)):
        return "chats with images or other attachments"
    return ""


def _has_attachment(turn: Mapping[str, Any]) -> bool:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, str):
        return any(mark in content for mark in IMAGE_MARKS)
    known = (*TEXT_PARTS, *REASONING_PARTS)
    return isinstance(content, list) and any(
        isinstance(part, dict) and isinstance(part.get("type"), str) and part["type"] not in known for part in content
    )


def _known_keys(row: Mapping[str, Any]) -> Row:
    """The turns of a row without other keys, in the roles that a row may have."""
    found: Row = {}
    for format in (MESSAGES, SHAREGPT):
        if (turns := row.get(format.turns)) is None:
            continue
        roles = ROLES[format.turns]
        found[format.turns] = [_known(turn, format.role, format.text, roles) for turn in turns] if isinstance(
            turns, list
        ) else turns  # fmt: skip
    return found or dict(row)


def _known(turn: object, role: str, text: str, roles: Mapping[str, str]) -> object:
    if not isinstance(turn, dict):
        return turn
    kept = {key: turn[key] for key in (role, text) if key in turn}
    if isinstance(kept.get(role), str):
        kept[role] = roles.get(kept[role].lower(), kept[role])
    return kept


def _unusable(turns: Sequence[Mapping[str, str]]) -> str:
    """Why a chat is left out; "" if it can be written anew."""
    if not turns:
        return "chats without an answer"
    if any(turn["role"] != ("user", "assistant")[at % 2] for at, turn in enumerate(turns)):
        return "chats whose turns do not alternate user, assistant"
    if not all(has_text(turn["content"]) for turn in turns):
        return "chats with an empty turn"
    if any(len(turn["content"]) > MAX_CHARACTERS for turn in turns):
        return f"chats with a turn of more than {MAX_CHARACTERS:,} characters"
    if any(find_flaw(turn["content"]) for turn in turns):
        return "chats with damaged characters or marks of a chat template"
    if any(find_match(turn["content"]) for turn in turns[::2]):
        return "chats that match an evaluation prompt"
    refusals = {gates.is_refusal(turn["content"], plainly=True) for turn in turns[1::2]}
    return "chats that refuse some requests and answer others" if len(refusals) > 1 else ""


@functools.cache
def _spec() -> dict[str, Any]:
    return data.read_toml("sources/rewrite.toml")


def prompt_of(asked: str, english: str) -> Prompt:
    """The prompt for a user's turn. The Doric answer should be about as long as the English one, within limits."""
    count = len(words(english))
    length = next((name for name, (_, most) in LENGTHS.items() if count <= most), "long")
    return Prompt(asked, "sco" if score(asked).substrate > MOST_SCOTS else "en", length)


class RewriteTask(WriteAnswer):
    """The model writes an answer, and the row says which chat it is from."""

    def __init__(self, source: "ChatSource") -> None:
        self._source = source

    def accept(self, chat: Chat, draft: Answer, tries: int, more: Mapping[str, Any]) -> Accepted:
        """As `WriteAnswer`, with the file and the line in the meta of the first answer."""
        accepted = super().accept(chat, draft, tries, more)
        if chat.accepted:
            return accepted
        return replace(accepted, more={**accepted.more, **self._source.meta(chat.job)})


@dataclass
class ChatSource:
    """The chats of a file as jobs. `provenance` is what the command line says about them."""

    path: Path
    seed: int
    provenance: Mapping[str, str]
    needs_model: bool = True
    respells: bool = True

    def __post_init__(self) -> None:
        self.file = ChatFile.read(self.path)
        self._by_id = {chat.id: chat for chat in self.file.chats}

    @property
    def answers(self) -> int:
        """The answers of all chats."""
        return sum(len(chat.answers) for chat in self.file.chats)

    def __len__(self) -> int:
        return len(self.file.chats)

    def __iter__(self) -> Iterator[Job]:
        return itertools.starmap(self._job, enumerate(self.file.chats))

    def _job(self, number: int, chat: EnglishChat) -> Job:
        topic = Topic(" ".join(chat.asked[0].split()[:TOPIC_WORDS]), CHATS)
        prompt = prompt_of(chat.asked[0], chat.answers[0])
        turns = FIRST_TURNS + len(chat.answers) - 1
        return Job(chat.id, topic, chat.kind, prompt, chat.line, number, turns, number)

    def find(self, id: str, *, kind: str, group: str, topic: str, prompt: str) -> str:
        """The id of the chat, or ""."""
        return id if id in self._by_id else ""

    def fingerprint(self) -> dict[str, object]:
        """The chats, and what the command line says about them."""
        return {FROM: CHATS, CHATS: stable_id(*self._by_id), "seed": self.seed, **self.provenance}

    def meta(self, job: Job) -> dict[str, Any]:
        """What the meta of a row says about its source."""
        return {FROM: CHATS, "file": self.path.name, "line": self._by_id[job.id].line, **self.provenance}

    def description(self) -> str:
        """The chats by turns, and what was left out."""
        turns = Counter(f"of {len(chat.answers)} answers" for chat in self.file.chats)
        kinds = Counter(chat.kind for chat in self.file.chats)
        counts = f"{listed_counts(turns)}; {listed_counts(kinds)}"
        line = f"{len(self):,} chats with {self.answers:,} answers to write anew: {counts}"
        return "\n".join([line, *self.file.left_out.lines()])

    def compose(self, job: Job, rejected: Sequence[tuple[str, str]], said: Sequence[Exchange] = ()) -> list[Message]:
        """The request for the next answer of a chat: what was said before in Doric, the question, and the English."""
        english = self._by_id[job.id].answers[len(said)][:MOST_ENGLISH]
        beside = _spec()["beside"].strip().replace("{english}", english)
        return instructions.messages(job, rejected, seed=self.seed, said=said, beside=beside)

    def follow_up(self, job: Job, said: tuple[Exchange, ...]) -> Prompt:
        """The next turn of the user."""
        chat = self._by_id[job.id]
        return prompt_of(chat.asked[len(said)], chat.answers[len(said)])

    def expected_tokens(self) -> tuple[float, float]:
        """Means over the answers of a sample of the chats; what was said before is as long as in English."""
        calls = [call for job in itertools.islice(self, instructions.SAMPLE) for call in self._calls(job)]
        return instructions.mean_tokens([self.compose(one.job, [], one.said) for one in calls], [c.job for c in calls])

    def _calls(self, job: Job) -> Iterator[Attempt]:
        chat, said = self._by_id[job.id], ()
        for asked, answer in zip(chat.asked, chat.answers, strict=True):
            prompt = prompt_of(asked, answer)
            yield Attempt(replace(job, prompt=prompt), (), said)
            said = (*said, Exchange(prompt, answer))

    def expected_cached(self) -> float:
        """A mean over a sample of the chats."""
        return instructions.expected_cached(self)

    def writing(self, client: Backend | None, temperature: float) -> Writing:
        """A model writes the answers; the user's turns are those of the chat."""
        assert client is not None, "the run has made sure of a model"
        return Writing(
            instructions.voice(client, self.seed, temperature, self.compose), self.follow_up, RewriteTask(self)
        )

    def replay(self, row: Row) -> None:
        """Nothing: the history has it."""
