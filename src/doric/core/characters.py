"""Characters that a reader does not see or that show damage: `tidy` folds what is harmless, `find_flaw` finds the rest.

Both are for answers, topics and prompts. Letters of any language, emoji and flags are kept.
"""

import functools
import html
import html.entities
import re
import unicodedata

from doric import data
from doric.core.markers import find_marker
from doric.core.text import ESCAPE_SEQUENCE

ENTITY = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});|&(?:nbsp|quot|amp|lt|gt|[lr][sd]quo|apos)(?![\w=;])"
)
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
"""Code may be about entities and escapes, so they stay there."""
ESCAPED_QUOTE = re.compile(r"\\(?=[\"'/])")
WINDOWS_QUOTES = str.maketrans("\x91\x92\x93\x94\x96\x97", "‘’“”–—")
"""Signs of Windows-1252 that were read as Latin-1."""
ROUNDS = 3
"""Texts are escaped or encoded wrongly at most so many times."""
_CONTINUATION = "\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# é’” and É” may be written on purpose, so the first letters are those that are common in mojibake and rare elsewhere
_LETTERS = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_LATIN = "[\u0080-\u009f¡-ª¬-º¼-¿‚ƒ„†‡ˆ‰ŠŒŽ˜™šœžŸ]"
MOJIBAKE = re.compile(
    f"(?:Ã[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹Œ•–—˜™š›œžŸ]|Â[\u0080-\u00bf]|[âï][{_CONTINUATION}]{{2}}|ð[{_CONTINUATION}]{{3}})+"
    f"|(?:[ÐÑ]{_LETTERS}){{2,}}|(?:[ÎÏ]{_LETTERS}){{2,}}|(?:[Ø-Û]{_LETTERS}){{2,}}|(?:×{_LETTERS}){{2,}}|(?:[à-ï]{_LETTERS}{{2}}){{2,}}"
    f"|(?<=[A-Za-z])[ÄÅ](?:{_LATIN}|…)|(?<!‚)[ÄÅ](?:{_LATIN}|…)(?=[a-z])"
)
"""UTF-8 that was read as Windows-1252 or Latin-1; letters of other scripts only if several follow each other."""
NEWLINE = re.compile("\r\n|[\r\v\f\u0085\u2028\u2029]")
WIDE_SPACE = re.compile("[ \t]?[\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]+[ \t]?")
TAB = re.compile(r"(?<=\S)[ ]?\t[ \t]?(?=\S)")
"""A tab between words; at the beginning of a line it may be the indentation of code."""
COMPATIBLE = re.compile(
    "[\ufb00-\ufb06\U0001d400-\U0001d7ff\u210a-\u2112\u2115\u2118-\u211d\u2124\u2128\u212c\u212d\u212f-\u2134]+"
)
"""Ligatures, and mathematical letters used as a typeface."""
FULL_WIDTH = re.compile("[\uff01-\uff5e]+")
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
IDEOGRAPH = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
VARIED = re.compile("[0\u2139\u3030\u1000-\u109f\ua840-\ua877]")
"""Digits, letters and signs with a second glyph: a slashed zero, an information sign, Burmese and Phags-pa letters."""
SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Variation selectors, which are not seen; they choose between two glyphs of the character before them."""
FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,8}\U000e007f")
"""The flag of a part of a country, such as Scotland's: a black flag and letters that are not seen."""
DROPPED = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u3164\uffa0\ufff9\ufffa\ufffb")
"""Characters without a glyph, in addition to those of the category Cf (format)."""
PREFIXES = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
"""Signs of the category Cf that are seen."""
OVERRIDES = frozenset("\u202d\u202e")
"""They reverse the text after them, so without them it would read differently."""
SEVERAL_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20df\u20e1\u20e5-\u20f0\ufe20-\ufe2f]{2}"
)
ONE_MARK = re.compile(
    "[\u0332\u0333\u0334-\u0338\u20d2\u20d3\u20d8-\u20da\u20e5-\u20e8\u0305\u030d-\u0315\u1dc0-\u1dff]"
)
MOST_MARKS = 3
"""A text with more signs through or around letters is refused. Accents of languages such as Yoruba do not count."""
PLAIN = re.compile(r"[\n -%'-\[\]-~]*")
"""Printable ASCII without & (which may begin an entity) and without backslashes."""
ORDINARY = re.compile(r"[ -\"$'-;>?A-Z_a-z{-~’‘“”–—…£é]*")
"""One line of characters that are part neither of damage nor of a mark; this check makes the usual case fast."""
SAFE = re.compile(r"[\n -\"$&-;>?A-Z\]_-~’‘“”–—…£é]*")
"""Characters that are never part of damage."""


def tidy(text: str) -> str:
    """`text` in NFC, with plain spaces and newlines, without characters that are not seen. Changes nothing twice.

    HTML entities and wrongly decoded UTF-8 become the characters that they stand for. Whole escape sequences of
    terminals, zero-width characters, soft hyphens and lone parts of emoji are removed.

    >>> tidy("\\ufeffFit\\u202flike\\u200b &amp; foo\\u2028It\\u00e2\\u20ac\\u2122s \\ufb01ne")
    'Fit like & foo\\nIt’s fine'
    """
    if PLAIN.fullmatch(text):
        return text
    if "&" in text or "\\" in text or not text.isascii():
        parts = CODE.split(text) if "`" in text else [text]
        text = "".join(part if CODE.fullmatch(part) else _unescape(part) for part in parts)
    text = ESCAPE_SEQUENCE.sub("", text).translate(WINDOWS_QUOTES)
    text = NEWLINE.sub("\n", text)
    if not text.isascii():
        text = COMPATIBLE.sub(_compatible, text)
        text = text if CJK.search(text) else FULL_WIDTH.sub(_compatible, text)
        text = unicodedata.normalize("NFC", _seen(text))
    return TAB.sub(" ", WIDE_SPACE.sub(" ", text))


