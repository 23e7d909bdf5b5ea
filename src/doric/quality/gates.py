"""The quality gates: one function per reason to reject an answer. Each returns a `Rejection` or None.

`check_language` runs the gates that need only the text. `check` also runs the gates that depend on the prompt. The
thresholds and patterns are in `data/gates.toml`. The names of the gates are written to the rejections file, and the
reasons are sent back to the model that wrote the answer.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from doric.core import text as texts
from doric.core.characters import find_flaw
from doric.dialect.lexicon import SCOTS, house_forms, wider_spellings
from doric.quality import grammar
from doric.quality.allowances import Allowances, allowances
from doric.quality.answer import Answer, Gate, Rejection, lowered, pattern, quoted, spec, threshold
from doric.quality.wrapping import without_wrapping


@functools.cache
def _stock_openers() -> re.Pattern[str]:
    """Matches a stock opening of a lower-case text: `beginnings` always, `clauses` only before punctuation."""
    openers: dict[str, list[str]] = spec()["openers"]
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
    found = pattern("markup").search(answer.text)
    return found and Rejection("markup", f"it has markup ('{found.group().strip()[:20]}'): write plain sentences")


def garbled(answer: Answer) -> Rejection | None:
    """Rejects damaged characters, characters that cannot be seen, and marks of a chat template."""
    found = find_flaw(answer.text)
    return Rejection("garbled", f"{found}: write plain words") if found else None


def meta_talk(answer: Answer) -> Rejection | None:
    """Rejects text about being a model, about Doric or about the answer itself, unless the topic names the language."""
    text = lowered(answer.text)
    found = pattern("meta").search(text)
    if found is None and not answer.may_name_tongue and not pattern("meta", "subjects").search(answer.topic.lower()):
        found = pattern("meta", "subjects").search(text)
    return found and Rejection("meta_talk", f"it talks about itself ('{found.group()}'): answer the question only")


def wrapped(answer: Answer) -> Rejection | None:
    """Rejects an answer that is wholly in quotation marks or begins with a label such as "Doric:"."""
    if without_wrapping(text := answer.text.strip()) == text:
        return None
    return Rejection("wrapped", f"it has quotation marks or a label around it ('{text[:20]}'): give the plain answer")


def banned_opener(answer: Answer) -> Rejection | None:
    """Rejects a stock opening such as "Sure, ye can"; "Sure eneuch" and "Hi-viz jaickets" are allowed."""
    found = _stock_openers().match(lowered(answer.text[:60]).lstrip(" \"'("))
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
    reason = f"only {share:.0%} of the words are Scots, under {least:.0%}{_english_left(answer)}"
    return Rejection("thin", reason, share)


def word_swap(answer: Answer) -> Rejection | None:
    """Rejects English in which only the function words are respelled: it has no Scots nouns, verbs or endings.

    Spoken Doric may have as few of these, but it has far more Scots function words than respelled English.
    """
    share, least = answer.scores.depth, threshold("depth")
    if share >= least or not answer.scores.tokens or answer.scores.substrate >= threshold("thick_scots"):
        return None
    reason = f"only {share:.0%} of the words are Scots beyond the function words, under {least:.1%}"
    return Rejection("word_swap", f"{reason}: render the verbs and nouns too", share)


def not_north_east(answer: Answer) -> Rejection | None:
    """Rejects Scots with too few North-East forms, unless its region is unmarked."""
    share, least = answer.scores.north_east, threshold("north_east")
    if share >= least or is_region_unmarked(answer):
        return None
    return Rejection("not_north_east", f"only {share:.1%} of the words are North-East forms, under {least:.0%}", share)


def is_region_unmarked(answer: Answer) -> bool:
    """Whether a text is good Scots that happens to have no North-East form, as short answers may.

    It is short and has many Scots words, hardly any English ones, and nothing that the North-East does not write: no
    Central Scots, no spelling of Scotland at large where the North-East has its own, and no apostrophes of old books.
    """
    scores = answer.scores
    return (
        scores.north_east < threshold("north_east")
        and scores.tokens <= threshold("unmarked_words")
        and scores.substrate >= threshold("unmarked_substrate")
        and scores.leakage <= threshold("unmarked_leakage")
        and not scores.contamination
        and not any(item.token in wider_spellings() for item in scores.evidence)
        and not pattern("region", "elsewhere").search(lowered(answer.text))
    )


def central(answer: Answer) -> Rejection | None:
    """Rejects forms of Central Scots, Lallans or Burns. One such form is allowed beside several North-East forms."""
    share, most = answer.scores.contamination, threshold("contamination")
    if share <= most and share <= answer.scores.north_east:
        return None
    kinds = [item.kind for item in answer.scores.evidence]
    if kinds.count("central") == 1 and "central_weak" not in kinds and kinds.count("ne") >= threshold("outweighs"):
        return None
    found = answer.scores.tokens_of("central", "central_weak")
    return Rejection("central", f"{quoted(found)} {_are(found)} Central Scots{_write(found)}", share)


def leakage(answer: Answer) -> Rejection | None:
    """Rejects too many English function words that a Scots writer would replace."""
    share, most = answer.scores.leakage, threshold("leakage")
    if share <= most:
        return None
    found = answer.scores.tokens_of("leak")
    return Rejection("leakage", f"{quoted(found)} {_are(found)} English{_write(found)}", share)


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


def other_dialect(answer: Answer) -> Rejection | None:
    """Rejects forms of other Scots dialects: Shetland and Orkney, Ulster, the Borders, Dundee."""
    dialect, found = grammar.other_dialect(answer.words)
    if not found:
        return None
    return Rejection(
        "other_dialect", f"{quoted(found)} {_are(found)} {dialect}: write the forms of the North-East", len(found)
    )


def needless_f(answer: Answer) -> Rejection | None:
    """Rejects f- on words whose wh- or w- the North-East keeps, such as "fater" for "water"."""
    found = grammar.needless_f(answer.words)
    reason = f"{quoted(found)} {_are(found)} written with f-: only question words, fite, file and fussle have it"
    return Rejection("needless_f", reason, len(found)) if found else None


def relative_fit(answer: Answer) -> Rejection | None:
    """Rejects "fit" as a relative pronoun ("the gas fit plants mak")."""
    found = grammar.relative_fit(lowered(answer.text))
    reason = f"'fit' is no relative pronoun ({quoted(found)}): write 'that'"
    return Rejection("relative_fit", reason, len(found)) if found else None


def wrong_agreement(answer: Answer) -> Rejection | None:
    """Rejects verbs that do not agree with their subject, as in "I dinna kens"."""
    found = grammar.wrong_agreement(lowered(answer.text))
    reason = f"{quoted(found)}: the verb does not agree with its subject"
    return Rejection("wrong_agreement", reason, len(found)) if found else None


def word_salad(answer: Answer) -> Rejection | None:
    """Rejects words in an order that no sentence has."""
    found = grammar.word_salad([_tokens(line) for line in texts.sentences(answer.text)])
    return Rejection("word_salad", f"no sentence has {quoted(found)}: write sentences", len(found)) if found else None


def _tokens(sentence: str) -> list[str]:
    """Lower-case words and punctuation; a name, which is a capital inside the sentence, counts as punctuation."""
    tokens = texts.surface_tokens(sentence)
    return [token.lower() if not at or token.islower() else "," for at, token in enumerate(tokens)]


LANGUAGE_GATES: tuple[Gate, ...] = (
    empty, wrong_script, markup, garbled, meta_talk, wrapped, banned_opener, too_short, too_long, unfinished,
    late_doric, thin, word_swap, other_dialect, needless_f, not_north_east, central, leakage, edges, relative_fit,
    wrong_agreement, word_salad, repeats_itself,
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
    opening = lowered(" ".join(texts.sentences(text)[:within]))
    return any(pattern("refusal", key).search(opening) for key in (("plain",) if plainly else ("plain", "soft")))


def must_refuse(answer: Answer) -> Rejection | None:
    """Rejects an answer to a harmful request if it does not refuse, or if it offers no harmless alternative."""
    if not is_refusal(answer.text):
        return Rejection("must_refuse", "it does not refuse: say no plainly, then offer something harmless")
    if not pattern("refusal", "offers").search(lowered(answer.text)):
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
    return next(_language_faults(text if isinstance(text, Answer) else Answer.of(text)), None)


def check(text: str | Answer, *, prompt: str, topic: str, kind: str, ask: str = "") -> Rejection | None:
    """The first rejection of an answer to `prompt` about `topic`, or None. The parameters are those of `faults`."""
    return next(faults(text, prompt=prompt, topic=topic, kind=kind, ask=ask), None)


def faults(text: str | Answer, *, prompt: str, topic: str, kind: str, ask: str = "") -> Iterator[Rejection]:
    """Every rejection of an answer to `prompt` about `topic`, in the order of the gates.

    `kind` is core, adv, safety or multi. `ask` is the kind of ask, which may allow what other answers must not have: a
    greeting is short and has a stock opener, and a translation quotes English.
    """
    answer = replace(text, topic=topic) if isinstance(text, Answer) else Answer.of(text, topic)
    answer = replace(answer, may_name_tongue=kind == "adv")
    allowed = allowances(ask)
    for rejection in _asked_faults(answer, allowed) if allowed else _language_faults(answer):
        yield _named_for_bucket(rejection, kind)
    others = (
        echoes_prompt(answer, prompt),
        echoes_topic(answer, topic),
        (must_refuse if kind == "safety" else must_not_refuse)(answer),
    )
    skipped = allowed.gates if allowed else ()
    yield from (rejection for rejection in others if rejection and rejection.gate not in skipped)


def _language_faults(answer: Answer) -> Iterator[Rejection]:
    if len(answer.text) > texts.MAX_CHARACTERS:
        gates: tuple[Gate, ...] = (too_long,)
    else:
        gates = LANGUAGE_GATES if answer.words else (empty,)
    yield from filter(None, (gate(answer) for gate in gates))


def _asked_faults(answer: Answer, allowed: Allowances) -> Iterator[Rejection]:
    """The rejections by the language gates that the ask does not allow. Protected text is not measured."""
    if len(answer.text) > texts.MAX_CHARACTERS:
        yield from filter(None, (too_long(answer),))
        return
    if (count := len(answer.words)) < allowed.least:
        yield Rejection("too_short", f"it has {count} of at least {allowed.least} words", count)
    measured = replace(Answer.of(allowed.measured(answer.text), answer.topic), may_name_tongue=answer.may_name_tongue)
    skipped = allowed.gates | {"too_short"}
    if len(measured.words) < threshold("min_words"):
        skipped |= NEED_LENGTH
    found = False
    for rejection in filter(None, (gate(measured) for gate in LANGUAGE_GATES)):
        if rejection.gate not in skipped:
            found = True
            yield rejection
    if allowed.needs_english:
        yield from filter(None, (_without_english(answer, measured), None if found else _not_scots(measured)))
    elif not found and (rejection := _not_scots(measured) and _not_scots(answer)):  # a translation quotes its Doric
        yield rejection


def _without_english(answer: Answer, measured: Answer) -> Rejection | None:
    """Rejects an answer that does not quote the English that is needed, or that says hardly anything beside it."""
    quoted_english = (Answer.of(found.group()) for found in texts.QUOTATION.finditer(answer.text))
    if not any(len(one.words) > 1 and one.scores.substrate < threshold("substrate") for one in quoted_english):
        reason = "the user has a good reason to need English: give it too, between double quotation marks"
        return Rejection("no_english", reason)
    if (count := len(measured.words)) >= WORDS_BESIDE:
        return None
    reason = f"it has {texts.counted(count, 'word')} outside the quotation marks: answer in Doric too"
    return Rejection("gave_up_doric", reason, count)


def _not_scots(answer: Answer) -> Rejection | None:
    """Rejects an answer that is not in Scots at all, which no ask allows; code alone has no words."""
    share, least = answer.scores.substrate, threshold("ask_substrate")
    if share >= least or answer.scores.tokens <= ONLY_A_NAME:
        return None
    reason = f"only {share:.0%} of the words are Scots, under {least:.0%}{_english_left(answer)}"
    return Rejection("english", reason, share)


WORDS_BESIDE = 6
"""An answer that quotes the English that is needed has so many words outside the quotation marks."""
ONLY_A_NAME = 2
"""A measured text of so many words may be a name, a number or a stand-in."""
NEED_LENGTH = frozenset({"late_doric", "word_swap", "not_north_east", "edges", "word_salad"})
"""The gates whose figures say nothing about a text of a few words."""
LEFT_DORIC = frozenset({"late_doric", "thin", "word_swap", "leakage", "edges", "wrong_script"})
"""The gates that reject an answer in another language."""
BUCKET_GATES = {
    "adv": ("gave_up_doric", "though told not to, it must stay in Doric"),
    "multi": ("left_doric", "though asked in another tongue, it must be in Doric"),
}
"""For buckets that test whether the model stays in Doric: bucket -> the gate to report instead, and its requirement."""


def _named_for_bucket(rejection: Rejection, kind: str) -> Rejection:
    if rejection.gate not in LEFT_DORIC or kind not in BUCKET_GATES:
        return rejection
    gate, required = BUCKET_GATES[kind]
    return Rejection(gate, f"{required}: {rejection.reason}", rejection.figure)


def _english_left(answer: Answer) -> str:
    found = answer.scores.tokens_of("leak")
    return f"; {quoted(found)} {_are(found)} English{_write(found)}" if found else ""


def _are(tokens: tuple[str, ...]) -> str:
    return "are" if len(tokens) > 1 else "is"


def _write(tokens: tuple[str, ...]) -> str:
    forms = [f"'{house}'" for token in tokens[:6] if (house := house_forms().get(token))]
    return f": write {', '.join(forms)}" if forms else ""
