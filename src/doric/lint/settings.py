"""The rules of the gates and of topics: openers and thresholds."""

from collections.abc import Iterable, Iterator

from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality import gates


def check_openers(sources: Sources) -> Iterator[Finding]:
    """Stock openers in upper case, and stock openers that are never found."""
    source, rules = sources["gates.toml"], sources["topic_rules.toml"]
    openers = source.toml["openers"]
    yield from _lower(source, [*openers["clauses"], *openers["beginnings"]])
    yield from _lower(rules, rules.toml["openers"]["banned"])
    for opener in [*openers["clauses"], *openers["beginnings"]]:
        if opener == opener.lower() and not gates.banned_opener(gates.Answer.of(f"{opener}, an the lave o't.")):
            reason = "no answer can begin with this as it is written: begin with a letter and write straight quotes"
            yield source.error(source.line_of(opener), opener, reason)


def _lower(source: Source, openers: Iterable[str]) -> Iterator[Finding]:
    for opener in openers:
        if opener != opener.lower():
            yield source.error(source.line_of(opener), opener, f"write it in lower case: {opener.lower()}")


def check_thresholds(sources: Sources) -> Iterator[Finding]:
    """Thresholds of gates.toml without a comment, and limits in the wrong order."""
    source = sources["gates.toml"]
    limits, topic_limits = source.toml["thresholds"], sources["topic_rules.toml"].toml["limits"]
    for key in limits:
        line = source.key_line(key)
        if line and not source.lines[line - 1].partition("#")[2].strip():
            yield source.error(line, key, "each threshold has a comment: write the reason for the number after a #")
    for name, table in (("gates.toml", limits), ("topic_rules.toml", topic_limits)):
        if table["min_words"] > table["max_words"]:
            reason = "min_words is greater than max_words: every text would be rejected"
            yield sources[name].error(sources[name].key_line("min_words"), "min_words", reason)
