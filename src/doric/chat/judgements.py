"""What readers say about the answers of the chat page: review answers, and rows that a reader has approved.

Each reader has one file in the format of the review page (`doric-review`). Each chat has at most one row in the gold
file: its exchanges from the first on, as far as the reader found each answer natural or wrote a better one.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doric.chat.conversation import Message, readable, refuse_template_marks
from doric.core.conversations import check_row
from doric.core.errors import DoricError, InputError
from doric.core.files import atomic_write, encode_json, file_size, locked, parse_object, read_text
from doric.core.jsonl import read_jsonl
from doric.core.review_files import FORMAT, VERSION, checksum
from doric.core.reviews import pseudonym

VERDICTS = ("natural", "stiff", "wrong")
PAGE = hashlib.sha256(b"doric chat page").hexdigest()[:16]
"""The page id of all answers that were given in the chat."""
LICENCE = "CC0-1.0"
LONGEST = 20_000
"""Characters of one message, so that a page cannot fill the disk."""
MOST_MESSAGES = 400
BUSY_SECONDS = 10.0
"""How long to wait while another reader's judgement is being written."""

type Text = Annotated[str, Field(max_length=LONGEST)]


class Strict(BaseModel):
    """Input from a browser: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Reader(Strict):
    """A reader, as the file of answers describes them. `id` is random; rows have a pseudonym made of it."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]
    place: Annotated[str, Field(max_length=100)] = ""
    region: Annotated[str, Field(max_length=40)] = ""
    age: Annotated[str, Field(max_length=40)] = ""
    learnt: Annotated[str, Field(max_length=300)] = ""
    name: None = None
    publish: bool = False
    publish_name: Literal[False] = False
    licence: Literal["CC0-1.0"] | None = None


class Said(Strict):
    """One message of a chat. `verdict` and `better` are what the reader said about an answer.

    `note` says what went wrong. An answer without text is a failed one: the model never sees it, nor its question.
    """

    role: Literal["user", "assistant"]
    content: Text
    complete: bool = True
    note: Annotated[str, Field(max_length=1000)] = ""
    verdict: Literal["", "natural", "stiff", "wrong"] = ""
    better: Text = ""

    @property
    def approved(self) -> str:
        """The text that the reader approves of, "" if there is none."""
        return self.better or (self.content if self.verdict == "natural" and self.complete else "")


class Talk(Strict):
    """A chat with its judgements, as the browser keeps it."""

    id: Annotated[str, Field(pattern=r"^[\w-]{1,60}$")]
    said: Annotated[list[Said], Field(max_length=MOST_MESSAGES)] = []

    @property
    def exchanges(self) -> list[tuple[Said, Said]]:
        """The questions with their answers, without those that failed."""
        pairs = zip(self.said[::2], self.said[1::2], strict=False)
        return [(question, answer) for question, answer in pairs if answer.content]

    def before(self, index: int) -> list[Message]:
        """The messages that the model saw before it wrote the answer at `index`."""
        earlier = Talk(id=self.id, said=self.said[: index - 1]).exchanges
        seen = [*(each for pair in earlier for each in pair), self.said[index - 1]]
        return [{"role": each.role, "content": each.content} for each in seen]

    def judged(self, index: int, verdict: str, better: str) -> "Talk":
        """This chat with a judgement of the answer at `index`. Raises `InputError` if there is no such answer."""
        if not 0 <= index < len(self.said) or not (index % 2 and self.said[index].content):
            raise InputError("there is no such answer")
        refuse_template_marks(better)
        if len(better) > LONGEST:
            raise InputError(f"a text has at most {LONGEST:,} characters")
        change = {"verdict": verdict, "better": readable(better).strip()}
        said = [each.model_copy(update=change) if at == index else each for at, each in enumerate(self.said)]
        return checked(Talk, {"id": self.id, "said": [each.model_dump() for each in said]})

    def gold_row(self, reader: Reader) -> dict[str, Any] | None:
        """The exchanges before the first answer without approval, as a row; None if there are none."""
        messages: list[Message] = []
        for question, answer in self.exchanges:
            if not answer.approved:
                break
            messages += [
                {"role": "user", "content": question.content},
                {"role": "assistant", "content": answer.approved},
            ]
        meta = {
            "topic": f"chat {self.id}", "group": "gold", "kind": "core", "id": self.id,
            "reviewed_by": [pseudonym(reader.id)], "region": reader.region,
        }  # fmt: skip
        return {"messages": messages, "meta": meta} if messages else None


