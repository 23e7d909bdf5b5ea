"""Marks that servers leave in the text of an answer: marks around reasoning, and marks of chat templates.

The lists of marks are in `data/markers.toml`. Only marks are recognised, never ordinary words: "I am thinking" is not
reasoning. The time of every function is linear in the length of the text.
"""

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from doric import data

SIGNS = {
    "<": r"(?:[<＜〈⟨《]|&lt;|&#0?60;|&#x3c;|\\u003c)",
    ">": r"(?:[>＞〉⟩》]|&gt;|&#0?62;|&#x3e;|\\u003e)",
    "|": "[|｜]",
}
"""The forms of a sign in a mark: some servers escape it, and some templates use full-width signs."""
HELD_BACK = 320
"""`ReasoningFilter` holds back at most so many characters, because a mark may be split across pieces."""
MAX_HEADER = 200
"""Longest header of a channel (role, name of the channel, recipient) in characters."""
ANY_SIGN = re.compile(r"[<＜〈⟨《&◁`~\[\]\\]|assistant|analysis|[Tt]hinking\.|[Mm]y (?:thought|reasoning)")
"""Quick check: a text without any of these has no mark. The words are those of the marks that have no sign."""
MERGED = "assistant(?P<merged>final|commentary|analysis)"
"""A header of a channel that lost its special tokens: `analysisThe user …assistantfinalAye, …`."""
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
        while found := _token().search(text, at):
            is_at_end = found.lastgroup == "leading" and found.end() == len(text)  # it may be a link
            if not last and (is_at_end or _may_go_on(text[found.start() : found.start() + HELD_BACK])):
                break
            self._plain(text[at : found.start()])
            self._mark(found)
            at = found.end()
        held = found or _beginning().search(text, max(at, len(text) - HELD_BACK))
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
        ends = _boundary_mark().match(mark) and last != "`" and not (self._struck and mark == STRIKE[1])
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
            case "pair" if name not in _leading() or not self._has_words:
                self._begin(_pairs()[name])
            case "unpair" if name in self._open or name not in _enclosing():
                self._end(name)
            case "answer" | "unanswer":
                self._mark_answer(mark, opens=kind == "answer")
            case "leading" if not self._has_words:
                self._begin(_family(name))
            case "open" | "bar" | "arrow" | "bracket":
                self._begin(_family(name))
                self._has_bar = kind == "bar"
            case "close" | "unbar" | "unarrow" | "unbracket":
                self._end(_family(name))
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
        if name not in _spec()["reasoning"]["final_channels"]:
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
    boundary = next((mark for mark in _turn_mark().finditer(text) if _is_boundary(text, mark.start())), None)
    text = text[: boundary.start()] if boundary else text
    if follows := _NEXT_TURN.search(text):
        text = text[: follows.start("turn")]
    return _cut_end(text)


def find_marker(text: str) -> str | None:
    """The first mark of a chat template or of reasoning in `text`, as it is written there, or None."""
    if not _may_have_marks(text) and not _LONE_ROLE.search(text):
        return None
    found = next((found for found in _token().finditer(text) if not _is_harmless(found)), None)
    found = found or _BROKEN.search(text) or _LONE_ROLE.search(text)
    return found.group().strip() if found else None


def find_turn_mark(text: str) -> str | None:
    """The first mark in a typed `text` with which a model would end or start a turn, as it is written there, or None.

    Not found: marks that people type for other reasons (`typed` in the data file), marks of reasoning, names of roles,
    marks with a space in them or in the form &lt;…&gt;, and the end of a pair of tags.

    >>> find_turn_mark("<s>auld</s> news"), find_turn_mark("Aye</s>")
    (None, '</s>')
    """
    marks = _turn_mark().finditer(text) if ANY_SIGN.search(text) else ()
    return next((mark for found in marks if not _is_typed(mark := found.group(), text[: found.start()])), None)


def _is_typed(mark: str, before: str) -> bool:
    ends_a_pair = mark.startswith("</") and mark.replace("/", "", 1) in before
    return " " in mark or "&" in mark or ends_a_pair or mark.lower() in _spec()["turns"]["typed"]


def _may_have_marks(text: str) -> bool:
    return ANY_SIGN.search(text) is not None


def _is_boundary(text: str, at: int) -> bool:
    """Whether the mark at `at` ends the answer before it: the mark of an end, or of the beginning of another turn."""
    mark = _boundary_mark().match(text, at)
    if mark is None or text[at - 1 : at] == "`" or not _WORD.search(text, 0, at):
        return False
    return mark.group() != STRIKE[1] or text.find(STRIKE[0], 0, at) < 0


