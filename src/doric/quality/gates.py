"""Why an answer is refused: pure functions, text in, a `Rejection` or None out, each named for its fault.

`language` runs those that need nothing but the text, which are here; `judge` adds those of `duties`, which need what
was asked. Knows nothing of files, models or other answers: near-duplicates are the generator's business.
"""

import unicodedata
from dataclasses import replace

from doric.core import text as texts
from doric.dialect.lexicon import house_forms
from doric.dialect.scores import SCOTS
from doric.quality.duties import echoes_prompt, echoes_topic, hold, must_not_refuse, must_refuse, refuses
from doric.quality.verdict import Answer, Gate, Rejection, opener, pattern, threshold

__all__ = [
    "LANGUAGE", "Answer", "Rejection", "echoes_prompt", "judge", "language", "must_not_refuse", "must_refuse",
    "refuses", "threshold",
]  # fmt: skip
"""The front door of the three rooms of gates."""


def empty(answer: Answer) -> Rejection | None:
    """Nothing to read."""
    return None if answer.words else Rejection("empty", "the answer has no words in it", 0)


def wrong_script(answer: Answer) -> Rejection | None:
    """Letters of another script."""
    if answer.text.isascii():
        return None
    letters = [char for char in answer.text if char.isalpha()]
    foreign = [char for char in letters if not char.isascii() and not unicodedata.name(char, "").startswith("LATIN")]
    share = len(foreign) / max(1, len(letters))
    if share <= threshold("script"):
        return None
    return Rejection("wrong_script", f"{share:.0%} of the letters are not Latin ('{''.join(foreign[:5])}')", share)


def markup(answer: Answer) -> Rejection | None:
    """Lists, headings, code or HTML in what should be talk."""
    found = pattern("markup").search(answer.text)
    return found and Rejection("markup", f"it has markup ('{found.group().strip()[:20]}'): write plain sentences")


def meta_talk(answer: Answer) -> Rejection | None:
    """Talk about being a model, about the tongue or about the answer itself.

    The tongue may be named where the topic names it.
    """
    spoken = answer.text.lower().translate(texts.QUOTES)
    found = pattern("meta").search(spoken)
    if found is None and not pattern("meta", "subjects").search(answer.topic.lower()):
        found = pattern("meta", "subjects").search(spoken)
    return found and Rejection("meta_talk", f"it talks about itself ('{found.group()}'): answer the question only")


def banned_opener(answer: Answer) -> Rejection | None:
    """A stock way in, as a clause of its own: 'Sure, ye can' is one, 'Sure eneuch' and 'Hi-viz jaickets' are not."""
    found = opener().match(answer.text[:60].lower().translate(texts.QUOTES).lstrip(" \"'("))
    if found is None:
        return None
    reason = f"it opens with the stock phrase '{found.group()}': begin with the matter itself"
    return Rejection("banned_opener", reason)


def too_short(answer: Answer) -> Rejection | None:
    """Fewer words than the scores can judge."""
    count, least = len(answer.words), threshold("min_words")
    return None if count >= least else Rejection("too_short", f"it has {count} words, fewer than {least}", count)


def too_long(answer: Answer) -> Rejection | None:
    """More words than a chat answer."""
    count, most = len(answer.words), threshold("max_words")
    return None if count <= most else Rejection("too_long", f"it has {count} words, more than {most}", count)


def unfinished(answer: Answer) -> Rejection | None:
    """The last sentence does not end."""
    if texts.finished(answer.text):
        return None
    return Rejection("unfinished", f"the last sentence does not end ('…{answer.text.rstrip()[-25:]}')")


def late_doric(answer: Answer) -> Rejection | None:
    """No Doric where the reader starts."""
    first, least = int(threshold("first_words")), threshold("first_forms")
    forms = sum(item.kind in SCOTS for item in answer.profile.evidence if item.index < first)
    if forms >= least:
        return None
    return Rejection("late_doric", f"only {forms} of the first {first} words are Doric: begin in it", forms)


def thin(answer: Answer) -> Rejection | None:
    """Too few Scots forms for this to be Scots at all."""
    share, least = answer.profile.substrate, threshold("substrate")
    if share >= least:
        return None
    return Rejection("thin", f"only {share:.0%} of the words are Scots, under {least:.0%}{_rendered(answer)}", share)


