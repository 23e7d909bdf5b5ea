"""Exchanges a house form for another spelling: in the tables, in the rules about words, and in every authored line."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from doric.core import text as texts
from doric.core.errors import InputError
from doric.data import shown
from doric.dialect.contexts import class_in_context, rules
from doric.dialect.lexicon import CLITIC, SCOTS, word_class
from doric.dialect.spelling import ENDINGS, to_house, with_case, with_endings
from doric.lint import minimal_pairs
from doric.lint.edits import Draft
from doric.lint.source import Row
from doric.lint.spelling import doric_lines
from doric.lint.words import Sources, entry_forms, spellings

TABLES = ("central.tsv", "leakage.tsv", "renderings.tsv")
"""The tables that tell to write a house form, in their column `house`."""
TEXTS_FOR_MODELS = ("instructions.toml", "judge.toml", "sense.toml")


@dataclass(frozen=True, slots=True)
class Swap:
    """What a swap changes, and what a person may want to change too.

    `unclear` are the places of lines that have the word in another sense, or in one that cannot be told: they are not
    changed. `offered` are other listed words that have the same stem: (old, new). `notes` are warnings.
    """

    draft: Draft
    unclear: tuple[str, ...]
    offered: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def remarks(self) -> Iterator[str]:
        """What a person should know before the change is written."""
        yield from (f"Note: {note}" for note in self.notes)
        if self.unclear:
            yield f"Not changed, because the word may have another sense, or is read in parts: {_places(self.unclear)}"
        if self.offered:
            pairs = ", ".join(f"{old} to {new}" for old, new in self.offered)
            yield f"--forms also changes words of the same stem: {pairs}"


def swap(sources: Sources, old: str, new: str, *, forms: bool = False) -> Swap:
    """The changes that make `new` the house form instead of `old`. `forms` also swaps the words of the same stem.

    Raises `InputError` if they are not two words, or if `new` is English or another word in the tables.
    """
    old, new = old.strip(), new.strip()
    _check(sources, old, new)
    offered = tuple(_offered(sources, old, new))
    pairs = {old.lower(): new, **(dict(offered) if forms else {})}
    draft = Draft(sources)
    for one, other in pairs.items():
        _swap_entry(draft, one, other)
        _swap_rules(draft, one, other)
    _swap_tables(draft, pairs)
    unclear = [*_swap_instructions(draft, pairs), *_swap_lines(draft, pairs)]
    unclear += _change_pairs(draft, lambda text: _swapped(text, pairs, in_context=True))
    return Swap(draft, tuple(unclear), () if forms else offered, tuple(_notes(sources, pairs.values())))


def house_spelling(sources: Sources) -> Swap:
    """The changes that put every authored line in the house spelling. `unclear` are lines that need a person."""
    draft, left = Draft(sources), []
    for line in doric_lines(sources):
        house = line.in_house_spelling()
        if house.changes and not draft.replace_string(line.source.name, line.line, line.text, house.text):
            left.append(f"{shown(line.source.name)}:{line.line}")
    left += _change_pairs(draft, lambda text: to_house(text).text)
    return Swap(draft, tuple(left))


def _check(sources: Sources, old: str, new: str) -> None:
    for word in (old, new):
        if texts.words(word) != [word.lower()]:
            raise InputError(f"'{word}' is not one word", hint="Give two words: --swap gyaan gaan.")
    if old.lower() == new.lower():
        raise InputError("the two words are the same", hint="Give the word to replace, then the word to write.")
    for row in sources["leakage.tsv"].rows:
        if row.cells["english"] == new.lower():
            place = f"{shown('leakage.tsv')}:{row.line}"
            raise InputError(f"'{new}' is English, as {place} says", hint="Delete that line first if it is wrong.")
    for row in sources["lexicon.tsv"].rows:
        if new.lower() in entry_forms(row)[1:] and row.cells["doric"].lower() != old.lower():
            place = f"{shown('lexicon.tsv')}:{row.line}"
            reason = f"'{new}' is a spelling of '{row.cells['doric']}' there, so the swap would be undone"
            raise InputError(f"{place}: {reason}", hint=f"Swap {row.cells['doric']} and {new} first.")


def _offered(sources: Sources, old: str, new: str) -> Iterator[tuple[str, str]]:
    """The forms of `old` with an ending that are listed or written, and the same forms of `new`."""
    known = {form for row in sources["lexicon.tsv"].rows for form in entry_forms(row)}
    known |= {word for line in doric_lines(sources) for word in texts.words(line.text)}
    pairs = dict(pair for kind in ENDINGS for pair in with_endings(old.lower(), new.lower(), kind))
    pairs |= {old.lower() + ending: new.lower() + ending for ending in ("er", "est", "ed", "ie", "ies")}
    yield from ((form, other) for form, other in pairs.items() if form in known)


def _notes(sources: Sources, written: Iterable[str]) -> Iterator[str]:
    english = {word for _, word in sources["common_words.txt"].words}
    for word in written:
        if word.lower() in english and word_class(word.lower()) not in SCOTS:
            yield (
                f"'{word}' is English too, and would count as Scots in English texts: give it the class context in "
                "lexicon.tsv, with the old form under `wider`, and add it to `never` in collisions.toml."
            )


# ---- the tables


def _swap_entry(draft: Draft, old: str, new: str) -> None:
    """lexicon.tsv: the old form becomes an accepted spelling of the new one, in the line of either."""
    rows = draft.sources["lexicon.tsv"].rows
    own = next((row for row in rows if row.cells["doric"].lower() == old), None)
    other = next((row for row in rows if row.cells["doric"].lower() == new.lower()), None)
    if own and other:  # the new form has a line of its own: that line stays
        cells = _merged(other, own)
        _set_row(draft, "lexicon.tsv", other, cells)
        draft.set_line("lexicon.tsv", own.line, None)
    elif own:
        variants = [old, *(form for form in spellings(own, "variants") if form not in (old, new.lower()))]
        wider = [form for form in spellings(own, "wider") if form != new.lower()]
        cells = own.cells | {"doric": new, "variants": ";".join(variants), "wider": ";".join(wider)}
        _set_row(draft, "lexicon.tsv", own, cells)


def _merged(row: Row, other: Row) -> dict[str, str]:
    added = {column: spellings(other, column) for column in ("variants", "wider", "synonyms")}
    added["variants"].insert(0, other.cells["doric"].lower())
    house = row.cells["doric"].lower()
    return row.cells | {
        column: ";".join(dict.fromkeys(form for form in (*spellings(row, column), *forms) if form != house))
        for column, forms in added.items()
    }


def _set_row(draft: Draft, name: str, row: Row, cells: Mapping[str, str]) -> None:
    header = draft.sources[name].lines[0].split("\t")
    draft.set_line(name, row.line, "\t".join(cells.get(column.strip(), "") for column in header))


def _swap_tables(draft: Draft, pairs: Mapping[str, str]) -> None:
    """Phrases, and the column `house` of the other tables. A form that is now written is no Central Scots any more."""
    written = {new.lower() for new in pairs.values()}
    for row in draft.sources["lexicon.tsv"].rows:
        phrase = row.cells["doric"] if row.cells["class"] == "phrase" else ""
        if (house := _swapped(phrase, pairs)) != phrase:
            _set_row(draft, "lexicon.tsv", row, row.cells | {"doric": house})
    for name in TABLES:
        for row in draft.sources[name].rows:
            if name == "central.tsv" and row.cells["central"] in written:
                draft.set_line(name, row.line, None)
            elif (house := _swapped(row.cells["house"], pairs)) != row.cells["house"]:
                _set_row(draft, name, row, row.cells | {"house": house})


# ---- the rules about words


def _swap_rules(draft: Draft, old: str, new: str) -> None:
    """collisions.toml, function_words.txt, spelling.toml: rules about the old form are true of the new one too."""
    _beside(draft, "collisions.toml", old, new.lower(), quote='"')
    _beside(draft, "function_words.txt", old, new.lower(), quote="")
    source = draft.sources["spelling.toml"]
    for number in range(1, len(source.lines) + 1):
        line = draft.line("spelling.toml", number)
        changed = re.sub(rf'(= )"{re.escape(old)}"', rf'\1"{new}"', line, flags=re.IGNORECASE)
        if re.fullmatch(rf'"?{re.escape(new)}"? = "{re.escape(new)}"', changed):
            draft.set_line("spelling.toml", number, None)
        elif changed != line:
            draft.set_line("spelling.toml", number, changed)
    if new.lower() in source.toml["keep"]:
        number = source.line_with(f'"{new.lower()}"')
        line = draft.line("spelling.toml", number)
        draft.set_line("spelling.toml", number, re.sub(rf'"{re.escape(new.lower())}",? ?', "", line, count=1))


def _beside(draft: Draft, name: str, old: str, new: str, *, quote: str) -> None:
    """Add the new form wherever a list has the old one, which stays accepted."""
    word = re.compile(rf"(?<![\w'\"]){quote}{re.escape(old)}{quote}(?![\w'\"])")
    there = re.compile(rf"(?<![\w'\"]){quote}{re.escape(new)}{quote}(?![\w'\"])")
    separator = ", " if quote else " "
    for number, original in enumerate(draft.sources[name].lines, 1):
        line = draft.line(name, number)
        if not original.lstrip().startswith("#") and word.search(line) and not there.search(line):
            added = word.sub(lambda found: f"{found.group()}{separator}{quote}{new}{quote}", line)
            draft.set_line(name, number, added)


# ---- the lines


def _swap_lines(draft: Draft, pairs: Mapping[str, str]) -> Iterator[str]:
    """Change the authored lines. Yields the places of lines that have a word in another sense."""
    for line in doric_lines(draft.sources):
        text = _swapped(line.text, pairs, in_context=True)
        if text != line.text and not draft.replace_string(line.source.name, line.line, line.text, text):
            text = line.text
        if any(_listed(word, pairs) for word in texts.words(text)):
            yield f"{shown(line.source.name)}:{line.line}"


def _change_pairs(draft: Draft, change: Callable[[str], str]) -> Iterator[str]:
    """Change both sides of the minimal pairs. Yields the places of pairs that need a person."""
    source = draft.sources.get(minimal_pairs.FILE)
    for row in source.rows if source else ():
        if change(row.cells["right"]) == row.cells["right"]:
            continue
        if sides := minimal_pairs.changed(row, change):
            _set_row(draft, minimal_pairs.FILE, row, row.cells | dict(zip(("right", "wrong"), sides, strict=True)))
        else:
            yield f"{shown(minimal_pairs.FILE)}:{row.line}"


def _swap_instructions(draft: Draft, pairs: Mapping[str, str]) -> Iterator[str]:
    """Change the texts for models. They are English, so a word that is English too is left to a person."""
    for name in TEXTS_FOR_MODELS:
        for number, line in enumerate(draft.sources[name].lines, 1):
            if line.lstrip().startswith("#") or not any(_listed(word, pairs) for word in texts.words(line)):
                continue
            new = _swapped(line, {old: new for old, new in pairs.items() if _only_doric(old)})
            if new != line:
                draft.set_line(name, number, new)
            if any(_listed(word, pairs) for word in texts.words(new)):
                yield f"{shown(name)}:{number}"


def _only_doric(word: str) -> bool:
    return word_class(word) in SCOTS and word not in rules()


def _swapped(text: str, pairs: Mapping[str, str], *, in_context: bool = False) -> str:
    """`text` with the words of `pairs` exchanged, in the same case. `in_context`: only where they are Doric."""
    for token in reversed(list(texts.WORD.finditer(text))):
        word = _listed(token.group(), pairs)
        if text[: token.start()].endswith("{"):  # the name of a slot
            continue
        if word and (not in_context or _is_doric(text, token.start(), word)):
            end = token.start() + len(word)  # a clitic stays
            text = text[: token.start()] + with_case(text[token.start() : end], pairs[word]) + text[end:]
    return text


def _listed(word: str, pairs: Mapping[str, str]) -> str:
    """The word of `pairs` that `word` is, perhaps with a clitic, or ""."""
    forms = (word.lower(), CLITIC.sub("", word.lower()))
    return next((form for form in forms if form in pairs), "")


def _is_doric(text: str, start: int, word: str) -> bool:
    """Whether a word that may be English, or another Doric word, has its first Doric meaning here."""
    if word not in rules():
        return True
    at = 0
    for sentence in texts.sentences(text):
        at = text.index(sentence, at)
        tokens = list(texts.TOKEN.finditer(sentence))
        place = next((place for place, token in enumerate(tokens) if at + token.start() == start), None)
        if place is not None:
            lower = [token.group().lower() for token in tokens]
            lower[place] = word  # without its clitic
            return class_in_context(lower, [word_class(token) in SCOTS for token in lower], place) in SCOTS
        at += len(sentence)
    return False


def _places(found: Sequence[str], most: int = 10) -> str:
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