def _is_harmless(found: re.Match[str]) -> bool:
    return found.lastgroup in ("answer", "unanswer", "leading") or found.group().lower() in _enclosing() | _leading()


_BROKEN = re.compile(r"<[|｜]|[|｜]>")
_ROLE = re.compile(r"(?:assistant|user|model|system|tool|developer)\s*:?", re.IGNORECASE)
_LONE_ROLE = re.compile(r"(?:^|(?<=[.!?…]))(?:assistant|user|model|system)[ \t]*$", re.MULTILINE)
"""A line that is only the name of a role, or a name after a full stop: the server removed the marks around it."""
_NEXT_TURN = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]{0,2}(?:[^\S\n]*\n\s*+)?(?P<turn>(?:assistant|user|model)[ \t]*(?:\n|\Z))"
)
"""Such a name after the end of a sentence: another turn begins."""
_WORD = re.compile(r"\w")
_UNSEEN = " \t\r\n\v\f\0\ufeff\u200b\u200e\u200f\u2060"
_ROLE_AT_END = re.compile(r"(?:\A|\n)[ \t]*(?:assistant|user|model)[ \t]*:?\Z")
_ROLE_AT_START = re.compile(r"\s*(?:assistant|model|user)(?=\s*[\n:<＜]|\s+[A-Z\"'“‘]|\s*\Z)[ \t]*:?\s*")
_CUT_OFF = re.compile(r"[<＜][|｜][^<>|｜\n]{0,40}[|｜]?\Z|[<＜]/?(?:start|end)_of_\w{0,10}\Z|</(?:s|think\w*)?\Z")
"""The beginning of a mark at the end of a text."""


def _cut_beginning(text: str) -> str:
    at, mark = 0, _turn_mark().match(text)
    while mark:
        at = mark.end()
        if role := _ROLE_AT_START.match(text, at):
            at = role.end()
        at = len(text) - len(text[at:].lstrip())
        mark = _turn_mark().match(text, at)
    return text[at:]


def _cut_end(text: str) -> str:
    if cut := _CUT_OFF.search(text, max(0, len(text) - HELD_BACK)):
        text = text[: cut.start()]
    for mark in reversed(list(_turn_mark().finditer(text))):
        if _ROLE.sub("", text[mark.end() :], count=1).strip():
            break
        text = text[: mark.start()].rstrip()
    if role := _ROLE_AT_END.search(text, max(0, len(text) - HELD_BACK)):
        text = text[: role.start()]
    return text.strip()


# ---- patterns


@functools.cache
def _spec() -> dict:
    return data.read_toml("markers.toml")


@functools.cache
def _pairs() -> dict[str, str]:
    """First mark -> last mark, in lower case."""
    spec = _spec()["reasoning"]
    found = [*spec["pairs"], *spec["enclosed"], *spec["leading"]]
    return {first.lower(): last.lower() for first, last in found}


@functools.cache
def _leading() -> frozenset[str]:
    """First marks that are marks only at the beginning of an answer."""
    return frozenset(first.lower() for first, _ in _spec()["reasoning"]["leading"])


@functools.cache
def _enclosing() -> frozenset[str]:
    """Last marks that are marks only after their first mark."""
    spec = _spec()["reasoning"]
    return frozenset(last.lower() for _, last in [*spec["enclosed"], *spec["leading"]])


@functools.cache
def _names() -> str:
    """The names of reasoning as a regular expression."""
    return _any(name.replace("_", "[_ -]?") for name in _spec()["reasoning"]["names"])


def _family(name: str) -> str:
    return "think" if name.startswith(("think", "thought")) else name


def _literal(mark: str) -> str:
    """A regular expression for a mark with any forms of its signs."""
    pattern = "".join(SIGNS.get(char) or re.escape(char) for char in mark)
    return pattern + r"(?!\w)" if mark in ("```", "~~~") else pattern


def _may_go_on(text: str) -> bool:
    """Whether `text`, which ends where the pieces end so far, is the beginning of a longer mark."""
    lower = text.lower()
    return any(len(mark) > len(lower) and mark.startswith(lower) for pair in _pairs().items() for mark in pair)


def _any(patterns: Iterable[str]) -> str:
    return "|".join(sorted(set(patterns), key=lambda pattern: (-len(pattern), pattern)))


@functools.cache
def _turn_pattern() -> str:
    return f"{_literal('<|')}[^<>|｜\n]{{1,40}}{_literal('|>')}|{_any(map(_literal, _spec()['turns']['marks']))}"


@functools.cache
def _turn_mark() -> re.Pattern[str]:
    return re.compile(_turn_pattern(), re.IGNORECASE)


@functools.cache
def _boundary_mark() -> re.Pattern[str]:
    turns = _spec()["turns"]
    return re.compile(_any(map(_literal, [*turns["openings"], *turns["ends"]])), re.IGNORECASE)


