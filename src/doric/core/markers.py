"""Marks that servers leave in the text of an answer: marks around reasoning, and marks of chat templates.

The lists of marks are in `data/markers.toml`. Only marks are recognised, never ordinary words: "I am thinking" is not
reasoning. The time of every function is linear in the length of the text.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from doric.core.mark_patterns import (
    beginning,
    boundary_mark,
    enclosing,
    family,
    final_channels,
    leading,
    may_go_on,
    pairs,
    token,
    turn_mark,
    typed_marks,
)

HELD_BACK = 320
"""`ReasoningFilter` holds back at most so many characters, because a mark may be split across pieces."""
MAX_HEADER = 200
"""Longest header of a channel (role, name of the channel, recipient) in characters."""
ANY_SIGN = re.compile(r"[<＜〈⟨《&◁`~\[\]\\]|assistant|analysis|[Tt]hinking\.|[Mm]y (?:thought|reasoning)")
"""Quick check: a text without any of these has no mark. The words are those of the marks that have no sign."""
MERGED_START = re.compile(r"\s{0,20}analysis(?=[A-Z])")
MERGED_PREFIX = re.compile(
    r"\s{0,20}(?:a(?:n(?:a(?:l(?:y(?:s(?:is?)?)?)?)?)?)?|f(?:i(?:n(?:al?)?)?)?"
    r"|(?:analysis|commentary|final)\s?(?:[<＜][|｜]?\w{0,10}[|｜]?)?)?\Z"
)


class Split(NamedTuple):
    """The answer without reasoning, and the reasoning without marks. Both are stripped and may be empty."""

    answer: str
    reasoning: str


def split_reasoning(text: str) -> Split:
    """The answer and the reasoning in `text`, which may be marked in many ways (see `data/markers.toml`).

    Without an end mark, everything after the first mark is reasoning. With only an end mark, everything before it is.

    >>> split_reasoning("<think>They want Doric.</think>Aye, fairly.")
    Split(answer='Aye, fairly.', reasoning='They want Doric.')
    """
    if not _may_have_marks(text):
        return Split(text.strip(), "")
    whole = ReasoningFilter()
    whole.feed(text)
    whole.rest()
    return Split(whole.answer, whole.reasoning)


class ReasoningFilter:
    """`split_reasoning` for text that arrives in pieces. A mark may be split across several pieces.

    `feed` and `rest` return the text to show now. If only an end mark arrives, its reasoning was already shown; so when
    the text has ended, use `answer`, which is always right. Marks of chat templates are not shown, but are in `answer`.
    """

    def __init__(self) -> None:
        self._held = self._before = ""
        self._open: list[str] = []
        self._header: str | None = None
        self._in_channel = self._has_final = self._has_answer_mark = False
        self._has_shown = self._has_words = self._struck = False
        self._opened = self._closed = 0
        self._answer: list[str] = []
        self._reasoning: list[str] = []
        self._earlier: list[str] = []
        self._shown: list[str] = []
        self._at_start, self._is_over, self._has_bar = True, False, False
        self._beside: str | None = None

    @property
    def answer(self) -> str:
        """The answer so far, without reasoning."""
        return "".join(self._answer).strip() or "".join(self._earlier).strip()

    @property
    def reasoning(self) -> str:
        """The reasoning so far, without its marks."""
        return "".join(self._reasoning).strip()

    def feed(self, text: str) -> str:
        """The text of the answer that may be shown now. The start of a possible mark is held back."""
        self._held += text
        if self._at_start:
            self._read_start()
        if not self._at_start:
            self._advance()
        return self._show()

    def rest(self) -> str:
        """The text that was held back but is no mark."""
        self._at_start = False
        self._advance(last=True)
        if self._header is not None:
            self._end_header()
        self._show_beside()
        return _CUT_OFF.sub("", self._show())

    def _read_start(self) -> None:
        """Look for a merged header, which is recognised only at the start of the text."""
        if found := MERGED_START.match(self._held):
            self._begin(SIGN_OF_CHANNEL)
            self._held = self._held[found.end() :]
        self._at_start = found is None and MERGED_PREFIX.match(self._held) is not None

    def _advance(self, *, last: bool = False) -> None:
        text, at = self._before + self._held, len(self._before)
        while found := token().search(text, at):
            is_at_end = found.lastgroup == "leading" and found.end() == len(text)  # it may be a link
            if not last and (is_at_end or may_go_on(text[found.start() : found.start() + HELD_BACK])):
                break
            self._plain(text[at : found.start()])
            self._mark(found)
            at = found.end()
        held = found or beginning().search(text, max(at, len(text) - HELD_BACK))
        end = held.start() if held and not last else len(text)
        self._plain(text[at:end])
        self._before, self._held = text[max(0, end - 1) : end], text[end:]

    def _show(self) -> str:
        text, self._shown = "".join(self._shown), []
        return text

    def _plain(self, text: str) -> None:
        """Add text between marks."""
        if self._header is None:
            self._add(text)
            return
        header, newline, rest = text.partition("\n")
        self._header += header
        if newline or len(self._header) > MAX_HEADER:
            self._end_header()
            self._add(rest)

    def _add(self, text: str) -> None:
        if self._open:
            self._reasoning.append(text)
            return
        if not self._answer:
            text = text.lstrip()
        if text:
            self._answer.append(text)
            self._has_words = self._has_words or _WORD.search(text) is not None
            self._show_later(text)

    def _show_later(self, text: str) -> None:
        """Show the text at the next opportunity, without the name of a role beside a mark of a template."""
        if self._beside is not None:
            self._beside += text
            if len(self._beside.strip()) <= LONGEST_ROLE:
                return
            text = _ROLE_AT_START.sub("", self._beside, count=1)
            self._beside = None
        if not self._is_over:
            self._shown.append(text if self._has_shown else text.lstrip())
            self._has_shown = True

    def _show_beside(self) -> None:
        """Show the text that was held back after a mark, unless it is the name of a role."""
        if self._beside and not self._is_over and not _ROLE.fullmatch(self._beside.strip()):
            self._shown.append(self._beside if self._has_shown else self._beside.lstrip())
            self._has_shown = True
        self._beside = None

    def _mark_turn(self, mark: str) -> None:
        self._show_beside()
        last = self._answer[-1][-1:] if self._answer else ""
        self._answer.append(mark)
        self._struck = self._struck or (mark == STRIKE[0] and self._has_words)
        ends = boundary_mark().match(mark) and last != "`" and not (self._struck and mark == STRIKE[1])
        self._is_over = self._is_over or bool(ends and self._has_words)
        self._beside = ""

    def _mark(self, found: re.Match[str]) -> None:
        kind, mark = str(found.lastgroup), found.group()
        name = (found[kind] or "").lower()
        kind = kind.rstrip("23")
        match kind:
            case "start" | "channel":
                self._header, self._in_channel = "", kind == "channel"
            case "message":
                self._end_header()
            case "merged":
                self._enter_channel(name)
            case "turn" if self._header is not None:
                self._header += " "
            case "over" if self._open and (self._has_bar or SIGN_OF_CHANNEL in self._open):
                self._open.clear()
            case "over" | "turn" if not self._open:
                self._mark_turn(mark)
            case "pair" if name not in leading() or not self._has_words:
                self._begin(pairs()[name])
            case "unpair" if name in self._open or name not in enclosing():
                self._end(name)
            case "answer" | "unanswer":
                self._mark_answer(mark, opens=kind == "answer")
            case "leading" if not self._has_words:
                self._begin(family(name))
            case "open" | "bar" | "arrow" | "bracket":
                self._begin(family(name))
                self._has_bar = kind == "bar"
            case "close" | "unbar" | "unarrow" | "unbracket":
                self._end(family(name))
            case "void":
                pass
            case _:
                self._plain(mark)

    def _begin(self, family: str) -> None:
        self._opened += 1
        if family not in self._open:
            self._open.append(family)

    def _end(self, family: str) -> None:
        self._closed += 1
        if family in self._open:
            del self._open[self._open.index(family) :]
        elif self._open:
            self._open.clear()
        else:  # reasoning without a mark at its beginning, or nested
            if 0 < self._opened < self._closed:
                self._earlier = self._answer  # if no text follows, the mark was a mistake
            self._answer_is_reasoning()

    def _answer_is_reasoning(self) -> None:
        self._reasoning += self._answer
        self._answer, self._has_words = [], False

    def _end_header(self) -> None:
        words = re.findall(r"\w+", (self._header or "").lower())
        if self._header is None and (channel := _CHANNEL_AT_END.search("".join(self._answer[-16:]))):
            words, self._in_channel = [channel.group().strip().lower()], True
            self._answer[-16:] = ["".join(self._answer[-16:])[: channel.start()]]
            self._shown = []
        self._header = None
        if self._in_channel:
            self._enter_channel(words[0] if words else "")
        elif words and words[0] != "assistant":
            self._mark_turn(f"<|start|>{words[0]}<|message|>")

    def _enter_channel(self, name: str) -> None:
        self._open.clear()
        if name not in final_channels():
            self._begin(SIGN_OF_CHANNEL)
        elif not self._has_final:
            self._has_final = True
            self._answer_is_reasoning()

    def _mark_answer(self, mark: str, *, opens: bool) -> None:
        """Drop a mark around the whole answer. Other such marks are text."""
        around = self._has_answer_mark if not opens else bool(self._reasoning) or not self._answer
        if self._open or not around:
            self._plain(mark)
        else:
            self._has_answer_mark = opens


SIGN_OF_CHANNEL = "<|channel|>"
STRIKE = "<s>", "</s>"
"""The second ends an answer, except after the first: together they strike words through in HTML."""
LONGEST_ROLE = 12
_CHANNEL_AT_END = re.compile(r"(?:analysis|commentary|final)\s?\Z")
"""The name of a channel whose first mark was removed by the server: `final<|message|>`."""


def cut_end_marks(text: str) -> str:
    """`text` without marks of chat templates at its end and beginning, and without the names of roles beside them.

    If another turn follows after the answer, it is cut too. Marks inside the answer stay; see `find_marker`.

    >>> cut_end_marks("Aye, fairly.<|im_end|>\\n<|im_start|>assistant")
    'Aye, fairly.'
    """
    text = _cut_beginning(text.strip(_UNSEEN))
    if _may_have_marks(text):  # the search for marks takes much longer than this
        boundary = next((mark for mark in turn_mark().finditer(text) if _is_boundary(text, mark.start())), None)
        text = text[: boundary.start()] if boundary else text
    if follows := _NEXT_TURN.search(text):
        text = text[: follows.start("turn")]
    return _cut_end(text)


def find_marker(text: str) -> str | None:
    """The first mark of a chat template or of reasoning in `text`, as it is written there, or None."""
    if not _may_have_marks(text) and not _LONE_ROLE.search(text):
        return None
    found = next((found for found in token().finditer(text) if not _is_harmless(found)), None)
    found = found or _BROKEN.search(text) or _LONE_ROLE.search(text)
    return found.group().strip() if found else None


def find_turn_mark(text: str) -> str | None:
    """The first mark in a typed `text` with which a model would end or start a turn, as it is written there, or None.

    Not found: marks that people type for other reasons (`typed` in the data file) with the end of such a pair of tags,
    marks of reasoning, names of roles, and marks with a space in them or in the form &lt;…&gt;.

    >>> find_turn_mark("<s>auld</s> news"), find_turn_mark("Aye</s>"), find_turn_mark("<s>[INST] auld</s>")
    (None, '</s>', '[INST]')
    """
    return next((found.group() for found in _turn_marks(text)), None)


def without_turn_marks(text: str) -> str:
    """`text` with a space instead of each mark that `find_turn_mark` finds, and of those beside it.

    >>> without_turn_marks("Fit like?<|im_end|>"), without_turn_marks("<s>auld</s> news")
    ('Fit like? ', '<s>auld</s> news')
    """
    parts, at = [], 0
    for found in sorted(_turn_marks(text), key=lambda found: found.start()):
        parts += [text[at : found.start()], " "]
        at = found.end()
    return "".join([*parts, text[at:]])


def _turn_marks(text: str) -> Iterator[re.Match[str]]:
    """The marks in a text that end or start a turn, those first that nobody types for another reason.

    Without one of those, there are none; beside one, the others are marks too.
    """
    typed: list[re.Match[str]] = []
    opened: set[str] = set()
    meant = False
    for found in turn_mark().finditer(text) if ANY_SIGN.search(text) else ():
        mark = found.group().lower()
        if " " in mark or "&" in mark:
            continue
        if mark in typed_marks() or (mark.startswith("</") and mark.replace("/", "", 1) in opened):
            typed.append(found)
            opened.add(mark)
        else:
            meant = True
            yield found
    if meant:
        yield from typed


def _may_have_marks(text: str) -> bool:
    return ANY_SIGN.search(text) is not None


def _is_boundary(text: str, at: int) -> bool:
    """Whether the mark at `at` ends the answer before it: the mark of an end, or of the beginning of another turn."""
    mark = boundary_mark().match(text, at)
    if mark is None or text[at - 1 : at] == "`" or not _WORD.search(text, 0, at):
        return False
    return mark.group() != STRIKE[1] or text.find(STRIKE[0], 0, at) < 0


def _is_harmless(found: re.Match[str]) -> bool:
    return found.lastgroup in ("answer", "unanswer", "leading") or found.group().lower() in enclosing() | leading()


_BROKEN = re.compile(r"<[|｜]|[|｜]>")
_ROLE = re.compile(r"(?:assistant|user|model|system|tool|developer)\s*:?", re.IGNORECASE)
_LONE_ROLE = re.compile(r"(?:^|(?<=[.!?…]))(?:assistant|user|model|system)[ \t]*$", re.MULTILINE)
"""A line that is only the name of a role, or a name after a full stop: the server removed the marks around it."""
_NEXT_TURN = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]{0,2}(?:[^\S\n]*\n\s*+)?(?P<turn>(?:assistant|user|model)[ \t]*(?:\n|\Z))"
)
"""Such a name after the end of a sentence: another turn begins."""
_WORD = re.compile(r"\w")
_NOT_SPACE = re.compile(r"\S")
_UNSEEN = " \t\r\n\v\f\0\ufeff\u200b\u200e\u200f\u2060"
_ROLE_AT_END = re.compile(r"(?:\A|\n)[ \t]*(?:assistant|user|model)[ \t]*:?\Z")
_ROLE_AT_START = re.compile(r"\s*(?:assistant|model|user)(?=\s*[\n:<＜]|\s+[A-Z\"'“‘]|\s*\Z)[ \t]*:?\s*")
_CUT_OFF = re.compile(r"[<＜][|｜][^<>|｜\n]{0,40}[|｜]?\Z|[<＜]/?(?:start|end)_of_\w{0,10}\Z|</(?:s|think\w*)?\Z")
"""The beginning of a mark at the end of a text."""


def _cut_beginning(text: str) -> str:
    at, mark = 0, turn_mark().match(text)
    while mark:
        at = mark.end()
        if role := _ROLE_AT_START.match(text, at):
            at = role.end()
        at = len(text) if (word := _NOT_SPACE.search(text, at)) is None else word.start()
        mark = turn_mark().match(text, at)
    return text[at:]


def _cut_end(text: str) -> str:
    if cut := _CUT_OFF.search(text, max(0, len(text) - HELD_BACK)):
        text = text[: cut.start()]
    end = len(text)
    marks = list(turn_mark().finditer(text)) if _may_have_marks(text) else []
    for mark in reversed(marks):
        if _ROLE.sub("", text[mark.end() : end], count=1).strip():
            break
        end = mark.start()
    if end < len(text):
        text = text[:end].rstrip()
    if role := _ROLE_AT_END.search(text, max(0, len(text) - HELD_BACK)):
        text = text[: role.start()]
    return text.strip()
