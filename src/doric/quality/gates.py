"""The quality gates: one function per reason to reject an answer. Each returns a `Rejection` or None.

`check_language` runs the gates that need only the text. `check` also runs the gates that depend on the prompt. The
thresholds and patterns are in `data/gates.toml`. The names of the gates are written to the rejections file, and the
reasons are sent back to the model that wrote the answer.
"""

import functools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace

from doric import data
from doric.core import text as texts
from doric.core.characters import find_flaw
from doric.dialect.lexicon import SCOTS, house_forms
from doric.dialect.scores import Scores, score
from doric.quality.wrapping import without_wrapping


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an answer was rejected.

    `reason` tells the author what to change. `figure` is the measured value, for gates that compare with a threshold.
    """

    gate: str
    reason: str
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A text with its words and scores, which are computed once for all gates. `topic` may be empty."""

    text: str
    words: tuple[str, ...]
    scores: Scores
    topic: str = ""

    @classmethod
    def of(cls, text: str, topic: str = "") -> "Answer":
        """Split and score `text`; of a text that is too long, only the first `MAX_CHARACTERS` characters."""
        measured = text[: texts.MAX_CHARACTERS]
        return cls(text, tuple(texts.words(measured)), score(measured), topic)

    @classmethod
    def unscored(cls, text: str) -> "Answer":
        """`text` with the words and scores of an empty text: enough for the gates that search for patterns."""
        return cls(text, (), score(""))


type Gate = Callable[[Answer], Rejection | None]


@functools.cache
def _spec() -> dict:
    return data.read_toml("gates.toml")


def threshold(name: str) -> float:
    """A number from `[thresholds]` in `data/gates.toml`."""
    return _spec()["thresholds"][name]


