"""What a swap changes besides the lines: the entry of the word, the tables, the rules about words, the review."""

import re
from collections.abc import Mapping

from doric.lint.edits import Draft
from doric.lint.exchange import swapped
from doric.lint.source import TOML_STRING, Row
from doric.lint.words import spellings

TABLES = {"central.tsv": "house", "leakage.tsv": "house", "renderings.tsv": "house", "asks/numbers.tsv": "doric"}
"""The tables that tell to write a house form, with the column that has it."""
PATTERNS = ("gates.toml", "grammar.toml")
"""The files whose patterns and lists of words have Doric in them."""
NAMED = {"spelling.toml": "", "review/fakes.toml": "", "review/choices.toml": "house"}
"""The files with lines `old = "…"` or `… = "old"`, and the only key whose value is a house form, if there is one."""


def swap_entry(draft: Draft, old: str, new: str) -> None:
    """lexicon.tsv: the old form becomes an accepted spelling of the new one, in the line of either."""
    rows = draft.sources["lexicon.tsv"].rows
    own = next((row for row in rows if row.cells["doric"].lower() == old), None)
    other = next((row for row in rows if row.cells["doric"].lower() == new.lower()), None)
    if own and other:  # the new form has a line of its own: that line stays
        cells = _merged(other, own)
        set_row(draft, "lexicon.tsv", other, cells)
        draft.set_line("lexicon.tsv", own.line, None)
    elif own:
        variants = [old, *(form for form in spellings(own, "variants") if form not in (old, new.lower()))]
        wider = [form for form in spellings(own, "wider") if form != new.lower()]
        cells = own.cells | {"doric": new, "variants": ";".join(variants), "wider": ";".join(wider)}
        set_row(draft, "lexicon.tsv", own, cells)


def _merged(row: Row, other: Row) -> dict[str, str]:
    added = {column: spellings(other, column) for column in ("variants", "wider", "synonyms")}
    added["variants"].insert(0, other.cells["doric"].lower())
    house = row.cells["doric"].lower()
    return row.cells | {
        column: ";".join(dict.fromkeys(form for form in (*spellings(row, column), *forms) if form != house))
        for column, forms in added.items()
    }


def set_row(draft: Draft, name: str, row: Row, cells: Mapping[str, str]) -> None:
    """Write a row of a table."""
    header = draft.sources[name].lines[0].split("\t")
    draft.set_line(name, row.line, "\t".join(cells.get(column.strip(), "") for column in header))


def swap_tables(draft: Draft, pairs: Mapping[str, str]) -> None:
    """Phrases, and the house forms of the other tables. A form that is now written is no Central Scots any more."""
    written = {new.lower() for new in pairs.values()}
    for row in draft.sources["lexicon.tsv"].rows:
        phrase = row.cells["doric"] if row.cells["class"] == "phrase" else ""
        if (house := swapped(phrase, pairs)) != phrase:
            set_row(draft, "lexicon.tsv", row, row.cells | {"doric": house})
    for name, column in TABLES.items():
        for row in draft.sources[name].rows:
            if name == "central.tsv" and row.cells["central"] in written:
                draft.set_line(name, row.line, None)
            elif (house := swapped(row.cells[column], pairs)) != row.cells[column]:
                set_row(draft, name, row, row.cells | {column: house})


def swap_rules(draft: Draft, old: str, new: str) -> None:
    """The rules about the old form are true of the new one too: both are in the lists, and in the patterns of gates."""
    for name in ("collisions.toml", *PATTERNS):
        _beside(draft, name, old, new.lower(), quote='"')
    for name in PATTERNS:
        _in_patterns(draft, name, old, new.lower())
    _beside(draft, "function_words.txt", old, new.lower(), quote="")
    for name, key in NAMED.items():
        _named(draft, name, key, old, new)
    source = draft.sources["spelling.toml"]
    if new.lower() in source.toml["keep"]:
        number = source.line_with(f'"{new.lower()}"')
        line = draft.line("spelling.toml", number)
        draft.set_line("spelling.toml", number, re.sub(rf'"{re.escape(new.lower())}",? ?', "", line, count=1))


def _named(draft: Draft, name: str, key: str, old: str, new: str) -> None:
    """Lines of a table of words: the new form instead of the old one, as a key or a value."""
    for number in range(1, len(draft.sources[name].lines) + 1):
        line = draft.line(name, number)
        value = rf'({rf"^{key} " if key else ""}= )"{re.escape(old)}"'
        changed = re.sub(value, rf'\1"{new}"', line, flags=re.IGNORECASE)
        if key and changed != line:
            _offer(draft, name, number + 1, old, new)
        elif name.startswith("review/"):
            changed = re.sub(rf'^"?{re.escape(old)}"?(?= = ")', new.lower() if new.isalpha() else f'"{new}"', line)
        if re.fullmatch(rf'"?{re.escape(new)}"? = "{re.escape(new)}"', changed):
            draft.set_line(name, number, None)
        elif changed != line:
            draft.set_line(name, number, changed)


def _offer(draft: Draft, name: str, number: int, old: str, new: str) -> None:
    """The new form among the options of a question of the review, if it is not there."""
    options = draft.line(name, number) if number <= len(draft.sources[name].lines) else ""
    if options.startswith("options = ") and f'"{new.lower()}"' not in options.lower():
        draft.set_line(name, number, options.replace(f'"{old}"', f'"{new}", "{old}"', 1))


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


def _in_patterns(draft: Draft, name: str, old: str, new: str) -> None:
    """Add the new form to the regular expressions of a file, and a copy with it beside other texts, such as openers."""
    word, there = (re.compile(rf"(?:(?<=\\b)|(?<![\w']))(?:{re.escape(one)})(?![\w'?*+{{])") for one in (old, new))

    def both(found: re.Match[str]) -> str:
        text = found.group()
        if not word.search(text) or there.search(text) or text.strip("\"'") in (old, new):
            return text
        if "\\" in text or "(?" in text:
            return word.sub(lambda one: f"(?:{one.group()}|{new})", text)
        return f"{text}, {word.sub(new, text)}"

    for number, original in enumerate(draft.sources[name].lines, 1):
        line = draft.line(name, number)
        if not original.lstrip().startswith("#") and (changed := TOML_STRING.sub(both, line)) != line:
            draft.set_line(name, number, changed)
