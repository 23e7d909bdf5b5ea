"""The regular expressions of marks, made from the lists in `data/markers.toml`."""

import functools
import re
from collections.abc import Iterable

from doric import data

SIGNS = {
    "<": r"(?:[<＜〈⟨《]|&lt;|&#0?60;|&#x3c;|\\u003c)",
    ">": r"(?:[>＞〉⟩》]|&gt;|&#0?62;|&#x3e;|\\u003e)",
    "|": "[|｜]",
}
"""The forms of a sign in a mark: some servers escape it, and some templates use full-width signs."""
MERGED = "assistant(?P<merged>final|commentary|analysis)"
"""A header of a channel that lost its special tokens: `analysisThe user …assistantfinalAye, …`."""


@functools.cache
def _spec() -> dict:
    return data.read_toml("markers.toml")


@functools.cache
def pairs() -> dict[str, str]:
    """First mark -> last mark, in lower case."""
    spec = _spec()["reasoning"]
    found = [*spec["pairs"], *spec["enclosed"], *spec["leading"]]
    return {first.lower(): last.lower() for first, last in found}


@functools.cache
def leading() -> frozenset[str]:
    """First marks that are marks only at the beginning of an answer."""
    return frozenset(first.lower() for first, _ in _spec()["reasoning"]["leading"])


@functools.cache
def enclosing() -> frozenset[str]:
    """Last marks that are marks only after their first mark."""
    spec = _spec()["reasoning"]
    return frozenset(last.lower() for _, last in [*spec["enclosed"], *spec["leading"]])


@functools.cache
def _names() -> str:
    """The names of reasoning as a regular expression."""
    return _any(name.replace("_", "[_ -]?") for name in _spec()["reasoning"]["names"])


def family(name: str) -> str:
    """The same name for all spellings of one mark: `<think>` may end with `</thinking>`."""
    return "think" if name.startswith(("think", "thought")) else name


def _literal(mark: str) -> str:
    """A regular expression for a mark with any forms of its signs."""
    pattern = "".join(SIGNS.get(char) or re.escape(char) for char in mark)
    return pattern + r"(?!\w)" if mark in ("```", "~~~") else pattern


def may_go_on(text: str) -> bool:
    """Whether `text`, which ends where the pieces end so far, is the beginning of a longer mark."""
    return text.lower() in _beginnings()


@functools.cache
def _beginnings() -> frozenset[str]:
    """Every beginning of a mark around reasoning, in lower case; a whole mark only if a longer one begins with it."""
    return frozenset(mark[:end] for pair in pairs().items() for mark in pair for end in range(len(mark)))


def _any(patterns: Iterable[str]) -> str:
    return "|".join(sorted(set(patterns), key=lambda pattern: (-len(pattern), pattern)))


@functools.cache
def _turn_pattern() -> str:
    return f"{_literal('<|')}[^<>|｜\n]{{1,40}}{_literal('|>')}|{_any(map(_literal, _spec()['turns']['marks']))}"


@functools.cache
def turn_mark() -> re.Pattern[str]:
    """Matches a mark of a chat template."""
    return re.compile(_turn_pattern(), re.IGNORECASE)


@functools.cache
def boundary_mark() -> re.Pattern[str]:
    """Matches a mark that ends a turn or opens another one."""
    turns = _spec()["turns"]
    return re.compile(_any(map(_literal, [*turns["openings"], *turns["ends"]])), re.IGNORECASE)


@functools.cache
def token() -> re.Pattern[str]:
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
        f"(?P<pair>{_any(map(_literal, pairs()))})",
        f"(?P<unpair>{_any(map(_literal, pairs().values()))})",
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
    # the first character is looked at before the many forms: a search takes a third of the time
    return re.compile(f"(?={_first_characters()})(?:{'|'.join(parts)})", re.IGNORECASE)


def _first_characters() -> str:
    """A regular expression for the beginning of every form of `token`."""
    marks = [*pairs(), *pairs().values(), *_spec()["turns"]["marks"], "<", "◁", "[", MERGED]
    return _any(_literal(mark[0]) for mark in marks)


@functools.cache
def beginning() -> re.Pattern[str]:
    """What may be the beginning of a mark, at the end of a text."""
    names = _names()
    half, less = r"(?:&[#\w]{0,4}|\\[u0-9a-f]{0,5})", SIGNS["<"]
    merged = [
        word[:end]
        for word in ("assistantcommentary", "assistantanalysis", "assistantfinal")
        for end in range(1, len(word))
    ]
    marks = [*pairs(), *pairs().values()]
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


def final_channels() -> list[str]:
    """The names of channels with an answer."""
    return _spec()["reasoning"]["final_channels"]


def typed_marks() -> list[str]:
    """The marks that people may type for another reason."""
    return _spec()["turns"]["typed"]