@functools.cache
def _token() -> re.Pattern[str]:
    """Everything that `ReasoningFilter` reacts to. The last group that matched is the kind of the mark."""
    spec = _spec()["reasoning"]
    names, less, greater = _names(), SIGNS["<"], SIGNS[">"]
    bracketed = f"(?-i:{_any(spec['bracketed'])})|think"
    any_case = f"{_any(spec['bracketed'])}|think"
    prefix, edge = r"(?:\w{1,20}:)?", "[_▁ -]?"
    first, last = f"(?:(?:begin|start){edge}(?:of{edge})?)?", f"(?:{edge}(?:begin|start))?"
    end = f"end{edge}(?:of{edge})?"
    parts = [
        f"(?P<start>{_literal('<|start|>')})",
        f"(?P<channel>{_literal('<|channel|>')}|{_literal('<|channel>')})",
        f"(?P<message>{_literal('<|message|>')})",
        f"(?P<over>{_any(map(_literal, ('<|end|>', '<|return|>', '<|call|>', '<channel|>')))})",
        f"(?P<pair>{_any(map(_literal, _pairs()))})",
        f"(?P<unpair>{_any(map(_literal, _pairs().values()))})",
        rf"(?<!`){less}{prefix}(?:{names})\s?/\s?(?P<void>{greater})",
        rf"(?<!`){less}\s{{0,2}}{prefix}{first}(?P<open>{names}){last}(?:\s[^<>=]{{1,80}}=[^<>]{{0,160}}|\s{{0,2}}){greater}",
        rf"(?<!`){less}\s?[/\\]{{1,2}}\s?{prefix}(?:(?:begin|start){edge})?(?P<close>{names})\s{{0,3}}{greater}",
        rf"(?<!`){less}{prefix}{end}(?P<close2>{names})\s?{greater}",
        rf"(?<!`){less}{prefix}(?P<close3>{names}){edge}end\s?{greater}",
        rf"{_literal('<|')}\s?(?:/|{end})(?P<unbar>{names})\s?{_literal('|>')}",
        rf"{_literal('<|')}\s?(?P<unbar2>{names}){edge}end\s?{_literal('|>')}",
        rf"{_literal('<|')}\s?{first}(?P<bar>{names}){last}\s?{_literal('|>')}",
        rf"◁\s?/\s?(?P<unarrow>{names})\s?▷",
        rf"◁\s?(?P<arrow>{names})\s?▷",
        rf"\[\s?/\s?(?P<unbracket>{any_case})\s?\]",
        rf"\[\s?{end}(?P<unbracket3>{bracketed})\s?\]",
        rf"\[\s?(?P<unbracket2>{bracketed}){edge}end\s?\]",
        rf"\[\s?{first}(?P<bracket>{bracketed}){last}\s?\]",
        rf"\[\s?(?P<leading>{any_case})\s?\](?!\()",
        rf"{less}\s?/\s?(?P<unanswer>{_any(spec['answers'])})\s?{greater}",
        rf"{less}\s?(?P<answer>{_any(spec['answers'])})\s?{greater}",
        f"(?-i:{MERGED})",
        f"(?P<turn>{_turn_pattern()})",
    ]
    return re.compile("|".join(parts), re.IGNORECASE)


@functools.cache
def _beginning() -> re.Pattern[str]:
    """What may be the beginning of a mark, at the end of a text."""
    names = _names()
    half, less = r"(?:&[#\w]{0,4}|\\[u0-9a-f]{0,5})", SIGNS["<"]
    merged = [
        word[:end]
        for word in ("assistantcommentary", "assistantanalysis", "assistantfinal")
        for end in range(1, len(word))
    ]
    marks = [*_pairs(), *_pairs().values()]
    paired = [_literal(mark[:end]) for mark in marks for end in range(1, len(mark))]
    parts = [
        half,
        rf"{less}\s?[/\\]{{0,2}}\s?(?:{half}|[\w:▁~ -]{{0,40}}\s?(?:/\s?|{SIGNS['|']})?(?:{half})?)",
        rf"{less}\s?(?:\w{{1,20}}:)?(?:{names})\s[^<>]{{0,200}}",
        rf"{_literal('<|')}[^<>|｜\n]{{0,40}}{SIGNS['|']}?(?:{half})?",
        r"◁\s?/?\s?\w{0,30}\s?",
        r"\[\s?/?\s?[A-Za-z_~ ]{0,24}\s?|\[e~\[?|\]~?b?",
        *paired,
        *merged,
    ]
    return re.compile(f"(?:{'|'.join(parts)})\\Z", re.IGNORECASE)
