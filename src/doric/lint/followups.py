"""The rules of followups.toml: slots, kinds of ask and languages, user turns, and answers in Doric."""

from collections.abc import Iterator

from doric.core import text as texts
from doric.dataset import prompts
from doric.dataset.asks import SLOT
from doric.dialect.scores import score
from doric.lint.asks import ask_files
from doric.lint.prompts import whole_prompt
from doric.lint.sentences import doric_findings
from doric.lint.slots import slots
from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality.decontamination import find_match

FILE = "followups.toml"


def doric_lines(source: Source) -> Iterator[str]:
    """The user turns in Doric and the answers."""
    for rule in (*source.toml["advice"], *source.toml["ask"]):
        yield from rule["doric"]
        yield from (text for part in rule.get("parts", ()) for text in part)


def check_followups(sources: Sources) -> Iterator[Finding]:
    """Slots that nothing fills, asks and languages without follow-ups, broken user turns, answers not in Doric."""
    source = sources[FILE]
    yield from _turns(source)
    yield from _asks(source, {one.name.removeprefix("asks/").removesuffix(".toml") for one in ask_files(sources)})
    for lang in sorted(set(prompts.languages()) ^ source.toml["multi"].keys()):
        yield source.error(source.key_line("multi"), lang, f"add [multi.{lang}], or delete it if prompts.toml lacks it")
    known = {category["name"] for category in sources["refusals.toml"].toml["category"]}
    for one in source.toml["safety"]:
        for name in set(one.get("categories", ())) - known:
            yield source.error(source.line_of(name), name, "no category of refusals.toml has this name")
    if all("categories" in one for one in source.toml["safety"]):
        yield source.error(source.key_line("safety"), "safety", "one [[safety]] without `categories` is for all others")
    for part in (part for rule in source.toml["ask"] for part in rule.get("parts", ())):
        for text in part:
            yield from doric_findings(source, source.line_of(text), text, score(texts.QUOTATION.sub("", text)))
            if not texts.ends_sentence(text):
                yield source.error(source.line_of(text), text, "it does not end with . or ! or ?")


def _turns(source: Source) -> Iterator[Finding]:
    spec = source.toml
    for rule in spec["advice"]:
        named = rule["answer"] == "named"
        yield from _texts(source, rule["says"], "english" if named else "")
        yield from _texts(source, rule["doric"], "doric" if named else "")
    yield from _texts(source, spec["adv"]["says"], "ask")
    for rule in spec["ask"]:
        for key in ("says", "doric"):
            yield from _texts(source, rule[key], "ask" if "of" in rule else "")
    for one in (*spec["safety"], *spec["multi"].values()):
        for key in one.keys() - {"categories"}:
            yield from _texts(source, one[key], "", ours=one in spec["safety"])
    for text in (text for rule in (*spec["advice"], *spec["ask"]) for text in rule["doric"]):
        if central := score(SLOT.sub("", text)).tokens_of("central", "central_weak"):
            yield source.error(source.line_of(text), text, f"Central Scots: {', '.join(central)}")


def _texts(source: Source, lines: list[str], slot: str, *, ours: bool = True) -> Iterator[Finding]:
    for text in lines:
        line = source.line_of(text)
        yield from slots(source, line, text, {slot} if slot else set())
        if slot and text.count(f"{{{slot}}}") != 1:
            yield source.error(line, text, f"write {{{slot}}} exactly once")
        if ours:
            yield from whole_prompt(source, line, text, ends=False)
        if held := find_match(SLOT.sub("", text)):
            yield source.error(line, text, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


def _asks(source: Source, names: set[str]) -> Iterator[Finding]:
    followed = {name for rule in source.toml["ask"] for name in rule["after"]}
    for name in sorted(names - followed):
        yield source.error(
            source.key_line("ask"), name, f"nothing follows it: add '{name}' to the list `after` of a rule"
        )
    for rule in source.toml["ask"]:
        line = source.line_of(rule["says"])
        for name in ({*rule["after"]} | ({rule["of"]} if "of" in rule else set())) - names:
            yield source.error(line, name, f"there is no ask '{name}' in asks/")
        if ("of" in rule) == bool(rule.get("parts")):
            yield source.error(line, rule["says"][0], "write either `of` or `parts`: one of them answers")
