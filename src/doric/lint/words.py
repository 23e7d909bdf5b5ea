"""The rules of the word tables: lexicon.tsv, central.tsv, leakage.tsv, renderings.tsv, collisions.toml, word lists."""

import re
from collections.abc import Iterator, Mapping

from doric.core import text as texts
from doric.dialect.contexts import rules
from doric.dialect.lexicon import CLITIC, SCOTS, word_class
from doric.lint.source import Finding, Row, Source
from doric.lint.values import named_sets

type Sources = Mapping[str, Source]
ENGLISH = re.compile("[a-z]+(?:[' -][a-z]+)*")
"""English that can be found in a text."""
SPELLINGS = ("variants", "wider", "synonyms")
PARTS_OF_SPEECH = ("n", "v", "adj", "adv", "prep", "conj", "pron", "det", "num", "intj", "phr")


def check_lexicon(sources: Sources) -> Iterator[Finding]:
    """Parts of speech and spellings of lexicon.tsv. Each spelling must belong to one entry only."""
    source, seen = sources["lexicon.tsv"], {}
    for row in source.rows:
        doric, kind = row.cells["doric"], row.cells["class"]
        if (part := row.cells["pos"]) not in PARTS_OF_SPEECH:
            reason = f"the part of speech is '{part}': write one of {', '.join(PARTS_OF_SPEECH)}"
            yield source.error(row.line, doric, reason)
        yield from _headword(source, row)
        for form in (form for column in SPELLINGS for form in spellings(row, column)):
            if form != form.lower() or not (kind == "phrase" or _is_word(form)):
                reason = f"'{form}': write spellings in lower case, each one word, with ; between them"
                yield source.error(row.line, doric, reason)
        if kind == "phrase":
            yield from _repeated(source, row, f"phrase {doric.lower()}", doric, seen)
            continue
        for form in entry_forms(row):
            yield from _repeated(source, row, form, form, seen)


def _headword(source: Source, row: Row) -> Iterator[Finding]:
    """A main spelling that no text can have: several words or other characters, or a capital that only names have."""
    doric, kind = row.cells["doric"], row.cells["class"]
    if kind == "phrase":
        return
    if not _is_word(doric.lower()):
        if set(doric) & set(",;/("):
            reason = "write one spelling here, and the others in the column `variants`, with ; between them"
        elif doric.strip("'") != doric:
            reason = f"write it without the apostrophe at its start or end: {doric.strip("'")}"
        else:
            reason = "not one word, so it needs the class `phrase`"
        yield source.error(row.line, doric, reason)
    elif doric != doric.lower() and row.cells["english"] == row.cells["english"].lower():
        yield source.error(row.line, doric, f"only names have a capital letter: write {doric.lower()}")


def _is_word(form: str) -> bool:
    """Whether a form is one word of a text; words with a hyphen are, too, and so is a'."""
    return form == "a'" or all(texts.words(part) == [part] for part in form.split("-"))


def _repeated(source: Source, row: Row, key: str, form: str, seen: dict[str, int]) -> Iterator[Finding]:
    if (first := seen.setdefault(key, row.line)) != row.line:
        reason = f"duplicate of line {first}, which has the spelling '{form}' too: keep it in one of the two lines"
        yield source.error(row.line, row.cells["doric"], reason)


def spellings(row: Row, column: str) -> list[str]:
    """The spellings in one cell of lexicon.tsv."""
    return [form for part in row.cells[column].split(";") if (form := part.strip())]


def entry_forms(row: Row) -> list[str]:
    """The house form of a row of lexicon.tsv in lower case, and all its other spellings, without the synonyms."""
    return [row.cells["doric"].lower(), *spellings(row, "variants"), *spellings(row, "wider")]


def check_faults(sources: Sources) -> Iterator[Finding]:
    """central.tsv and leakage.tsv: strengths and weights, duplicates, and forms that lexicon.tsv accepts."""
    accepted = {
        form: row for row in sources["lexicon.tsv"].rows if row.cells["class"] not in ("phrase", "context")
        for form in entry_forms(row)
    }  # fmt: skip
    for name, column in (("central.tsv", "central"), ("leakage.tsv", "english")):
        source, seen = sources[name], {}
        for row in source.rows:
            form = row.cells[column]
            if texts.words(form) != [form]:
                yield source.error(row.line, form, "not one word in lower case, so no text can have it: correct it")
            if (first := seen.setdefault(form.lower(), row.line)) != row.line:
                yield source.error(row.line, form, f"duplicate of line {first}: delete one of them")
            if form in accepted:
                where = f"lexicon.tsv:{accepted[form].line}"
                yield source.error(row.line, form, f"accepted as Doric in {where}: delete it there or delete this line")


def house_of(sources: Sources) -> dict[str, tuple[str, int]]:
    """Accepted spelling -> (the house form to write, its line in lexicon.tsv)."""
    rows = sources["lexicon.tsv"].rows
    own = {row.cells["doric"].lower() for row in rows}
    return {
        form: (row.cells["doric"], row.line)
        for row in rows for form in entry_forms(row)[1:] if form not in own
    }  # fmt: skip