def checked[T: Strict](kind: type[T], value: object) -> T:
    """`value` from a browser as this type. Raises `InputError`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"the browser sent something unexpected ({where})", hint="Start a new chat.") from error


@dataclass(frozen=True)
class Judgements:
    """The files of the judgements: `folder` has one file per reader, `gold` the approved rows."""

    folder: Path
    gold: Path
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def save(self, reader: Reader, talk: Talk, index: int) -> bool:
        """Save the judgement of the answer at `index`. Returns whether the chat has a gold row. Raises `DoricError`.

        A second judgement of an answer replaces the first. Without leave to publish there is no gold row.
        """
        self._save_answer(reader, talk, index)
        row = talk.gold_row(reader) if reader.publish else None
        self._save_gold(reader, talk.id, row)
        return row is not None

    def _save_answer(self, reader: Reader, talk: Talk, index: int) -> None:
        path, at = self.folder / f"doric-review-chat-{reader.id}.json", self.now().isoformat(timespec="seconds")
        answer = review_answer(talk, index, at)
        with patiently_locked(path):
            before: Mapping[str, Any] = parse_object(read_text(path).encode(), file=path) if path.exists() else {}
            kept = [each for each in before.get("answers", []) if each["item"] != answer["item"]]
            answers = [*kept, answer]
            value = {
                "format": FORMAT, "version": VERSION, "page": PAGE, "reader": reader.model_dump(),
                "started": before.get("started", at), "saved": at, "seconds": {},
                "answers": answers, "checksum": checksum(answers),
            }  # fmt: skip
            atomic_write(path, encode_json(value) + b"\n", private=True)

    def _save_gold(self, reader: Reader, name: str, row: dict[str, Any] | None) -> None:
        if row:
            check_row(row)
        if not row and not self.gold.exists():
            return
        with patiently_locked(self.gold):
            rows = [each for _, each in read_jsonl(self.gold)] if file_size(self.gold) else []
            kept = [each for each in rows if not _is_of(each, reader, name)]
            if row or len(kept) < len(rows):
                content = b"".join(encode_json(each) + b"\n" for each in [*kept, *([row] if row else [])])
                atomic_write(self.gold, content)


def review_answer(talk: Talk, index: int, at: str) -> dict[str, Any]:
    """The judgement of one answer, as the file of answers has it."""
    prompt, said = talk.before(index), talk.said[index]
    digest = hashlib.sha256(encode_json([*prompt, {"role": "assistant", "content": said.content}])).hexdigest()[:12]
    return {
        "item": f"row:{digest}", "part": "chat", "shown": said.content, "answer": said.verdict or "better",
        "better": said.better or None, "at": at, "prompt": prompt,
    }  # fmt: skip


@contextmanager
def patiently_locked(path: Path) -> Generator[None]:
    """`locked`, but wait up to `BUSY_SECONDS` for another writer. Raises `DoricError`."""
    deadline = time.monotonic() + BUSY_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path))
                break
            except InputError:
                raise
            except DoricError:
                if time.monotonic() > deadline:
                    raise
        yield


def _is_of(row: object, reader: Reader, name: str) -> bool:
    match row:
        case {"meta": {"id": str(of), "reviewed_by": [str(by)]}}:
            return of == name and by == pseudonym(reader.id)
    return False