def find_flaw(text: str) -> str | None:
    """Why nobody should read or train on a tidy `text`, or None: damaged characters, or marks of a chat template.

    >>> find_flaw("Aye [INST] na")
    "it has the mark '[INST]' of a chat template"
    """
    if ORDINARY.fullmatch(text) and "assistant" not in text:
        return None
    if mark := find_marker(text):
        return f"it has the mark '{mark[:40]}' of a chat template"
    if SAFE.fullmatch(text):
        return None
    is_printable = text.isprintable() and "\ufffd" not in text and "\ufffc" not in text
    if not is_printable and (char := next((char for char in text if _is_damage(char)), None)):
        return f"it has a character that no reader can read (U+{ord(char):04X})"
    for kind, pattern in _remains():
        if found := pattern.search(text):
            return f"it has {kind} ('{found.group()[:20]}')"
    if SEVERAL_MARKS.search(text) or len(ONE_MARK.findall(text)) > MOST_MARKS:
        return "it has letters with heaps of accents"
    return None


@functools.cache
def _remains() -> tuple[tuple[str, re.Pattern[str]], ...]:
    table = data.read_toml("characters.toml")["remains"]
    return tuple((kind, re.compile("|".join(patterns), re.MULTILINE)) for kind, patterns in table.items())


def _unescape(text: str) -> str:
    """`text` with the characters that entities, escapes and wrongly decoded UTF-8 stand for."""
    for _ in range(ROUNDS):
        before, text = text, MOJIBAKE.sub(_decoded, ENTITY.sub(_unescaped, text))
        if text == before:
            break
    return ESCAPED_QUOTE.sub("", text)


def _unescaped(found: re.Match[str]) -> str:
    name = found.group().removeprefix("&").rstrip(";") + ";"
    return html.unescape(f"&{name}") if name[0] == "#" or name in html.entities.html5 else found.group()


def _compatible(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", found.group())


def _decoded(found: re.Match[str]) -> str:
    """The characters that wrongly decoded UTF-8 stands for; unchanged if it is no UTF-8."""
    text = found.group()
    raw = b"".join(char.encode("latin-1") if ord(char) < 256 else char.encode("cp1252") for char in text)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return text


def _seen(text: str) -> str:
    """`text` without characters that are not seen, except where they join or change the character before them."""
    if text.isprintable() and not any(map(_may_be_dropped, text)):
        return text
    flags = {at for found in FLAG.finditer(text) for at in range(*found.span())}
    return "".join(char for at, char in enumerate(text) if at in flags or not _is_lost(text, at))


def _may_be_dropped(char: str) -> bool:
    return char in DROPPED or SELECTOR.match(char) is not None


def _is_lost(text: str, at: int) -> bool:
    char, before, after = text[at], text[at - 1 : at], text[at + 1 : at + 2]
    if char < "\u007f":
        return False
    if SELECTOR.match(char):
        return not _selects(char, before, after)
    if char in "\u200c\u200d":
        return not (_is_other_script(before) or (char == "\u200d" and _joins(before) and _is_symbol(after)))
    return char in DROPPED or (unicodedata.category(char) == "Cf" and char not in PREFIXES and char not in OVERRIDES)


def without_idle_selectors(text: str) -> str:
    """`text` without variation selectors that change no glyph: they can hide a text that only a model reads.

    >>> without_idle_selectors("a\ufe0fb \u2764\ufe0f\ufe0f\U000e0101 1\ufe0f\u20e3") == "ab \u2764\ufe0f 1\ufe0f\u20e3"
    True
    """
    if not SELECTOR.search(text):
        return text
    return "".join(char for at, char in enumerate(text) if not (SELECTOR.match(char) and _is_lost(text, at)))


def _selects(selector: str, before: str, after: str) -> bool:
    """Whether a variation selector changes the glyph before it (for ideographs: https://unicode.org/reports/tr37)."""
    if selector > "\uffff":
        return IDEOGRAPH.match(before) is not None
    return _is_symbol(before) or after == "\u20e3" or bool(CJK.match(before) or VARIED.match(before))


def _joins(char: str) -> bool:
    return _is_symbol(char) or char == "\ufe0f"


def _is_symbol(char: str) -> bool:
    return (char > "\u00ff" and unicodedata.category(char) in ("So", "Sk", "Sm", "Po", "Cn")) or char in (
        "\u00a9",
        "\u00ae",
    )


def _is_other_script(char: str) -> bool:
    """Whether it is a letter or a mark of a script that uses joiners between letters."""
    return char >= "\u0590" and unicodedata.category(char)[0] in "LM"


def _is_damage(char: str) -> bool:
    if char in "\n\t" or (char.isprintable() and char not in "\ufffd\ufffc"):
        return False
    category = unicodedata.category(char)
    # emoji that are newer than this Python are not assigned yet
    is_new_emoji = category == "Cn" and "\U0001f000" <= char <= "\U0001fbff"
    return char in "\ufffd\ufffc" or char in OVERRIDES or (category in ("Cc", "Co", "Cs", "Cn") and not is_new_emoji)
