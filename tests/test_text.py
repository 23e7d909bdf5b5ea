"""Words, sentences, folding, and text that is safe for a terminal or a file."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.text import (
    TerminalFilter,
    ends_sentence,
    fold,
    printable,
    prose,
    replace_surrogates,
    sentences,
    surface_tokens,
    whole_sentences,
    words,
)

AWKWARD = st.text(st.sampled_from("\x1b]0;[31mP\\\x07\x9b\x9c\x9d \n\tab\x00\x7f\ud800"), max_size=60)


def test_words_are_lower_cased_and_lose_apostrophes_at_their_edges():
    """Apostrophes inside a word are kept and made straight, and those at its start or end are removed."""
    assert words("Wi’ the Quine's o' 2 boaties!") == ["wi", "the", "quine's", "o", "2", "boaties"]
    assert words("‘Fit’ dis it’s ʼboutʼ mean") == ["fit", "dis", "it's", "bout", "mean"]


@pytest.mark.parametrize(
    "text",
    [
        "Leuk at `fit = far + een` noo",
        "Leuk at ```\nfit = far\n``` noo",
        "Leuk at https://fit.example/far?een=1 noo",
        "Leuk at www.fit.example noo",
        "Leuk at fan@example.org noo",
    ],
)
def test_code_and_addresses_are_no_words(text):
    """Code spans, code blocks, links and mail addresses are removed before a text is split into words."""
    assert words(text) == ["leuk", "at", "noo"]


def test_prose_without_code_is_only_straightened():
    """A single slash or at sign removes nothing."""
    assert prose("Half an oor/hour, “aye”") == 'Half an oor/hour, "aye"'
    assert prose("Send it @ nicht") == "Send it @ nicht"


def test_accents_and_other_scripts_are_words():
    """Words consist of letters of any script, not of underscores and punctuation."""
    assert words("Café — Ελλάδα, naïve_snake 猫") == ["café", "ελλάδα", "naïve", "snake", "猫"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Aye. Fit like?\nNae bad", ["Aye.", "Fit like?", "Nae bad"]),
        ('He said "Aye." Syne he gaed.', ['He said "Aye.', "Syne he gaed."]),
        ("Wyte… syne gyang!  Noo.", ["Wyte…", "syne gyang!", "Noo."]),
        ("It costs 3.50 poun.", ["It costs 3.50 poun."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_end_at_stops_and_line_breaks(text, expected):
    """A full stop with its closing marks ends a sentence before white space, and so does a line break."""
    assert sentences(text) == expected


def test_surface_tokens_keep_capitals_and_clause_marks():
    """Words are returned as written, with the punctuation between clauses but without the full stop."""
    assert surface_tokens("Aye, Ah'll gyang (the morn).") == ["Aye", ",", "Ah'll", "gyang", "(", "the", "morn", ")"]


def test_fold_makes_one_key_of_what_reads_the_same():
    """Texts that differ only in case, white space or compatibility forms have the same folded form."""
    assert fold("  Ｆit\n LIKE\u00a0 ye ") == fold("fit like ye") == "fit like ye"


@given(st.text())
def test_fold_is_stable(text):
    """Folding a folded text changes nothing."""
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_sentences_lose_no_word(text):
    """Splitting into sentences loses only white space, and closing marks after a full stop."""
    kept = "".join("".join(sentences(text)).split())
    assert all(char in "\"')]" or char.isspace() for char in _removed("".join(text.split()), kept))


def _removed(whole, kept):
    left = iter(kept)
    wanted = next(left, None)
    for char in whole:
        if char == wanted:
            wanted = next(left, None)
        else:
            yield char


@pytest.mark.parametrize(
    ("text", "ends"),
    [("Aye.", True), ("Aye!”", True), ("(Aye…)", True), ("Aye?\n", True), ("Aye,", False), ("Aye", False), ("", False)],
)
def test_a_closing_mark_may_follow_the_full_stop(text, ends):
    """A sentence end may have closing quotes and brackets after the full stop."""
    assert ends_sentence(text) is ends


@given(AWKWARD, st.lists(st.integers(0, 60)))
def test_filtering_does_not_depend_on_the_pieces(text, cuts):
    """The result does not depend on how the text is split, and newline and tab are its only control characters."""
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    terminal, at_once = TerminalFilter(), TerminalFilter()
    out = "".join(terminal.feed(text[a:b]) for a, b in pairwise(places)) + terminal.rest()
    assert out == at_once.feed(text) + at_once.rest()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", out)


def test_an_endless_sequence_is_shown_and_not_swallowed():
    """An escape sequence without an end does not hide the rest of an answer."""
    assert printable("a\x1b]0;b\nthe rest") == "a]0;b\nthe rest"
    assert printable("\x1b]" + "x" * 5000) == "]" + "x" * 5000


@given(st.text(st.characters(), max_size=20))
def test_text_without_surrogates_can_be_encoded(text):
    """Every result can be encoded as UTF-8, and text that can be encoded does not change."""
    assert replace_surrogates(text).encode().decode() == replace_surrogates(text)
    assert replace_surrogates("éë日\U0001f600") == "éë日\U0001f600"
    assert replace_surrogates("a\udcff\ud800b") == "a\ufffd\ufffdb"


def test_what_a_terminal_would_obey_is_removed():
    """Escape sequences are removed completely, and so are control, bidirectional and other format characters."""
    assert (
        printable("a\x1b[31mred\x1b[0m \x1b]0;title\x07b\r\n\tc\x9b2J\u202e\u2028\xad\ufeff\ue000d") == "ared b\n\tc\nd"
    )


SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize("text", ["👩\u200d🌾", SCOTLAND, "می\u200cخواهم"])
def test_emoji_flags_and_scripts_with_joiners_stay_whole(text):
    """Joiners in emoji, the letters of the Scottish flag, and Persian non-joiners are kept."""
    assert printable(text) == text
    assert TerminalFilter().feed(text) == text


WHOLE = "Keep it dry. Aye, it's fine."
TAILS = {
    "😊": "😊",
    " 😊": " 😊",
    "❤️": "❤️",
    " 🇬🇧": " 🇬🇧",
    "👩\u200d🌾": "👩\u200d🌾",
    SCOTLAND: SCOTLAND,
    ".😊": ".😊",
    "!!": "!!",
    "…": "…",
    " :)": " :)",
    "»": "»",
    "”": "”",
    "’": "’",
    "›": "›",
    ")": ")",
    "]": "]",
    '")': '")',
    "[1]": "",
    " [1]": "",
    "[1][2]": "",
    "[^1]": "",
    "[1, 2]": "",
    "[1–3]": "",
    "<!-- end -->": "",
    "ⁿ": "",
    ":'(": ":'(",
    "¹": "",
    "²³": "",
    "†": "",
    "【4†source】": "",
    "*": "",
    "**": "",
    "_": "",
    "</p>": "",
    " <br>": "",
    "\u200b": "",
    "\ufeff": "",
    "”[1]": "”",
    "*😊": "😊",
    "\n\n": "",
}


@pytest.mark.parametrize("tail", TAILS)
def test_a_tail_never_takes_the_sentence_before_it_along(tail):
    """Emoji and closing marks after the last full stop stay, notes and signs of markup go, and the sentence stays."""
    assert ends_sentence(WHOLE + tail)
    assert whole_sentences(WHOLE + tail) == WHOLE + TAILS[tail]
    if not tail.isspace():
        cut = whole_sentences(f"{WHOLE}{tail} An dinna")
        assert cut.startswith(WHOLE)
        assert "dinna" not in cut
        assert ends_sentence(cut)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ae thing. Twa things.An dinna", "Ae thing. Twa things."),
        ("It costs 3.50 poun. See x.com an", "It costs 3.50 poun."),
        ("Keep it dry. Aye, it's fine.[END]", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.\\n", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.#", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.(1)", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.\ufffd", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine. e.g., in a", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.END", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.EOF", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.THE END", "Keep it dry. Aye, it's fine."),
        ("Keep it dry. Aye, it's fine.xx", "Keep it dry. Aye, it's fine."),
        ("It's on bbc.co.uk an", "It's on bbc.co.uk an"),
        ("An dinna", "An dinna"),
        (" Aye. \n", "Aye."),
        ("", ""),
    ],
)
def test_an_unfinished_sentence_is_cut(text, expected):
    """The text ends with its last whole sentence, also if the space after it is missing."""
    assert whole_sentences(text) == expected


@given(st.text())
def test_only_the_end_is_cut(text):
    """The result is not longer than the text, and ends a sentence if the text has one."""
    cut = whole_sentences(text)
    assert len(cut) <= len(text.strip())
    assert cut == "" or ends_sentence(cut) or cut == text.strip()


@pytest.mark.parametrize(
    "shape",
    [
        "!…",
        ".'",
        ". ",
        "[1]",
        "😊",
        "*",
        "</p>",
        ".*",
        "@",
        "a@",
        "a",
        "http://",
        "`",
        "```",
        "\x90",
        "\x1b]",
        "\n",
        " ",
    ],
)
def test_long_texts_are_read_to_the_end(shape):
    """200 KB of the same characters are read in a time linear in the length."""
    text = shape * (200_000 // len(shape))
    for read in (prose, sentences, words, ends_sentence, whole_sentences, printable):
        read(text + "a@")