def check_house_forms(sources: Sources) -> Iterator[Finding]:
    """The forms that the tables tell to write. They must be house forms, and no Central Scots or English forms."""
    houses = house_of(sources)
    strong = {row.cells["central"] for row in sources["central.tsv"].rows if row.cells["strength"] == "strong"}
    for name in ("central.tsv", "leakage.tsv", "renderings.tsv"):
        source = sources[name]
        for row in source.rows:
            house, first = row.cells["house"], next(iter(row.cells.values()))
            for word in texts.words(house):
                if word in houses:
                    yield source.error(row.line, f"{first} → {house}", not_house(word, houses))
                elif word in strong:
                    yield source.error(row.line, f"{first} → {house}", f"'{word}' is Central Scots in central.tsv")


def not_house(word: str, houses: Mapping[str, tuple[str, int]]) -> str:
    """The reason that `word` is not the spelling to write."""
    house, line = houses[word]
    return f"'{word}' is not the main spelling (lexicon.tsv:{line}): write {house}"


def check_renderings(sources: Sources) -> Iterator[Finding]:
    """renderings.tsv: English in lower case and once, and Doric that is neither English nor Central Scots nor rude."""
    source, seen = sources["renderings.tsv"], {}
    rude = {word for _, word in sources["insults.txt"].words}
    for row in source.rows:
        english, house = row.cells["english"], row.cells["house"]
        if not ENGLISH.fullmatch(english):
            yield source.error(
                row.line, english, "write English words in lower case, with one space or hyphen between them"
            )
        if (first := seen.setdefault(english.lower(), row.line)) != row.line:
            yield source.error(row.line, english, f"duplicate of line {first}: delete one of them")
        for word in texts.words(house):
            if word in rude:
                yield source.error(row.line, f"{english} → {house}", f"'{word}' insults people (insults.txt)")
            elif word != english and word_class(word) in ("central", "central_weak", "leak"):
                yield source.error(row.line, f"{english} → {house}", f"'{word}' is Central Scots or English")


def check_word_lists(sources: Sources) -> Iterator[Finding]:
    """Lower-case words in the lists, and function words and insults that are known Scots words."""
    ruled = {form for rule in sources["collisions.toml"].toml["rule"] for form in rule["forms"]}
    for name, source in sources.items():
        for line, word in source.words if name.endswith(".txt") else ():
            if word != word.lower():
                yield source.error(line, word, f"write it in lower case: {word.lower()}")
            elif name in ("function_words.txt", "insults.txt") and word_class(word) not in SCOTS and word not in ruled:
                yield source.error(line, word, "not a Scots word of lexicon.tsv: correct its spelling or delete it")


def check_collisions(sources: Sources) -> Iterator[Finding]:
    """collisions.toml: names of sets, unused sets, forms without an entry, and context words without a rule."""
    source, lexicon = sources["collisions.toml"], sources["lexicon.tsv"]
    spec = source.toml
    ruled = {form for rule in spec["rule"] for form in rule["forms"]}
    listed = {form for row in lexicon.rows for form in (*entry_forms(row), *spellings(row, "synonyms"))}
    used = {name for rule in spec["rule"] for _, name in named_sets(rule)}
    for name in sorted(spec["sets"].keys() - used):
        yield source.error(source.key_line(name), name, "no rule uses this set: correct a name or delete the set")
    for form in sorted(ruled - listed - set(spec["unlisted"])):
        if CLITIC.sub("", form) not in listed:
            reason = "in no line of lexicon.tsv: correct its spelling, or add it to `unlisted`"
            yield source.error(source.line_of(form), form, reason)
    for key in ("once", "never"):
        for form in spec[key]:
            if form not in listed:
                reason = f"`{key}` has it, but no line of lexicon.tsv: correct its spelling or delete it"
                yield source.error(source.line_of(form), form, reason)
    for row in lexicon.rows:
        forms = {*entry_forms(row), *spellings(row, "synonyms")}
        if row.cells["class"] == "context" and not forms & ruled and row.cells["doric"].lower() not in spec["never"]:
            reason = (
                "class context without a rule in collisions.toml: add a rule, add it to `never`, or change the class"
            )
            yield lexicon.error(row.line, row.cells["doric"], reason)


def check_instructions(sources: Sources) -> Iterator[Finding]:
    """Words of the texts for models that are accepted spellings, but not the main spelling.

    The texts are English, so a word that is English too may be right there: it gets a warning.
    """
    variants = {
        form: (row.cells["doric"], row.line)
        for row in sources["lexicon.tsv"].rows for form in spellings(row, "variants")
    }  # fmt: skip
    english = {
        row.cells["doric"] for row in sources["lexicon.tsv"].rows if row.cells["class"] == "context"
    } | rules().keys()
    for name in ("instructions.toml", "judge.toml", "sense.toml"):
        source = sources[name]
        for at, line in enumerate(source.lines, 1):
            for word in dict.fromkeys(texts.words(re.sub(r"^\s*#.*", "", line))):
                if word in variants and (word in english or variants[word][0] in english):
                    yield source.warning(at, word, f"{not_house(word, variants)}, if it is the Doric word")
                elif word in variants:
                    yield source.error(at, word, not_house(word, variants))
