"""The answers that readers send back: reading and checking their files."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doric.core.errors import InputError, os_error
from doric.core.files import HEAD, file_size, read_text
from doric.core.regular_files import read_regular
from doric.core.review_files import FORMAT, VERSION, checksum, reader_choices
from doric.core.reviews import pseudonym
from doric.core.text import counted, printable, replace_surrogates
from doric.report.html import PAGE
from doric.review.items import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SEND_BUTTON = "Send my answers"
"""What the button at the end of the page is called."""
KEY_FORMAT = "doric-review-key"
LARGEST = 20_000_000
"""Bytes. A page makes files of at most some hundred thousand."""
JUDGED = ("natural", "stiff", "wrong", "not_doric")
KNOWN = ("say", "heard", "never")
PREFERRED = ("first", "second", "same")
ANSWERS = {"line": JUDGED, "row": JUDGED, "word": KNOWN, "pair": PREFERRED}
"""Kind of item -> its answers, from best to worst where they have an order. A choice may have any answer."""
ONLY_BETTER = "better"
"""The answer of a reader who wrote a better form and chose none of the answers."""
LENGTH_OF_TIME = len("2026-11-29T10:00:00.000Z")
LONGEST_NAME = 64
"""Characters of the id of a page and of a time. Both go into the list of readers."""
ENDINGS = (".json", ".txt")
"""The endings that pages and phones give to a file of answers: in a folder, files with another one are left out."""
SEND_AGAIN = "Ask the reader to save the answers again and to send that file."


@dataclass(frozen=True, slots=True)
class Answer:
    """A reader's answer to an item. `shown` is its text, `better` what the reader wrote instead, or ""."""

    item: str
    shown: str
    answer: str
    better: str
    prompt: tuple[Mapping[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the item: choice, word, line, row or pair."""
        return self.item.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Review:
    """The answers of one reader. `by` is the pseudonym of the reader in everything that is written."""

    file: str
    page: str
    reader: str
    region: str
    native: bool | None
    may_publish: bool
    saved: str
    answers: tuple[Answer, ...]

    @property
    def by(self) -> str:
        """A name that says nothing about the reader and is the same for all files of one reader."""
        return pseudonym(self.reader)


def read_review(path: Path) -> Review:
    """The answers of a file, the last one to each item. Raises `InputError` with what is wrong and what to do."""
    raw = _object(path, "answers of a review page")
    _check_format(raw, FORMAT, path)
    answers = raw.get("answers")
    if not isinstance(answers, list):
        raise InputError("it has no list of answers", file=path, hint=SEND_AGAIN)
    if raw.get("checksum") != checksum(answers):
        raise InputError("the answers were changed after they had been saved", file=path, hint=SEND_AGAIN)
    if missing := next((name for name in ("page", "saved") if not _short_text(raw.get(name))), ""):
        raise InputError(f'its "{missing}" is missing or no text of a page', file=path, hint=SEND_AGAIN)
    reader = raw.get("reader")
    if not isinstance(reader, dict) or not _text(reader.get("id")):
        raise InputError("it does not say whose answers these are", file=path, hint=SEND_AGAIN)
    choices = reader_choices()
    return Review(
        file=str(path),
        page=_text(raw.get("page")),
        reader=str(reader["id"]),
        region=_listed(reader.get("region"), choices.regions) or "not said",  # anything else could be there
        native=_listed(reader.get("learnt"), choices.native) != "" if _text(reader.get("learnt")) else None,
        may_publish=reader.get("publish") is True,
        saved=_text(raw.get("saved"))[:LENGTH_OF_TIME],
        answers=tuple(
            {one.item: one for one in map(_answer, answers, itertools.count(1), itertools.repeat(path))}.values()
        ),
    )


def read_reviews(paths: Iterable[Path]) -> tuple[list[Review], list[str]]:
    """The reviews of several files or folders, and notes about them.

    Of two files of one reader and page, the newer one counts. Raises `InputError` as `read_review`, and for a folder
    without answers.
    """
    found: dict[tuple[str, str], Review] = {}
    files, notes = _files(paths)
    for path in files:
        review = read_review(path)
        key = (review.reader, review.page)
        if key in found:
            old, new = sorted((found[key], review), key=lambda one: one.saved)
            notes.append(_about_two(old, new))
            review = new
        found[key] = review
    return list(found.values()), notes


def _files(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """The files that are given and those in the folders that are given, each once, and notes about what is left out."""
    files, notes = [], []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        try:
            inside = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
        except OSError as error:
            raise os_error(error, path, "read") from error
        answers = [one for one in inside if one.suffix.lower() in ENDINGS]
        if not answers:
            hint = "Put the files that readers sent back into it (.json or .txt)."
            raise InputError("the folder has no files of answers", file=path, hint=hint)
        files += answers
        notes += [f"left out, because it is not .json or .txt: {one}" for one in inside if one not in answers]
    return list(dict.fromkeys(files)), notes


def _about_two(old: Review, new: Review) -> str:
    """What is said of two files of one reader and page."""
    if old.answers == new.answers:
        return f"{old.file} and {new.file} have the same answers: they count once"
    said = f"{old.file} and {new.file} are of the same reader: {new.file} is used, which is newer"
    only_old = {one.item for one in old.answers} - {one.item for one in new.answers}
    return f"{said}. It lacks {counted(len(only_old), 'answer')} of the older file" if only_old else said


def read_key(path: Path) -> dict[str, Any]:
    """The items of the key of a page, by id. Raises `InputError`."""
    raw = _object(path, "key of a review page")
    _check_format(raw, KEY_FORMAT, path)
    if not isinstance(raw.get("items"), dict):
        raise InputError("it has no items", file=path, hint="Give the file that `make` wrote beside the page.")
    return raw


def _object(path: Path, what: str) -> dict[str, Any]:
    if path.is_file() and file_size(path) > LARGEST:
        raise InputError(f"it is too large for the {what}", file=path, hint="Give the file that the page saved.")
    if _is_page(path):
        hint = f"Ask the reader to open it and to press “{SEND_BUTTON}”, which makes a smaller file."
        raise InputError("it is the review page itself, not the answers", file=path, hint=hint)
    text = read_text(path, regular=True)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(_why_unreadable(text), file=path, hint=SEND_AGAIN) from error
    if not isinstance(raw, dict):
        raise InputError(f"it is no {what}", file=path, hint="Give the file that the page saved.")
    return raw


def _is_page(path: Path) -> bool:
    try:
        return path.is_file() and PAGE in read_regular(path)[:HEAD]
    except OSError:  # `read_text` says why
        return False


def _why_unreadable(text: str) -> str:
    if not text.strip():
        return "the file is empty"
    cut = text.startswith("{") and not text.rstrip().endswith("}")
    return "the file is cut off" if cut else "it is not JSON"


def _check_format(raw: Mapping[str, Any], wanted: str, path: Path) -> None:
    found = raw.get("format")
    if found != wanted:
        hint = "That is the key: give it with --key." if found == KEY_FORMAT else "Give the file that the page saved."
        raise InputError(f"it is no {wanted} file", file=path, hint=hint)
    version = raw.get("version")
    if type(version) is not int or version != VERSION:
        newer = type(version) is int and version > VERSION
        hint = "Use the version of the project that made the page." if newer else "Make a new page and ask again."
        raise InputError(f"it has the version {version!r}, but this program reads {VERSION}", file=path, hint=hint)


def _answer(raw: object, number: int, path: Path) -> Answer:
    where = f"answer {number}"
    if not isinstance(raw, dict) or not _text(raw.get("item")) or not isinstance(raw.get("answer"), str):
        raise InputError(f"{where} has no item or no answer", file=path, hint=SEND_AGAIN)
    better, prompt, shown = raw.get("better"), raw.get("prompt", []), _text(raw.get("shown"))
    if not shown:
        raise InputError(f"{where} does not say which text was shown", file=path, hint=SEND_AGAIN)
    if better is not None and not isinstance(better, str):
        raise InputError(f"{where}: its better text is no text", file=path, hint=SEND_AGAIN)
    kind = raw["item"].partition(":")[0]
    known = (*ANSWERS.get(kind, ()), ONLY_BETTER)
    if kind not in (*ANSWERS, "choice") or (kind != "choice" and raw["answer"] not in known):
        raise InputError(f"{where} is {raw['answer']!r} for {raw['item']!r}", file=path, hint=SEND_AGAIN)
    if kind == "word" and shown != (word := _word_of(raw["item"])):
        raise InputError(f"{where} is for {word!r}, but {shown!r} was shown", file=path, hint=SEND_AGAIN)
    if kind == "pair" and SEPARATOR not in shown:
        raise InputError(f"{where} is for a pair, but one text was shown", file=path, hint=SEND_AGAIN)
    if not isinstance(prompt, list) or not all(_is_turn(turn) for turn in prompt):
        raise InputError(f"{where}: its prompt is no list of turns", file=path, hint=SEND_AGAIN)
    turns = tuple({"role": turn["role"], "content": replace_surrogates(turn["content"])} for turn in prompt)
    return Answer(raw["item"], shown, raw["answer"], printable(_text(better)).strip(), turns)


def _word_of(item: str) -> str:
    """The word of the id of an item, which is "word:WORD<tab>MEANING"."""
    return item.partition(":")[2].partition("\t")[0].strip()


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("role", "content"))


def _listed(value: object, known: Iterable[str]) -> str:
    """The value if it is one of the known ones, else ""."""
    return next((one for one in known if one == value), "")


def _short_text(value: object) -> str:
    text = _text(value)
    return text if len(text) <= LONGEST_NAME and text == printable(text) else ""


def _text(value: object) -> str:
    return replace_surrogates(value).strip() if isinstance(value, str) else ""