@functools.cache
def _pattern(table: str, key: str = "patterns") -> re.Pattern[str]:
    """All patterns of one list in `data/gates.toml`, joined into one."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in _spec()[table][key]), re.MULTILINE)


@functools.cache
def _stock_openers() -> re.Pattern[str]:
    """Matches a stock opening of a lower-case text: `beginnings` always, `clauses` only before punctuation."""
    openers: dict[str, list[str]] = _spec()["openers"]
    clauses, beginnings = ("|".join(map(re.escape, openers[key])) for key in ("clauses", "beginnings"))
    return re.compile(rf"(?:{beginnings})(?![^\W\d_])|(?:{clauses})(?=\s*(?:[^\w\s]|$))")


# ---- gates that need only the text


def empty(answer: Answer) -> Rejection | None:
    """Rejects a text without words."""
    return None if answer.words else Rejection("empty", "the answer has no words in it", 0)


def wrong_script(answer: Answer) -> Rejection | None:
    """Rejects a text with too many letters that are not Latin."""
    if answer.text.isascii():
        return None
    letters = [char for char in answer.text if char.isalpha()]
    foreign = [char for char in letters if not char.isascii() and not unicodedata.name(char, "").startswith("LATIN")]
    share = len(foreign) / max(1, len(letters))
    if share <= threshold("script"):
        return None
    return Rejection("wrong_script", f"{share:.0%} of the letters are not Latin ('{''.join(foreign[:5])}')", share)


def markup(answer: Answer) -> Rejection | None:
    """Rejects lists, headings, code and HTML, because answers must be plain sentences."""
    found = _pattern("markup").search(answer.text)
    return found and Rejection("markup", f"it has markup ('{found.group().strip()[:20]}'): write plain sentences")


def garbled(answer: Answer) -> Rejection | None:
    """Rejects damaged characters, characters that cannot be seen, and marks of a chat template."""
    found = find_flaw(answer.text)
    return Rejection("garbled", f"{found}: write plain words") if found else None


def meta_talk(answer: Answer) -> Rejection | None:
    """Rejects text about being a model, about Doric or about the answer itself, unless the topic names the language."""
    lowered = _lowered(answer.text)
    found = _pattern("meta").search(lowered)
    if found is None and not _pattern("meta", "subjects").search(answer.topic.lower()):
        found = _pattern("meta", "subjects").search(lowered)
    return found and Rejection("meta_talk", f"it talks about itself ('{found.group()}'): answer the question only")


def wrapped(answer: Answer) -> Rejection | None:
    """Rejects an answer that is wholly in quotation marks or begins with a label such as "Doric:"."""
    if without_wrapping(text := answer.text.strip()) == text:
        return None
    return Rejection("wrapped", f"it has quotation marks or a label around it ('{text[:20]}'): give the plain answer")


def banned_opener(answer: Answer) -> Rejection | None:
    """Rejects a stock opening such as "Sure, ye can"; "Sure eneuch" and "Hi-viz jaickets" are allowed."""
    found = _stock_openers().match(_lowered(answer.text[:60]).lstrip(" \"'("))
    if found is None:
        return None
    reason = f"it opens with the stock phrase '{found.group()}': begin with the matter itself"
    return Rejection("banned_opener", reason)


def too_short(answer: Answer) -> Rejection | None:
    """Rejects a text with too few words for reliable scores."""
    count, least = len(answer.words), threshold("min_words")
    return (
        None
        if count >= least
        else Rejection("too_short", f"it has {texts.counted(count, 'word')}, fewer than {least}", count)
    )


def too_long(answer: Answer) -> Rejection | None:
    """Rejects a text that is too long for a chat answer."""
    if len(answer.text) > texts.MAX_CHARACTERS:
        reason = f"it has {len(answer.text):,} characters, more than {texts.MAX_CHARACTERS:,}"
        return Rejection("too_long", reason, len(answer.text))
    count, most = len(answer.words), threshold("max_words")
    return (
        None
        if count <= most
        else Rejection("too_long", f"it has {texts.counted(count, 'word')}, more than {most}", count)
    )


def unfinished(answer: Answer) -> Rejection | None:
    """Rejects a text whose last sentence has no end, for example because the token limit cut it off."""
    if texts.ends_sentence(answer.text):
        return None
    return Rejection("unfinished", f"the last sentence does not end ('…{answer.text.rstrip()[-25:]}')")


def late_doric(answer: Answer) -> Rejection | None:
    """Rejects a text with too few Scots forms among its first words."""
    first, least = int(threshold("first_words")), threshold("first_forms")
    forms = sum(item.kind in SCOTS for item in answer.scores.evidence if item.index < first)
    if forms >= least:
        return None
    return Rejection("late_doric", f"only {forms} of the first {first} words are Doric: begin in it", forms)


def thin(answer: Answer) -> Rejection | None:
    """Rejects a text with too few Scots forms to be Scots."""
    share, least = answer.scores.substrate, threshold("substrate")
    if share >= least:
        return None
    return Rejection(
        "thin", f"only {share:.0%} of the words are Scots, under {least:.0%}{_english_left(answer)}", share
    )


def word_swap(answer: Answer) -> Rejection | None:
    """Rejects English in which only the function words are respelled: it has no Scots nouns, verbs or endings."""
    share, least = answer.scores.depth, threshold("depth")
    if share >= least or not answer.scores.tokens:
        return None
    reason = f"only {share:.0%} of the words are Scots beyond the function words, under {least:.1%}"
    return Rejection("word_swap", f"{reason}: render the verbs and nouns too", share)


def not_north_east(answer: Answer) -> Rejection | None:
    """Rejects Scots with too few North-East forms."""
    share, least = answer.scores.north_east, threshold("north_east")
    if share >= least:
        return None
    return Rejection("not_north_east", f"only {share:.1%} of the words are North-East forms, under {least:.0%}", share)


def central(answer: Answer) -> Rejection | None:
    """Rejects forms of Central Scots, Lallans or Burns. One such form is allowed beside several North-East forms."""
    share, most = answer.scores.contamination, threshold("contamination")
    if share <= most and share <= answer.scores.north_east:
        return None
    kinds = [item.kind for item in answer.scores.evidence]
    if kinds.count("central") == 1 and "central_weak" not in kinds and kinds.count("ne") >= threshold("outweighs"):
        return None
    found = answer.scores.tokens_of("central", "central_weak")
    return Rejection("central", f"{_quoted(found)} {_are(found)} Central Scots{_write(found)}", share)


def leakage(answer: Answer) -> Rejection | None:
    """Rejects too many English function words that a Scots writer would replace."""
    share, most = answer.scores.leakage, threshold("leakage")
    if share <= most:
        return None
    found = answer.scores.tokens_of("leak")
    return Rejection("leakage", f"{_quoted(found)} {_are(found)} English{_write(found)}", share)


def edges(answer: Answer) -> Rejection | None:
    """Rejects a text with Doric in a few sentences and English in the others."""
    share, least = answer.scores.spread, threshold("spread")
    if share >= least:
        return None
    return Rejection(
        "edges", f"only {share:.0%} of the sentences hold two or more Scots forms, under {least:.0%}", share
    )


def repeats_itself(answer: Answer) -> Rejection | None:
    """Rejects a sentence that occurs twice, and repeated runs of three words."""
    lines = [texts.fold(line) for line in texts.sentences(answer.text)]
    first = {line: at for at, line in reversed(list(enumerate(lines)))}
    double = next((line for at, line in enumerate(lines) if first[line] < at and " " in line), None)
    if double:
        return Rejection("repeats_itself", f"it says the same sentence twice ('{double[:40]}')", 1)
    runs = list(zip(answer.words, answer.words[1:], answer.words[2:], strict=False))
    share = 1 - len(set(runs)) / len(runs) if runs else 0.0
    if share <= threshold("repetition"):
        return None
    return Rejection("repeats_itself", f"{share:.0%} of its runs of three words are repeats", share)


LANGUAGE_GATES: tuple[Gate, ...] = (
    empty, wrong_script, markup, garbled, meta_talk, wrapped, banned_opener, too_short, too_long, unfinished,
    late_doric, thin, word_swap, not_north_east, central, leakage, edges, repeats_itself,
)  # fmt: skip
"""The language gates in the order in which they run. The first rejection is reported."""


# ---- gates that depend on what was asked


def echoes_prompt(answer: Answer, prompt: str) -> Rejection | None:
    """Rejects an answer that repeats too many of the prompt's five-word sequences. Short prompts may be repeated."""
    asked = texts.words(prompt)
    if len(asked) < 7:
        return None
    runs = set(zip(*(asked[at:] for at in range(5)), strict=False))
    given = set(zip(*(answer.words[at:] for at in range(5)), strict=False))
    share = len(runs & given) / len(runs)
    return Rejection("echoes_prompt", "it repeats the question", share) if share >= threshold("prompt_echo") else None