def word_swap(answer: Answer) -> Rejection | None:
    """English with its function words respelled: no Scots noun, verb or ending in it."""
    share, least = answer.profile.depth, threshold("depth")
    if share >= least or not answer.profile.tokens:
        return None
    reason = f"only {share:.0%} of the words are Scots beyond the function words, under {least:.1%}"
    return Rejection("word_swap", f"{reason}: render the verbs and nouns too", share)


def not_north_east(answer: Answer) -> Rejection | None:
    """Scots, but nothing of the North-East in it."""
    share, least = answer.profile.north_east, threshold("north_east")
    if share >= least:
        return None
    return Rejection("not_north_east", f"only {share:.1%} of the words are North-East forms, under {least:.0%}", share)


def central(answer: Answer) -> Rejection | None:
    """Forms of Central Scots, Lallans or Burns; one beside several of the North-East is a neighbour's word."""
    share, most = answer.profile.contamination, threshold("contamination")
    if share <= most and share <= answer.profile.north_east:
        return None
    kinds = [item.kind for item in answer.profile.evidence]
    if kinds.count("central") == 1 and "central_weak" not in kinds and kinds.count("ne") >= threshold("outweighs"):
        return None
    found = answer.profile.tokens_of("central", "central_weak")
    return Rejection("central", f"{_quoted(found)} {_are(found)} Central Scots{_write(found)}", share)


def leakage(answer: Answer) -> Rejection | None:
    """English function words that a Scots writer renders."""
    share, most = answer.profile.leakage, threshold("leakage")
    if share <= most:
        return None
    found = answer.profile.tokens_of("leak")
    return Rejection("leakage", f"{_quoted(found)} {_are(found)} English{_write(found)}", share)


def edges(answer: Answer) -> Rejection | None:
    """Doric in a sentence or two, English in the others."""
    share, least = answer.profile.spread, threshold("spread")
    if share >= least:
        return None
    return Rejection(
        "edges", f"only {share:.0%} of the sentences hold two or more Scots forms, under {least:.0%}", share
    )


def repeats_itself(answer: Answer) -> Rejection | None:
    """A sentence twice, or the same runs of words again and again."""
    lines = [texts.fold(line) for line in texts.sentences(answer.text)]
    double = next((line for at, line in enumerate(lines) if line in lines[:at] and " " in line), None)
    if double:
        return Rejection("repeats_itself", f"it says the same sentence twice ('{double[:40]}')", 1)
    runs = list(zip(answer.words, answer.words[1:], answer.words[2:], strict=False))
    share = 1 - len(set(runs)) / len(runs) if runs else 0.0
    if share <= threshold("repetition"):
        return None
    return Rejection("repeats_itself", f"{share:.0%} of its runs of three words are repeats", share)


LANGUAGE: tuple[Gate, ...] = (
    empty, wrong_script, markup, meta_talk, banned_opener, too_short, too_long, unfinished,
    late_doric, thin, word_swap, not_north_east, central, leakage, edges, repeats_itself,
)  # fmt: skip


def language(text: str | Answer) -> Rejection | None:
    """The first fault found by the gates that need no prompt, or None.

    >>> language("It's nae sae bad.").gate
    'too_short'
    """
    answer = text if isinstance(text, Answer) else Answer.of(text)
    return next(filter(None, (gate(answer) for gate in LANGUAGE)), None)


def judge(text: str | Answer, *, prompt: str, topic: str, kind: str) -> Rejection | None:
    """The first fault of an answer to `prompt` about `topic` in bucket `kind` (core, adv, safety, multi), or None."""
    answer = replace(text, topic=topic) if isinstance(text, Answer) else Answer.of(text, topic)
    return (
        hold(language(answer), kind)
        or echoes_prompt(answer, prompt)
        or echoes_topic(answer, topic)
        or (must_refuse if kind == "safety" else must_not_refuse)(answer)
    )


def _quoted(tokens: tuple[str, ...]) -> str:
    return ", ".join(f"'{token}'" for token in tokens[:6])


def _are(tokens: tuple[str, ...]) -> str:
    return "are" if len(tokens) > 1 else "is"


def _write(tokens: tuple[str, ...]) -> str:
    forms = [f"'{house}'" for token in tokens[:6] if (house := house_forms().get(token))]
    return f": write {', '.join(forms)}" if forms else ""


def _rendered(answer: Answer) -> str:
    found = answer.profile.tokens_of("leak")
    return f"; {_quoted(found)} {_are(found)} English{_write(found)}" if found else ""
