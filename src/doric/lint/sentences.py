"""The rules of the authored Doric sentences: phrases/, general.toml, holds.toml, refusals.toml."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from doric.core import text as texts
from doric.dataset.phrases import PARTS
from doric.dialect.lexicon import house_forms, listed_stem
from doric.dialect.render import render
from doric.dialect.scores import Scores, score
from doric.lint.refusals import refusal_lines
from doric.lint.slots import slots
from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality import gates
from doric.quality.decontamination import find_match

LEAST_WORDS, MOST_WORDS = 8, 28
LEAST_WORDS_OF_A_TOPIC = 3
"""A sentence about a topic may be shorter than other sentences, because others about the topic stand beside it."""
MOST_SENTENCES_OF_A_TOPIC = 2
"""An entry about a topic may have a second sentence, for example a question with its answer."""
FEW_SCOTS = 0.15
"""A sentence with a smaller share of Scots words gets a warning."""
PLAIN_ENGLISH = 0.08
"""A sentence with a smaller share of Scots words is an error. The authored sentences have 0.1 or more."""
MOST_ENGLISH = 1
"""A sentence with more different English words than this is an error; one may be part of a quotation."""
MEASURABLE_WORDS = 10
"""A sentence about a topic with fewer words than this may have no Scots word except one at its beginning."""
NOT_IN_A_SENTENCE = re.compile(r"[;()\[\]*_#<>|]")
ENGLISH_IN_A_TOPIC = frozenset(
    {"of", "with", "to", "and", "how", "what", "where", "when", "your", "from", "about", "without"}
)
"""English words that `render` must replace in every topic."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """An authored sentence and its place.

    `slots` is the number of `{topic}` that it must have. `own` says whether it is about one topic of a theme.
    """

    source: Source
    line: int
    text: str
    slots: int = 0
    own: bool = False

    def error(self, reason: str) -> Finding:
        """An error in this sentence."""
        return self.source.error(self.line, self.text, reason)


def authored(sources: Sources) -> Iterator[Sentence]:
    """Every authored sentence."""
    for name, source in sources.items():
        seen: Counter[str] = Counter()
        for text, count, own in _texts(name, source):
            yield Sentence(source, source.line_of(text, seen[text]), text, count, own)
            seen[text] += 1


def _texts(name: str, source: Source) -> Iterator[tuple[str, int, bool]]:
    spec = source.toml
    if name.startswith("phrases/"):
        for theme in spec["themes"]:
            yield from ((text, 0, False) for part in PARTS for text in theme[part])
            lists = [topic.get(key, []) for topic in theme["topics"] for key in ("answers", "more")]
            yield from ((text, 0, True) for lines in lists for text in lines)
    elif name in ("general.toml", "holds.toml"):
        for key, lines in spec.items():
            yield from ((text, int(name == "general.toml" and key == "answers"), False) for text in lines)
    elif name == "refusals.toml":
        yield from ((text, 0, False) for text in refusal_lines(spec))


def check_sentences(sources: Sources) -> Iterator[Finding]:
    """Sentences that are incomplete, not one sentence, too short or long, duplicates, or not Doric."""
    seen: dict[str, Sentence] = {}
    for sentence in authored(sources):
        yield from _form(sentence)
        yield from slots(sentence.source, sentence.line, sentence.text, {"topic"} if sentence.slots else set())
        if sentence.text.count("{topic}") != sentence.slots and sentence.slots:
            yield sentence.error("write {topic} exactly once, where the topic goes")
        if (first := seen.setdefault(texts.fold(sentence.text), sentence)) is not sentence:
            yield sentence.error(f"duplicate of {first.source.name}:{first.line}: change or delete one of them")
        yield from _language(sentence)


def check_gates(sources: Sources) -> Iterator[Finding]:
    """Sentences with markup, about the language or about being a model, and advice that looks like a refusal."""
    every = list(authored(sources))
    for gate in (gates.markup, gates.meta_talk):
        for sentence in _found_by(lambda text, gate=gate: bool(gate(gates.Answer.unscored(text))), every):
            rejection = gate(gates.Answer.unscored(sentence.text))
            yield sentence.error(f"the quality gates would reject it: {rejection.reason if rejection else ''}")
    advice = [sentence for sentence in every if sentence.source.name != "refusals.toml"]
    for sentence in _found_by(lambda text: gates.is_refusal(text, len(advice), plainly=True), advice):
        yield sentence.error("the quality gates take it for a refusal: say it in another way")


def _found_by(test: Callable[[str], bool], some: Sequence[Sentence]) -> Iterator[Sentence]:
    """The sentences for which `test` is true. Tests many sentences at once, because most data has none."""
    if not some or not test("\n".join(sentence.text for sentence in some)):
        return
    if len(some) == 1:
        yield some[0]
        return
    for half in (some[: len(some) // 2], some[len(some) // 2 :]):
        yield from _found_by(test, half)


def _form(sentence: Sentence) -> Iterator[Finding]:
    text = sentence.text
    count = len(text.split())
    least, most_sentences = (LEAST_WORDS_OF_A_TOPIC, MOST_SENTENCES_OF_A_TOPIC) if sentence.own else (LEAST_WORDS, 1)
    if " ".join(text.split()) != text:
        yield sentence.error("write one space between words, and none at the start or end")
    elif not texts.ends_sentence(text):
        yield sentence.error("it does not end with . or ! or ?")
    elif len(texts.sentences(text)) > most_sentences:
        many = "one sentence" if most_sentences == 1 else f"at most {most_sentences} sentences"
        yield sentence.error(f"{len(texts.sentences(text))} sentences: write {many} in each line")
    elif text[0].isalpha() and not text[0].isupper():
        yield sentence.error("begin with a capital letter")
    elif found := NOT_IN_A_SENTENCE.search(text):
        yield sentence.error(f"it has the character {found.group()}: write it with a comma, or as two sentences")
    elif not least <= count <= MOST_WORDS:
        yield sentence.error(f"it has {count} words: write {least} to {MOST_WORDS}")


def _language(sentence: Sentence) -> Iterator[Finding]:
    text = sentence.text.replace("{topic}", "")
    answer = gates.Answer.of(text)
    scores = answer.scores
    yield from _doric(sentence, scores)
    if rejection := gates.banned_opener(answer):
        yield sentence.error(f"the quality gates would reject it: {rejection.reason}")
    if held := find_match(text):
        yield sentence.error(f"it repeats the evaluation prompt {held.id} of heldout.jsonl: write another sentence")


def _doric(sentence: Sentence, scores: Scores) -> Iterator[Finding]:
    measurable = not sentence.own or len(sentence.text.split()) >= MEASURABLE_WORDS
    yield from doric_findings(sentence.source, sentence.line, sentence.text, scores, measurable=measurable)


def doric_findings(
    source: Source, line: int, text: str, scores: Scores, *, measurable: bool | None = None
) -> Iterator[Finding]:
    """What is wrong with the Doric of a text: English or Central Scots.

    If it is not `measurable`, it may have few Scots words; the default depends on its length.
    """
    central, leaks = scores.tokens_of("central", "central_weak"), scores.tokens_of("leak")
    measurable = scores.tokens >= MEASURABLE_WORDS if measurable is None else measurable
    if (measurable and scores.substrate < PLAIN_ENGLISH) or len(leaks) > MOST_ENGLISH:
        words = f" ({with_house_forms(leaks)})" if leaks else ""
        yield source.error(line, text, f"English, not Doric: only {scores.substrate:.0%} of the words are Scots{words}")
    elif leaks:
        yield source.warning(line, text, f"English words: {with_house_forms(leaks)}")
    elif measurable and scores.substrate < FEW_SCOTS:
        yield source.warning(line, text, f"only {scores.substrate:.0%} of the words are Scots")
    if central:
        yield source.error(line, text, f"Central Scots: {with_house_forms(central)}")


def with_house_forms(words: Iterable[str]) -> str:
    """The words, each with the Doric to write instead if the tables have it."""
    houses = house_forms()

    def advised(word: str) -> str:
        if houses.get(word):
            return f"{word} (write {houses[word]})"
        if word not in houses and (stem := listed_stem(word)) in houses:
            instead = f", which is {houses[stem]}" if houses[stem] else ""
            return f"{word} (taken for a form of {stem}{instead}; if it is another word, add it to lexicon.tsv)"
        return word

    return ", ".join(map(advised, words))


# ---- topics and themes


def check_themes(sources: Sources) -> Iterator[Finding]:
    """Themes and topics of phrases/: keywords, names of topics in English and Doric, duplicates."""
    topics: dict[str, str] = {}
    groups: dict[str, str] = {}
    for name, source in sources.items():
        if not name.startswith("phrases/"):
            continue
        if (first := groups.setdefault(source.toml["group"], name)) != name:
            reason = f"the group '{source.toml['group']}' is in {first} already: write another name"
            yield source.error(source.key_line("group"), source.toml["group"], reason)
        for theme in source.toml["themes"]:
            for word in theme["keywords"]:
                if word != (wanted := word.lower().strip()):
                    yield source.error(source.line_of(word), word, f"write keywords in lower case: {wanted}")
            for topic in theme["topics"]:
                yield from _topic(source, topic, topics)
                yield from _beginnings(source, theme, topic)
            yield from _unused(source, theme)


def _topic(source: Source, topic: dict, seen: dict[str, str]) -> Iterator[Finding]:
    title, doric = topic["topic"], topic["doric"]
    line = source.line_of(title)
    if texts.fold(title) in seen:
        line = source.line_of(title, 1)
    place = f"{source.name}:{line}"
    if (first := seen.setdefault(texts.fold(title), place)) != place:
        yield source.error(line, title, f"duplicate of the topic in {first}: change or delete one of them")
    scores = score(doric)
    line = source.line_of(doric)
    if scores.contamination or scores.leakage:
        words = with_house_forms(scores.tokens_of("central", "central_weak", "leak"))
        yield source.error(line, doric, f"the Doric name of the topic is Central Scots or English: {words}")
    if left := ENGLISH_IN_A_TOPIC & set(render(title).split()):
        reason = f"renderings.tsv leaves English in this topic ({', '.join(sorted(left))}): add a row for these words"
        yield source.error(line, title, reason)
    for text in (title, doric):
        yield from slots(source, line, text, set())
        if held := find_match(text):
            yield source.error(line, text, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


def _beginnings(source: Source, theme: dict, topic: dict) -> Iterator[Finding]:
    """Entries of `unfit`, `mistakes` and `order` that do not begin exactly one sentence of the theme or the topic."""
    whose = f"the theme '{theme['name']}'"
    yield from _unknown(source, topic, "unfit", [line for part in PARTS for line in theme[part]], whose)
    for key in ("mistakes", "order"):
        yield from _unknown(source, topic, key, [*topic["answers"], *topic.get("more", ())], "the topic")


def _unknown(source: Source, topic: dict, key: str, lines: list[str], whose: str) -> Iterator[Finding]:
    for at, beginning in enumerate(topic.get(key, [])):
        count = sum(line.startswith(beginning) for line in lines)
        if count == 1:
            continue
        first = source.key_line(key, source.line_of(topic["topic"])) - 1
        line = source.line_of(beginning, topic[key][:at].count(beginning), after=first)
        if count:
            reason = f"{count} sentences of {whose} begin so: write more of the one that is meant"
        else:
            near = difflib.get_close_matches(beginning, [one[: len(beginning)] for one in lines], 1)
            instead = f": did you mean '{near[0]}'?" if near else ": copy its first words, or delete this entry"
            reason = f"no sentence of {whose} begins so{instead}"
        yield source.error(line, beginning, reason)


def _unused(source: Source, theme: dict) -> Iterator[Finding]:
    """Sentences of a theme that are unfit for every topic, so no answer has them."""
    unfit = [tuple(topic.get("unfit", ())) for topic in theme["topics"]]
    for line in (line for part in PARTS for line in theme[part]):
        if all(line.startswith(beginnings) for beginnings in unfit):
            reason = f"unfit for every topic of the theme '{theme['name']}', so no answer has it: delete it"
            yield source.warning(source.line_of(line), line, reason)
