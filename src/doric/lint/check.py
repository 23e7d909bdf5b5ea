"""All checks of the language data in their order. A check runs only if the files that it needs have no error."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from doric.lint import (
    asks,
    enough,
    exemplars,
    followups,
    minimal_pairs,
    placeholders,
    prompts,
    refusals,
    sentences,
    settings,
    spelling,
    topics,
    words,
)
from doric.lint.files import read_files
from doric.lint.source import Finding
from doric.lint.words import Sources

SCORING = ("lexicon.tsv", "central.tsv", "leakage.tsv", "collisions.toml", ".txt")
"""The files that a score of a text depends on (names, or the end of names)."""
SPELLING = (*SCORING, "spelling.toml")
RENDERING = (*SCORING, "renderings.tsv")
PROTECTED = (*RENDERING, "heldout.jsonl", "gates.toml")
PHRASES = "phrases/"
ASKS = "asks/"
PROSE = (exemplars.FILE, "prompts.toml", "followups.toml", "renderings.tsv", PHRASES, ASKS)


@dataclass(frozen=True, slots=True)
class Rule:
    """A check of the files that can be used. It runs only if none of the files in `needs` is broken.

    `needs` are names, beginnings of names (folders) or ends of names.
    """

    check: Callable[[Sources], Iterator[Finding]]
    needs: tuple[str, ...]


RULES = (
    Rule(placeholders.check_placeholders, ()),
    Rule(words.check_lexicon, ("lexicon.tsv",)),
    Rule(words.check_faults, ("lexicon.tsv", "central.tsv", "leakage.tsv")),
    Rule(words.check_house_forms, ("lexicon.tsv", "central.tsv", "leakage.tsv", "renderings.tsv")),
    Rule(words.check_renderings, (*RENDERING,)),
    Rule(words.check_word_lists, SCORING),
    Rule(words.check_collisions, ("lexicon.tsv", "collisions.toml")),
    Rule(spelling.check_spelling, (*SPELLING,)),
    Rule(spelling.check_house_spelling, (*SPELLING, *PROSE)),
    Rule(words.check_instructions, ("lexicon.tsv", "instructions.toml", "judge.toml", "sense.toml")),
    Rule(settings.check_openers, (*SCORING, "gates.toml", "topic_rules.toml")),
    Rule(settings.check_thresholds, ("gates.toml", "topic_rules.toml")),
    Rule(sentences.check_sentences, PROTECTED),
    Rule(sentences.check_gates, (*SCORING, "gates.toml")),
    Rule(sentences.check_themes, PROTECTED),
    Rule(refusals.check_refusals, (*PROTECTED, "refusals.toml", "prompts.toml")),
    Rule(prompts.check_prompts, (*PROTECTED, "prompts.toml")),
    Rule(prompts.check_typed, ("prompts.toml",)),
    Rule(asks.check_asks, (*PROTECTED, ASKS)),
    Rule(asks.check_answers, (*PROTECTED, ASKS)),
    Rule(asks.check_tables, (*PROTECTED, ASKS)),
    Rule(asks.check_enough, ("lexicon.tsv", "leakage.tsv", "insults.txt", ASKS)),
    Rule(followups.check_followups, (*PROTECTED, "followups.toml", "prompts.toml", "refusals.toml", ASKS)),
    Rule(enough.check_follow_ups, ("lexicon.tsv", "leakage.tsv", "insults.txt", "followups.toml", ASKS)),
    Rule(enough.check_accepted, (*PROTECTED, ASKS)),
    Rule(exemplars.check_exemplars, (*PROTECTED, exemplars.FILE)),
    Rule(minimal_pairs.check_minimal_pairs, (*SPELLING, *PROSE, "heldout.jsonl", minimal_pairs.FILE)),
    Rule(prompts.check_titles, (*PROTECTED, PHRASES, "multilingual/")),
    Rule(prompts.check_held_out, (*PROTECTED, PHRASES)),
)


def check(topic_lists: Sequence[Path] = ()) -> list[Finding]:
    """Every problem of the language data, and of the lists of topics that the data must cover. Errors come first."""
    sources, found = read_files()
    broken = {finding.file for finding in found}
    for rule in RULES:
        if not any(_is_one_of(name, rule.needs) for name in broken):
            found += _findings(rule.check, sources, broken)
    if not any(_is_one_of(name, (*PROTECTED, PHRASES, "prompts.toml", "topic_rules.toml")) for name in broken):
        found += _findings(lambda files: topics.check_topic_lists(topic_lists, files), sources, broken)
    return sorted(dict.fromkeys(found), key=lambda finding: (not finding.is_error, finding.file, finding.line))


def _findings(
    check: Callable[[Sources], Iterator[Finding]], sources: Sources, broken: Collection[str]
) -> list[Finding]:
    """What a check finds. If a file is broken, a check that fails because of it finds nothing: the file is listed."""
    try:
        return list(check(sources))
    except Exception:
        if not broken:
            raise
        return []


def _is_one_of(name: str, needs: tuple[str, ...]) -> bool:
    return any(name == need or name.startswith(need) or name.endswith(need) for need in needs)