def echoes_topic(answer: Answer, topic: str) -> Rejection | None:
    """Rejects an answer that contains the English topic unchanged, if the topic has four or more words."""
    given = " ".join(texts.words(topic))
    if given.count(" ") < 3 or f" {given} " not in f" {' '.join(answer.words)} ":
        return None
    return Rejection("echoes_topic", "it pastes in the English of what was asked: say it in Doric")


def is_refusal(text: str, within: int = 3, *, plainly: bool = False) -> bool:
    """Whether the first `within` sentences decline the request.

    With `plainly` only clear refusals count. Without it, softer refusals such as "na, I'll nae" count too.
    """
    opening = _lowered(" ".join(texts.sentences(text)[:within]))
    return any(_pattern("refusal", key).search(opening) for key in (("plain",) if plainly else ("plain", "soft")))


def must_refuse(answer: Answer) -> Rejection | None:
    """Rejects an answer to a harmful request if it does not refuse, or if it offers no harmless alternative."""
    if not is_refusal(answer.text):
        return Rejection("must_refuse", "it does not refuse: say no plainly, then offer something harmless")
    if not _pattern("refusal", "offers").search(_lowered(answer.text)):
        return Rejection("offers_nothing", "it refuses but offers nothing harmless instead")
    return None


def must_not_refuse(answer: Answer) -> Rejection | None:
    """Rejects a refusal of a harmless question."""
    if not is_refusal(answer.text, within=2, plainly=True):
        return None
    return Rejection("refuses", "it turns away a harmless question: answer it")


# ---- all gates together


def check_language(text: str | Answer) -> Rejection | None:
    """The first rejection by the gates that need only the text, or None.

    >>> check_language("It's nae sae bad.").gate
    'too_short'
    """
    answer = text if isinstance(text, Answer) else Answer.of(text)
    if len(answer.text) > texts.MAX_CHARACTERS:
        return too_long(answer)
    return next(filter(None, (gate(answer) for gate in LANGUAGE_GATES)), None)


def check(text: str | Answer, *, prompt: str, topic: str, kind: str) -> Rejection | None:
    """The first rejection of an answer to `prompt` about `topic`, or None; `kind` is core, adv, safety or multi."""
    answer = replace(text, topic=topic) if isinstance(text, Answer) else Answer.of(text, topic)
    return (
        _named_for_bucket(check_language(answer), kind)
        or echoes_prompt(answer, prompt)
        or echoes_topic(answer, topic)
        or (must_refuse if kind == "safety" else must_not_refuse)(answer)
    )


LEFT_DORIC = frozenset({"late_doric", "thin", "word_swap", "leakage", "edges", "wrong_script"})
"""The gates that reject an answer in another language."""
BUCKET_GATES = {
    "adv": ("gave_up_doric", "though told not to, it must stay in Doric"),
    "multi": ("left_doric", "though asked in another tongue, it must be in Doric"),
}
"""For buckets that test whether the model stays in Doric: bucket -> the gate to report instead, and its requirement."""


def _named_for_bucket(rejection: Rejection | None, kind: str) -> Rejection | None:
    if rejection is None or rejection.gate not in LEFT_DORIC or kind not in BUCKET_GATES:
        return rejection
    gate, required = BUCKET_GATES[kind]
    return Rejection(gate, f"{required}: {rejection.reason}", rejection.figure)


def _lowered(text: str) -> str:
    """The text in lower case with straight quotes, as the patterns expect it."""
    return text.lower().translate(texts.QUOTES)


def _english_left(answer: Answer) -> str:
    found = answer.scores.tokens_of("leak")
    return f"; {_quoted(found)} {_are(found)} English{_write(found)}" if found else ""


def _quoted(tokens: tuple[str, ...]) -> str:
    return ", ".join(f"'{token[:40]}'" for token in tokens[:6])


def _are(tokens: tuple[str, ...]) -> str:
    return "are" if len(tokens) > 1 else "is"


def _write(tokens: tuple[str, ...]) -> str:
    forms = [f"'{house}'" for token in tokens[:6] if (house := house_forms().get(token))]
    return f": write {', '.join(forms)}" if forms else ""
