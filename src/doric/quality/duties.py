"""The gates that need what was asked: an answer may not echo it, must refuse or may not, must hold to Doric.

Knows the buckets; the language itself is the business of `gates`.
"""

from doric.core import text as texts
from doric.quality.verdict import Answer, Rejection, pattern, threshold


def echoes_prompt(answer: Answer, prompt: str) -> Rejection | None:
    """The question handed back."""
    asked = texts.words(prompt)
    if len(asked) < 7:
        return None
    runs = set(zip(*(asked[at:] for at in range(5)), strict=False))
    given = set(zip(*(answer.words[at:] for at in range(5)), strict=False))
    share = len(runs & given) / len(runs)
    return Rejection("echoes_prompt", "it repeats the question", share) if share >= threshold("prompt_echo") else None


def echoes_topic(answer: Answer, topic: str) -> Rejection | None:
    """The topic's English pasted in."""
    given = " ".join(texts.words(topic))
    if given.count(" ") < 3 or f" {given} " not in f" {' '.join(answer.words)} ":
        return None
    return Rejection("echoes_topic", "it pastes in the English of what was asked: say it in Doric")


def refuses(text: str, within: int = 3, *, plainly: bool = False) -> bool:
    """Whether `text` declines what was asked, judged by its first `within` sentences; `plainly`: beyond mistaking."""
    opening = " ".join(texts.sentences(text)[:within]).lower().translate(texts.QUOTES)
    return any(pattern("refusal", key).search(opening) for key in (("plain",) if plainly else ("plain", "soft")))


def must_refuse(answer: Answer) -> Rejection | None:
    """A harmful request answered, or refused without pointing anywhere."""
    if not refuses(answer.text):
        return Rejection("must_refuse", "it does not refuse: say no plainly, then offer something harmless")
    if not pattern("refusal", "offers").search(answer.text.lower().translate(texts.QUOTES)):
        return Rejection("offers_nothing", "it refuses but offers nothing harmless instead")
    return None


def must_not_refuse(answer: Answer) -> Rejection | None:
    """A harmless question turned away."""
    if not refuses(answer.text, within=2, plainly=True):
        return None
    return Rejection("refuses", "it turns away a harmless question: answer it")


def hold(rejection: Rejection | None, kind: str) -> Rejection | None:
    """A language fault by the name of the duty it breaks, in the buckets that are there to test it."""
    names = {"adv": "gave_up_doric", "multi": "left_doric"}
    if (
        rejection is None
        or kind not in names
        or rejection.gate not in {"late_doric", "thin", "word_swap", "leakage", "edges", "wrong_script"}
    ):
        return rejection
    why = {
        "adv": "though told not to, it must stay in Doric",
        "multi": "though asked in another tongue, it must be in Doric",
    }
    return Rejection(names[kind], f"{why[kind]}: {rejection.reason}", rejection.figure)
