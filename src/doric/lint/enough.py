"""Whether chats of four turns have enough different answers after each kind of ask, with the default number of rows."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from doric.dataset.asks import USED, Ask, Pair, asks, most_rows
from doric.lint.followups import FILE
from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality import gates

ROWS = {"core": 2_000, "adv": 310}
"""Bucket -> its rows in a dataset with the default number of rows per topic."""
FOLLOW_UPS = 2
"""The follow-ups of a chat of four turns."""
DRAWN = 0.7
"""At most this share of the rows of an ask may be needed: follow-ups draw them by chance, and some are rejected."""

FEW = 16
"""A pair with at most so many different answers has few to spare."""

type Rules = Sequence[dict[str, Any]]


def check_follow_ups(sources: Sources) -> Iterator[Finding]:
    """Follow-ups that would run out of different answers: those of a rule, of another ask, and beside a pair."""
    source, rules = sources[FILE], sources[FILE].toml["ask"]
    needed: dict[str, float] = defaultdict(float)
    uses: dict[int, float] = defaultdict(float)
    for kind in asks().values():
        rows = kind.share * ROWS[kind.bucket]
        yield from _beside(sources[f"asks/{kind.name}.toml"], kind, rows)
        needed[kind.name] += rows
        for at, count in _uses_after(rules, kind, rows):
            uses[at] += count
    for at, count in uses.items():
        if of := rules[at].get("of"):
            needed[of] += count
        elif count > (most := USED * _distinct(rules[at]["parts"])):
            yield _too_few(source, rules[at]["says"][0], count, most, "write more sentences in its `parts`")
    for name in asks().keys() & {rule.get("of") for rule in rules}:
        if needed[name] > (most := DRAWN * most_rows(name)):
            yield _too_few(source, name, needed[name], most, f"add pairs to asks/{name}.toml, or another rule")


def _beside(source: Source, kind: Ask, rows: float) -> Iterator[Finding]:
    turns = sum(len(pair.asks) for pair in kind.pairs)
    for pair in kind.pairs:
        count = rows * len(pair.asks) / turns
        if pair.then and count > (most := USED * _distinct(pair.then.parts)):
            yield _too_few(source, pair.then.says[0], count, most, "write more sentences in its `parts`")


def check_accepted(sources: Sources) -> Iterator[Finding]:
    """Pairs with few answers, of which the gates would reject so many that a dataset may run out of them."""
    for kind in asks().values():
        source = sources[f"asks/{kind.name}.toml"]
        for pair in (pair for pair in kind.pairs if pair.is_plain and pair.distinct <= FEW):
            reasons = list(filter(None, (_fault(kind, pair, number) for number in range(pair.distinct))))
            if pair.distinct - len(reasons) < USED * pair.distinct:
                reason = f"the quality gates would reject {len(reasons)} of its {pair.distinct} answers: {reasons[0]}"
                yield source.error(source.line_of(pair.asks[0]), pair.asks[0], reason)


def _fault(kind: Ask, pair: Pair, number: int) -> str:
    """Why an answer of a pair would be rejected, with the answer; "" if it would not."""
    answer, bucket = gates.Answer.of(pair.answer(number)), kind.bucket
    found = gates.faults(answer, prompt=pair.asks[0], topic=kind.name, kind=bucket, ask=kind.name)
    return next((f"'{answer.text}': {one.reason}" for one in found), "")


def _distinct(parts: Sequence[Sequence[str]]) -> int:
    return Pair((), tuple(map(tuple, parts))).distinct


def _uses_after(rules: Rules, kind: Ask, rows: float) -> Iterator[tuple[int, float]]:
    """How often rules are used in the chats that begin with an ask: (index of the rule, expected number)."""
    beside = sum(len(pair.asks) for pair in kind.pairs if pair.then) / sum(len(pair.asks) for pair in kind.pairs)
    yield from _uses(rules, kind.name, rows * beside, FOLLOW_UPS - 1, frozenset())
    yield from _uses(rules, kind.name, rows * (1 - beside), FOLLOW_UPS, frozenset())


def _uses(rules: Rules, last: str, rows: float, left: int, used: frozenset[int]) -> Iterator[tuple[int, float]]:
    after = [at for at, rule in enumerate(rules) if last in rule["after"]]
    after = [at for at in after if at not in used] or after
    for at in after if left and rows else ():
        yield at, rows / len(after)
        answered_here = frozenset() if "of" in rules[at] else {at}
        yield from _uses(rules, rules[at].get("of", last), rows / len(after), left - 1, used | answered_here)


def _too_few(source: Source, text: str, count: float, most: float, cure: str) -> Finding:
    reason = (
        f"about {count:.0f} follow-ups of a dataset with --turns 4 need an answer, and there are {most:.0f}: {cure}"
    )
    return source.error(source.line_of(text), text, reason)
