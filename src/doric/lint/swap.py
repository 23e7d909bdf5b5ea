"""Exchanges a house form for another spelling: in the tables, in the rules about words, and in every authored line."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from doric.core import text as texts
from doric.core.errors import InputError
from doric.data import shown
from doric.dialect.lexicon import SCOTS, word_class
from doric.dialect.spelling import ENDINGS, inflected, to_house, with_case, with_endings
from doric.lint import exchange, minimal_pairs
from doric.lint.edits import Draft
from doric.lint.form import STRAIGHT
from doric.lint.source import Row
from doric.lint.spelling import Line, doric_lines, user_turns
from doric.lint.swap_rules import set_row, swap_entry, swap_rules, swap_tables
from doric.lint.words import Sources, entry_forms

MOST_DOUBTS = 40
"""So many lines that a person should look at are listed."""
PHRASES = {"lexicon.tsv": "doric", "renderings.tsv": "house"}
"""The tables that have fixed phrases, with their columns."""
TEXTS_FOR_MODELS = ("instructions.toml", "judge.toml", "sense.toml")


@dataclass(frozen=True, slots=True)
class Swap:
    """What a swap changes, and what a person may want to change too.

    `unclear` are the places of lines that have the word in another sense, or in one that cannot be told: they are not
    changed. `offered` are other listed words that have the same stem: (old, new). `notes` are warnings. `doubts` are
    changed lines that may be wrong now, each with the reason. `word` is the one to look for in the unclear places.
    """

    draft: Draft
    unclear: tuple[str, ...]
    offered: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    word: str = ""

    def remarks(self) -> Iterator[str]:
        """What a person should know before the change is written."""
        yield from (f"Note: {note}" for note in self.notes)
        if self.doubts:
            yield "Look at these changed lines. If one is wrong, correct it afterwards:"
            yield from (f"  {doubt}" for doubt in self.doubts[:MOST_DOUBTS])
            if len(self.doubts) > MOST_DOUBTS:
                yield f"  and {len(self.doubts) - MOST_DOUBTS} more of the lines above"
        if self.unclear:
            reason = "the word may have another sense there, or the line may be about the word"
            yield f"Not changed, because {reason}: {_places(self.unclear)}"
            if self.word:
                yield f"Afterwards, --where {self.word} lists all of them, with their text."
        if self.offered:
            pairs = ", ".join(f"{old} to {new}" for old, new in self.offered)
            yield f"--forms also changes words of the same stem: {pairs}"


def swap(sources: Sources, old: str, new: str, *, forms: bool = False) -> Swap:
    """The changes that make `new` the house form instead of `old`. `forms` also swaps the words of the same stem.

    Raises `InputError` if they are not two words, or if `new` is English or another word in the tables.
    """
    old, new = old.strip(), new.strip()
    _check(sources, old, new)
    main = next((row.cells["doric"] for row in sources["lexicon.tsv"].rows if _is_main(row, old)), "")
    new = with_case(main, new.lower()) if main else new
    pairs = {old.lower(): new} | _followers(sources, old, new)
    offered = tuple(pair for pair in _offered(sources, old, new) if pair[0] not in pairs)
    pairs |= dict(offered) if forms else {}
    draft = Draft(sources)
    for one, other in pairs.items():
        swap_entry(draft, one, other)
        swap_rules(draft, one, other)
    swap_tables(draft, pairs)
    doubts: list[str] = []
    unclear = [*_swap_instructions(draft, pairs), *_swap_lines(draft, pairs, doubts)]
    unclear += _change_pairs(draft, lambda text: exchange.swapped(text, pairs, in_context=True))
    notes = tuple(_notes(sources, pairs.values()))
    unclear = list(dict.fromkeys(unclear))
    return Swap(draft, tuple(unclear), () if forms else offered, notes, tuple(doubts), old.lower())


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
        _check_word(word)
    if old.lower() == new.lower():
        raise InputError("the two words are the same", hint="Give the word to replace, then the word to write.")
    for row in sources["leakage.tsv"].rows:
        if row.cells["english"] == new.lower():
            place = f"{shown('leakage.tsv')}:{row.line}"
            raise InputError(f"'{new}' is English, as {place} says", hint="Delete that line first if it is wrong.")
    grammar = sources["grammar.toml"]
    for name, forms in grammar.toml["other_dialects"].items():
        if isinstance(forms, list) and new.lower() in forms:
            place = f"{shown(grammar.name)}:{grammar.line_of(new.lower())}"
            hint = "Delete it there first, with its other forms, if it is good Doric."
            raise InputError(f"{place}: '{new}' counts as another dialect there: {name}", hint=hint)
    rows = sources["lexicon.tsv"].rows
    _check_entries(rows, old, new)
    for row in rows:
        if new.lower() in entry_forms(row)[1:] and row.cells["doric"].lower() != old.lower():
            place = f"{shown('lexicon.tsv')}:{row.line}"
            reason = f"'{new}' is a spelling of '{row.cells['doric']}' there, so the swap would be undone"
            raise InputError(f"{place}: {reason}", hint=f"Swap {row.cells['doric']} and {new} first.")


def _is_main(row: Row, word: str) -> bool:
    return row.cells["doric"].lower() == word.lower()


def _check_word(word: str) -> None:
    """Raise `InputError` if a word cannot be swapped, with what to do instead."""
    if texts.words(word) == [word.lower()] and word.isprintable() and not set(word) & STRAIGHT.keys():
        return
    by_hand = f'Change it by hand: --where "{word}" lists the lines that have it.'
    if curly := next((char for char in word if char in STRAIGHT), ""):
        reason, hint = f"has a curly quotation mark ({curly})", f"Write the straight one: {STRAIGHT[curly]}"
    elif len(word.split()) != 1:
        reason, hint = "is not one word", f"Give two words: --swap gyaan gaan. {by_hand}"
    elif word.strip("'") != word:
        hint = f"Leave it out: --swap {word.strip("'")} …. The files have no word with one at its start or end."
        reason = "begins or ends with an apostrophe"
    else:
        reason, hint = "is not one word of letters", by_hand
    raise InputError(f"'{word}' {reason}", hint=hint)


def _check_entries(rows: Sequence[Row], old: str, new: str) -> None:
    """Raise `InputError` if `old` is no main spelling, or if `new` is the main spelling of another word."""
    own, other = (next((row for row in rows if _is_main(row, word)), None) for word in (old, new))
    if own is None and (row := next((row for row in rows if old.lower() in entry_forms(row)[1:]), None)):
        place, main = f"{shown('lexicon.tsv')}:{row.line}", row.cells["doric"]
        hint = f"Give the main one: --swap {main} {new}"
        raise InputError(f"{place}: '{old}' is not the main spelling, which is '{main}'", hint=hint)
    if own and other and not _meanings(own) & _meanings(other):
        place, english = f"{shown('lexicon.tsv')}:{other.line}", other.cells["english"]
        reason = f"{place}: '{new}' is another word there ({english}), and '{old}' is '{own.cells['english']}'"
        hint = "If they are one word, write the same meaning in both lines first. If not, change the sentences by hand."
        raise InputError(reason, hint=hint)


def _meanings(row: Row) -> set[str]:
    return {meaning.strip() for meaning in row.cells["english"].split(";")}


def _followers(sources: Sources, old: str, new: str) -> dict[str, str]:
    """The forms of `old` with an ending that the house spelling would write with `new`, so they follow it."""
    rows = sources["lexicon.tsv"].rows
    own, known = next((row for row in rows if _is_main(row, old)), None), _known_forms(sources)
    if own is None:
        return {}
    listed = {form for row in rows for form in entry_forms(row)}
    pairs = inflected(old.lower(), new.lower(), own.cells["pos"])
    return {form: other for form, other in pairs if form in known and form not in listed}


def _known_forms(sources: Sources) -> set[str]:
    """The forms that the lexicon has, or that are in a line."""
    known = {form for row in sources["lexicon.tsv"].rows for form in entry_forms(row)}
    return known | {word for line in doric_lines(sources) for word in texts.words(line.text)}


def _offered(sources: Sources, old: str, new: str) -> Iterator[tuple[str, str]]:
    """The forms of `old` with an ending that are listed or written, and the same forms of `new`."""
    known = _known_forms(sources)
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


# ---- the lines


def _swap_lines(draft: Draft, pairs: Mapping[str, str], doubts: list[str]) -> Iterator[str]:
    """Change the authored lines and the questions in Doric.

    Yields the places of lines that have a word in another sense. Adds to `doubts` what a person should look at.
    """
    phrases = list(_phrases(draft.sources, pairs))
    for line in doric_lines(draft.sources):
        text = line.changed(lambda text: exchange.swapped(text, pairs, in_context=True))
        text = _written(draft, line, text)
        if exchange.has_word(text, pairs):
            yield _place(line)
        if text != line.text and not line.sentence and (reason := exchange.doubt(line.text, text, pairs, phrases)):
            doubts.append(f"{_place(line)}: {text} ({reason})")
    for line in user_turns(draft.sources):
        if not exchange.has_word(line.text, pairs):
            continue
        text = exchange.swapped(line.text, pairs, in_context=True)
        about = exchange.doubt(line.text, text, pairs, ())
        if text != line.text and not about and exchange.reads_as_doric(line.text):
            text = _written(draft, line, text)
        else:  # English, or about the word
            text = line.text if text != line.text else ""
        if text and exchange.has_word(text, pairs):
            yield _place(line)


def _phrases(sources: Sources, pairs: Mapping[str, str]) -> Iterator[str]:
    """Fixed phrases of the tables with a word that gets another word instead; another spelling changes no phrase."""
    spelt = {form: row.line for row in sources["lexicon.tsv"].rows for form in entry_forms(row)}
    others = {old: new for old, new in pairs.items() if old not in spelt or spelt[old] != spelt.get(new.lower())}
    columns = [[row.cells[column] for row in sources[name].rows] for name, column in PHRASES.items()]
    yield from exchange.phrases_with(others, *columns)


def _written(draft: Draft, line: Line, text: str) -> str:
    """The text of a line after it is changed in the draft; the old one if its place is not found."""
    if text != line.text and draft.replace_string(line.source.name, line.line, line.text, text):
        return text
    return line.text


def _place(line: Line) -> str:
    return f"{shown(line.source.name)}:{line.line}"


def _change_pairs(draft: Draft, change: Callable[[str], str]) -> Iterator[str]:
    """Change both sides of the minimal pairs. Yields the places of pairs that need a person."""
    source = draft.sources.get(minimal_pairs.FILE)
    for row in source.rows if source else ():
        if change(row.cells["right"]) == row.cells["right"]:
            continue
        if sides := minimal_pairs.changed(row, change):
            set_row(draft, minimal_pairs.FILE, row, row.cells | dict(zip(("right", "wrong"), sides, strict=True)))
        else:
            yield f"{shown(minimal_pairs.FILE)}:{row.line}"


def _swap_instructions(draft: Draft, pairs: Mapping[str, str]) -> Iterator[str]:
    """Change the texts for models. They are English, so a word that is English too is left to a person."""
    for name in TEXTS_FOR_MODELS:
        for number, line in enumerate(draft.sources[name].lines, 1):
            if line.lstrip().startswith("#") or not exchange.has_word(line, pairs):
                continue
            new = exchange.exchanged_in_english(line, pairs)
            if new != line:
                draft.set_line(name, number, new)
            if exchange.has_word(new, pairs):
                yield f"{shown(name)}:{number}"


def _places(found: Sequence[str], most: int = 10) -> str:
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
