"""The rules of the user prompts: prompts.toml, heldout.jsonl, and the titles in multilingual/."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator

from doric.core import text as texts
from doric.dataset.prompts import LENGTHS, MOST_SCOTS, SHAPES, fits
from doric.dialect.render import render
from doric.dialect.scores import SCOTS, score
from doric.lint.form import STRAIGHT, TITLE_LANGUAGES, foreign_letter
from doric.lint.slots import slots
from doric.lint.source import Finding, Source
from doric.lint.words import Sources
from doric.quality.decontamination import content_stems, find_match

EXAMPLES = {
    "gerund": "mending a slow puncture",
    "clause": "why bread goes stale",
    "how-to": "how to bleed a radiator",
    "when": "when a child cries at the door",
    "noun": "cheap suppers for two",
}
"""Shape of a topic -> an example, with which frames are filled."""
SLOTS = ("topic", "Topic", "doric", "Doric")
TOPIC_SLOTS = {"english": SLOTS[:2], "doric": SLOTS[2:]}
"""The voice of a frame -> its slots, in lower case and with a capital. A mixed one may have any."""
LEAST_FRAMES = {"core": 60, "adv": 40}
"""Table of prompts.toml -> the frames that topics of each shape have at least."""
LEAST_FOR_WHEN = 40
"""Fewer frames fit a clause with "when": it must not become a question about the time."""
LEAST_REQUESTS, LEAST_CATEGORIES, LEAST_TRANSLATED = 40, 10, 4
DORIC_FRAMES = (0.20, 0.30)
"""The least and the greatest share of core frames that are in Doric."""
MOST_SAME_OPENING = 0.2
"""At most this share of the core frames begins with the same two words."""
SCRIPTS = {"el": "GREEK", "ar": "ARABIC", "hi": "DEVANAGARI", "zh": "CJK"}
"""Language -> the script of its titles; the others are Latin."""
LEAST_HELD_OUT = {"core": 96, "adv": 40, "safety": 40, "multi": 42, "drift": 8}
"""Bucket -> the evaluation prompts that it has at least."""
LEAST_BENIGN = 40
DRIFT_TURNS = (4, 6)


# ---- prompts.toml


def check_prompts(sources: Sources) -> Iterator[Finding]:
    """Frames that are incomplete, duplicates, in the wrong language, or evaluation prompts."""
    source = sources["prompts.toml"]
    spec = source.toml
    for table in ("core", "adv"):
        for frame in spec[table]:
            yield from _frame(source, frame, table)
        yield from _repeated(source, [frame["text"] for frame in spec[table]])
    for lines, known in ((spec["tails"], ()), ([one["text"] for one in spec["safety"]], spec["slots"])):
        yield from _repeated(source, lines)
        for line in lines:
            yield from _whole(source, line, known)
    for request in spec["safety"]:
        text = re.sub(r"\{(\w+)\}", lambda slot: spec["slots"].get(slot[1], [""])[0], request["text"])
        if request.get("lang") == "sco":
            yield from _voice(source, request["text"], text, doric=True)
        yield from _held_out(source, request["text"], text)
    yield from _translated(source)
    yield from _enough(source)


def _frame(source: Source, frame: dict, table: str) -> Iterator[Finding]:
    text = frame["text"]
    yield from _whole(source, text, SLOTS)
    yield from _topic(source, text, "english" if table == "adv" else frame.get("voice", "english"))
    for shape in frame["shapes"]:
        filled = _filled(text, EXAMPLES[shape])
        yield from _held_out(source, text, filled)
    if table == "core":
        yield from _voice(source, text, filled, doric=frame.get("voice", "english") != "english")


def _topic(source: Source, text: str, voice: str) -> Iterator[Finding]:
    """The topic in another language than that of the frame, twice or not at all."""
    line, found = source.line_of(text), [slot for slot in re.findall(r"\{(\w+)\}", text) if slot in SLOTS]
    wrong = next((slot for slot in found if voice in TOPIC_SLOTS and slot not in TOPIC_SLOTS[voice]), "")
    if wrong:
        instead = TOPIC_SLOTS[voice][wrong[0].isupper()]
        which = "English" if voice == "doric" else "Doric"
        yield source.error(line, text, f"{{{wrong}}} is the topic in {which}: write {{{instead}}} in this frame")
    if not found:
        yield source.error(line, text, "it does not name the topic: write {topic} where the topic goes")
    elif len(found) > 1:
        yield source.error(line, text, f"it names the topic {len(found)} times: write {{{found[0]}}} exactly once")


def _filled(text: str, topic: str) -> str:
    doric = render(topic)
    values = {"topic": topic, "Topic": topic.capitalize(), "doric": doric, "Doric": doric.capitalize()}
    return re.sub(r"\{(\w+)\}", lambda slot: values.get(slot[1], ""), text)


def _whole(source: Source, text: str, known: Iterable[str]) -> Iterator[Finding]:
    line = source.line_of(text)
    yield from slots(source, line, text, set(known))
    yield from whole_prompt(source, line, text)


def whole_prompt(source: Source, line: int, text: str, *, ends: bool = True) -> Iterator[Finding]:
    """What is wrong with the form of a user turn: spaces, characters, and its end if it must have a mark there."""
    if " ".join(text.split()) != text:
        yield source.error(line, text, "write one space between words, and none at the start or end")
    elif ends and unicodedata.category(text[-1])[0] not in "PS":
        yield source.error(line, text, "it does not end with a sentence mark such as . or ?")
    if curly := next((char for char in text if char in STRAIGHT), ""):
        yield source.error(line, text, f"curly quotation mark {curly}: write the straight one {STRAIGHT[curly]}")
    if problem := next(filter(None, map(foreign_letter, text)), ""):
        yield source.error(line, text, problem)


def _voice(source: Source, text: str, filled: str, *, doric: bool) -> Iterator[Finding]:
    scores = score(filled)
    if doric and not scores.tokens_of(*SCOTS):
        yield source.error(
            source.line_of(text), text, "marked as Doric, but no word is Scots: change the text or the mark"
        )
    if doric and (central := scores.tokens_of("central", "central_weak")):
        yield source.error(source.line_of(text), text, f"Central Scots: {', '.join(central)}")
    if not doric and scores.substrate > MOST_SCOTS:
        yield source.error(
            source.line_of(text), text, "marked as English, but it has Scots words: change the text or the mark"
        )


def _held_out(source: Source, text: str, filled: str) -> Iterator[Finding]:
    if held := find_match(filled):
        yield source.error(source.line_of(text), text, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


def _repeated(source: Source, lines: Iterable[str]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for line in lines:
        if texts.fold(line) in seen:
            first, here = source.line_of(seen[texts.fold(line)]), source.line_of(line, 1)
            yield source.error(here, line, f"duplicate of line {first}: change or delete one of them")
        seen.setdefault(texts.fold(line), line)


def check_typed(sources: Sources) -> Iterator[Finding]:
    """Slips that are in upper case or no slips."""
    source = sources["prompts.toml"]
    for right, slip in source.toml["typed"]["slips"].items():
        line = source.key_line(right, source.key_line("slips"))
        if right != right.lower() or slip != slip.lower():
            yield source.error(line, right, "write it in lower case: careless prompts have no capital letters")
        elif right == slip:
            yield source.error(line, right, "the slip is the right spelling: change it or delete the line")


def _translated(source: Source) -> Iterator[Finding]:
    multi = source.toml["multi"]
    for lang in TITLE_LANGUAGES:
        if lang not in multi:
            yield source.error(0, lang, f"there are no prompts in this language: add the table [multi.{lang}]")
    for lang, table in multi.items():
        every = [(raw, SHAPES) if isinstance(raw, str) else (raw["text"], raw["shapes"]) for raw in table["frames"]]
        frames = [text for text, _ in every]
        if lang not in TITLE_LANGUAGES:
            yield source.error(
                source.key_line(lang), lang, f"unknown language: write one of {', '.join(TITLE_LANGUAGES)}"
            )
        yield from _repeated(source, frames)
        for shape in SHAPES:
            if (count := sum(fits(fitting, shape) for _, fitting in every)) < LEAST_TRANSLATED:
                reason = f"{count} frames for topics of the shape {shape}: at least {LEAST_TRANSLATED} are needed"
                yield source.error(source.key_line(lang), lang, reason)
        for frame in frames:
            yield from slots(source, source.line_of(frame), frame, {"topic"})
            if frame.count("{topic}") != 1:
                yield source.error(source.line_of(frame), frame, "write {topic} exactly once, where the topic goes")
            yield from _held_out(source, frame, frame.replace("{topic}", "hens"))


def _enough(source: Source) -> Iterator[Finding]:
    """The rules about the whole file: enough frames for each shape of topic, and variety."""
    spec = source.toml
    for table, least in LEAST_FRAMES.items():
        for shape in SHAPES:
            needed = LEAST_FOR_WHEN if shape == "when" else least
            if (count := sum(fits(frame["shapes"], shape) for frame in spec[table])) < needed:
                yield source.error(
                    0, table, f"{count} frames for topics of the shape {shape}: at least {needed} are needed"
                )
    for shape in EXAMPLES:
        yield from _variety(source, shape)
    if len(spec["safety"]) < LEAST_REQUESTS:
        yield source.error(0, "safety", f"{len(spec['safety'])} harmful requests: at least {LEAST_REQUESTS} are needed")
    if len({one["category"] for one in spec["safety"]}) < LEAST_CATEGORIES:
        yield source.error(0, "safety", f"too few categories: at least {LEAST_CATEGORIES} are needed")


def _variety(source: Source, shape: str) -> Iterator[Finding]:
    frames = [frame for frame in source.toml["core"] if fits(frame["shapes"], shape)]
    doric = sum(frame.get("voice", "english") != "english" for frame in frames) / max(1, len(frames))
    if not DORIC_FRAMES[0] <= doric <= DORIC_FRAMES[1]:
        reason = f"{doric:.0%} of the core frames for the shape {shape} are in Doric: it must be 20 to 30%"
        yield source.error(0, "core", reason)
    openings = Counter(" ".join(texts.words(_filled(frame["text"], EXAMPLES[shape]))[:2]) for frame in frames)
    opening, count = max(openings.items(), key=lambda item: item[1], default=("", 0))
    if count > MOST_SAME_OPENING * len(frames):
        yield source.error(
            0, "core", f"{count} of {len(frames)} frames begin with '{opening}': begin some in another way"
        )
    for length in LENGTHS:
        if frames and all(frame.get("length", "medium") != length for frame in frames):
            yield source.error(0, "core", f"no frame for the shape {shape} has the length {length}")


# ---- multilingual/


def check_titles(sources: Sources) -> Iterator[Finding]:
    """Titles in multilingual/: one for each topic and language, each different, in the script of the language."""
    topics = {}
    for name, source in sources.items():
        if name.startswith("phrases/"):
            for topic in (topic["topic"] for theme in source.toml["themes"] for topic in theme["topics"]):
                topics[texts.fold(topic)] = (source, topic)
    titled: dict[str, str] = {}
    seen: dict[tuple[str, str], str] = {}
    for source in (source for name, source in sources.items() if name.startswith("multilingual/")):
        for row in source.rows:
            topic, place = texts.fold(row.cells["topic"]), f"{source.name}:{row.line}"
            if (first := titled.setdefault(topic, place)) != place:
                yield source.error(row.line, row.cells["topic"], f"duplicate of {first}: delete one of them")
            elif topic not in topics:
                reason = "no topic in phrases/ has this name: write it exactly as there, or delete the line"
                yield source.error(row.line, row.cells["topic"], reason)
            for lang in TITLE_LANGUAGES:
                yield from _title(source, row.line, lang, row.cells[lang], topic, seen)
    for topic, (source, text) in topics.items():
        if topic not in titled:
            file = source.name.replace("phrases", "multilingual").replace(".toml", ".tsv")
            reason = f"{file} has no line for it: add one, with its title in {len(TITLE_LANGUAGES)} languages"
            yield source.error(source.line_of(text), text, reason)


def _title(
    source: Source, line: int, lang: str, title: str, topic: str, seen: dict[tuple[str, str], str]
) -> Iterator[Finding]:
    if texts.fold(title) == topic:
        yield source.error(line, title, f"the title in the column {lang} is the English one: translate it")
    script, letters = SCRIPTS.get(lang, "LATIN"), [char for char in title if char.isalpha()]
    if sum(_name(char).startswith(script) for char in letters) < max(1, len(letters) / 2):
        yield source.error(
            line, title, f"the title in the column {lang} is not in {script.title()} letters: check the column"
        )
    place = f"{source.name}:{line}"
    if (first := seen.setdefault((lang, texts.fold(title)), place)) != place:
        yield source.error(line, title, f"the title in the column {lang} is also in {first}: change one of them")
    yield from slots(source, line, title, set())
    if held := find_match(title):
        yield source.error(line, title, f"it repeats the evaluation prompt {held.id} of heldout.jsonl")


@functools.cache
def _name(char: str) -> str:
    return unicodedata.name(char, "")


# ---- heldout.jsonl


def check_held_out(sources: Sources) -> Iterator[Finding]:
    """Evaluation prompts: each once, enough of each kind, and each recognised in a text that repeats it."""
    source = sources["heldout.jsonl"]
    groups = {file.toml["group"] for name, file in sources.items() if name.startswith("phrases/")}
    prompts: dict[str, int] = {}
    for row in source.rows:
        held = row.cells
        if (first := prompts.setdefault(texts.fold(held["prompt"]), row.line)) != row.line:
            yield source.error(row.line, held["prompt"], f"duplicate prompt, first used on line {first}: change one")
        yield from _held_out_row(source, row.line, held)
    yield from _kinds(source, groups)


def _held_out_row(source: Source, line: int, held: dict) -> Iterator[Finding]:
    turns = len(held.get("turns", ()))
    if held["bucket"] == "drift" and not DRIFT_TURNS[0] <= turns <= DRIFT_TURNS[1]:
        yield source.error(
            line, held["prompt"], f"{turns} later turns: a drift prompt has {DRIFT_TURNS[0]} to {DRIFT_TURNS[1]}"
        )
    if held["bucket"] != "drift" and turns:
        yield source.error(line, held["prompt"], "only a prompt of the bucket drift may have later turns")
    if held["lang"] in TITLE_LANGUAGES and not held.get("about"):
        yield source.error(line, held["prompt"], "'about' is missing: add the prompt in English")
    if held["lang"] not in (*TITLE_LANGUAGES, "en", "sco"):
        yield source.error(line, held["prompt"], f"unknown language '{held['lang']}'")
    english = held.get("about") or held["prompt"]
    found = find_match(held["prompt"])
    if found is None or (found.id != held["id"] and len(content_stems(held["prompt"])) >= 2):
        other = f"a text that repeats it matches {found.id} instead" if found else "too few words say what it is about"
        yield source.error(line, held["prompt"], f"{other}: write a prompt with more of its own words")
    elif not find_match(english) and len(content_stems(english)) >= 2:
        yield source.error(line, english, "its English is not recognised in a text that repeats it: use other words")
    elif not find_match(render(english)) and len(content_stems(english)) >= 3:
        yield source.error(line, english, "its Doric is not recognised in a text that repeats it: use other words")


def _kinds(source: Source, groups: set[str]) -> Iterator[Finding]:
    rows = [row.cells for row in source.rows]
    buckets = Counter(row["bucket"] for row in rows if not row.get("benign"))
    for bucket, least in LEAST_HELD_OUT.items():
        if buckets[bucket] < least:
            yield source.error(0, bucket, f"{buckets[bucket]} prompts of this bucket: at least {least} are needed")
    if (benign := sum(bool(row.get("benign")) for row in rows)) < LEAST_BENIGN:
        yield source.error(
            0, "benign", f"{benign} harmless requests that look harmful: at least {LEAST_BENIGN} are needed"
        )
    core = Counter((row["group"], row["lang"]) for row in rows if row["bucket"] == "core")
    for group in sorted(groups):
        for lang, least in (("en", 4), ("sco", 2)):
            if core[group, lang] < least:
                reason = f"{core[group, lang]} core prompts of this group with lang {lang}: at least {least} are needed"
                yield source.error(0, group, reason)
    multi = Counter(row["lang"] for row in rows if row["bucket"] == "multi")
    for lang in TITLE_LANGUAGES:
        if multi[lang] < 3:
            yield source.error(0, lang, f"{multi[lang]} multi prompts in this language: at least 3 are needed")
