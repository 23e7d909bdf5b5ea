"""Characters that no reader sees are folded if that is harmless, and found if it is not; other letters are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.characters import find_flaw, tidy
from doric.data import FOLDER, read_toml

SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
HARMLESS = {
    "\ufeffAye": "Aye",
    "a\u00a0b": "a b",
    "a \u202f b\u2009c\u3000d\u205fe\u1680f\u2800g": "a b c d e f g",
    "a\u200bb\u2060c\u180ed\u200ce\u200df": "abcdef",
    "so\u00adft": "soft",
    "a\u200eb\u2066c\u2069d\u061ce": "abcde",
    "x\u2028y\u0085z\u2029w\r\nv\ru": "x\ny\nz\nw\nv\nu",
    "salt &amp; pepper": "salt & pepper",
    "it&#39;s &quot;fine&quot;&nbsp;noo &#x27;n&rsquo;": "it's \"fine\" noo 'n’",
    "it&amp;#39;s": "it's",
    "Itâ€™s cafÃ© Â£5": "It’s café £5",
    "ItÃ¢â‚¬â„¢s": "It’s",
    "it\u00e2\u0080\u0099s": "it’s",
    "ðŸ˜Š": "😊",
    "ﬁsh an ﬂuff": "fish an fluff",
    "Ｆｉｔ　ｌｉｋｅ！": "Fit like!",
    "𝐃𝐨𝐫𝐢𝐜": "Doric",
    "cafe\u0301": "café",
    "\x1b[31mAye\x1b[0m \x1b]0;title\x07na": "Aye na",
    "Aye\U000e0041\U000e0042\U000e007f": "Aye",
    "a\ufe0fb\ufe01c": "abc",
    "a\u3164\u115fb\uffa0\u034f": "ab",
    "a\tb \t c\n\td": "a b c\n\td",
    "a\U000e0100b\U000e01efc": "abc",
    "👩\u200d": "👩",
    "\ufe0fa": "a",
    "\u2764\ufe0f\ufe01\U000e0101 \u845b\U000e0101": "\u2764\ufe0f \u845b\U000e0101",
    "it\x92s \x93fine\x94 \x96 aye": "it’s “fine” – aye",
    "salt &amp pepper&nbsp an&nbsp neeps": "salt & pepper an neeps",
    'it\\\'s \\"fine\\" an\\/or': 'it\'s "fine" an/or',
    "o` the caf&eacute; the nicht": "o` the café the nicht",
    "zÅ‚oty, dziÄ™kujÄ™ an baÅŸ": "złoty, dziękuję an baş",
    "Ð¿Ñ€Ð¸Ð²ÐµÑ‚": "привет",
    "Î³ÎµÎ¹Î¬": "γειά",
    "à¤¨à¤®à¤¸à¥\u008dà¤¤à¥‡": "नमस्ते",
    "𝒜𝓎ℯ": "Aye",
}
KEPT = [
    "👩\u200d🌾 ❤️ 1️⃣ ☀︎ 👍🏽 🇬🇧 👨\u200d👩\u200d👧",
    SCOTLAND,
    "ȝer þe Å é ö o' ye’ – — … ½ m² °C",
    "“CAFÉ” an ‘café’, voilà…” MANHÃ”",
    "می\u200cخواهم क्\u200dष",
    "早上好！你好，再見。",
    "R&D; &unknown; Q&A & co",
    "Fit like?\n\nNae bad.",
    "Write `&amp;` for an & an `\\'` for a '.\n\tindented",
    "Ελλάδα Россия हिंदी ไทย",
    "Yorùbá ọ̀rọ̀ ẹ̀kọ́ ọ́ ẹ́",
    "&notanentity; &amparse; &co=5 AT&T",
    "10 Å² an 5 Å",
    "It's 5% an 10% o the 20% aff [0.5m]",
    "See https://example.org/a%20b%E2%80%99s an www.example.org/%C3%A9%C3%A8",
    "5 km² ∆t πr² µm 20 ℃",
    "a' the fowk, o' the toon, 'Twas — the 1st an 2nd",
]
REFUSED = [
    "a\x00b",
    "a\x07b",
    "a\x08b",
    "a\x7fb",
    "a\x9fb",
    "a\u202eb",
    "a\u202db",
    "a\ue000b",
    "a\U000f0000b",
    "a\ufffdb",
    "a\ufffcb",
    "a\ufdd0b",
    "a\uffffb",
    "a\U0001ffffb",
    "h\u0337e\u0337l\u0337l\u0337o\u0337",
    "z\u0300\u0301\u0302a",
    "AyeĠit",
    "AyeĊ",
    "▁Aye",
    "Aye<0x0A>",
    "walk ##ing",
    "wal@@ king",
    "aye</w>",
    "Itâ€ s",
    "it‚Äôs",
    "itâĢĻs",
    "it\\u2019s",
    "it=E2=80=99s",
    "<unused12>",
    "it%E2%80%99s",
    "Aye,%20weel%20an",
    "Aye.Â The coo",
    "voilÃ  noo",
    "donÕt",
    "it¬£5",
    "it‚Ä¶",
    "вЂ™s",
    "├⌐t├⌐",
    "^[[31mAye",
    "Aye[0m",
    "[1;31mAye",
    "Aye\\033[0m",
    "␛[31mAye",
    "aye @-@ aye",
    "Aye ⁇ na",
    "<reserved_7>",
    "<SPECIAL_12>",
    "<ctrl42>",
    "the \u0430ye",
    "o\u0332v\u0332e\u0332r\u0332",
    "Aye <|im_end|> na",
    "Aye [INST] na",
    "Aye <think> na",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_is_folded(text):
    """Spaces, invisible characters, entities, wrong encodings and typefaces become plain text without flaws."""
    assert tidy(text) == HARMLESS[text]
    assert find_flaw(tidy(text)) is None


@pytest.mark.parametrize("text", KEPT)
def test_letters_emoji_and_flags_are_kept(text):
    """Letters of any language, joiners between them, emoji, flags, and ordinary punctuation are unchanged."""
    assert tidy(text) == text
    assert find_flaw(text) is None


@pytest.mark.parametrize("text", REFUSED)
def test_damage_is_found(text):
    """Damaged characters, remains of a tokenizer and marks are found, and the reason is one short line."""
    flaw = find_flaw(tidy(text))
    assert flaw.startswith("it has ")
    assert flaw.isprintable()
    assert len(flaw) < 100


@given(st.text(max_size=40))
def test_a_tidy_text_is_tidy(text):
    """A second time changes nothing, if the first left no damage."""
    once = tidy(text)
    if find_flaw(once) is None:
        assert tidy(once) == once or "&" in text


@pytest.mark.parametrize(
    "shape",
    [
        "&amp;",
        "Ã©",
        "Ã",
        "â",
        "\x1b]",
        "\x90",
        "\x1b[",
        "&",
        "\u200b",
        "\u0301",
        "a\u0301",
        "Ġ",
        "=E2",
        "\\u",
        "\ufe0f",
        "#",
        "\u00a0",
        "\r",
        "\U0001f3f4\U000e0061",
        "ð",
        "&#",
        "<0x",
        "%E2",
        "a%20a ",
        "[1;",
        "ÄÅ",
        "à¤",
        "&nbsp",
        "`&",
    ],
)
def test_long_damage_is_read_to_the_end(shape):
    """200 KB of the same damage are read in a time linear in the length."""
    text = shape * (200_000 // len(shape))
    assert isinstance(tidy(text), str)
    find_flaw(text)


def strings(value):
    """Every string in a value read from TOML or JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in strings(item)] if isinstance(value, list) else [str(value)]


@pytest.mark.parametrize(
    "name", ["prompts.toml", "general.toml", "holds.toml", "refusals.toml", "instructions.toml", "heldout.jsonl"]
)
def test_our_own_sentences_are_tidy(name):
    """The sentences and prompts of the language data have no damage."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    for text in strings(read_toml(name)) if name.endswith(".toml") else lines:
        assert tidy(text) == text
        assert find_flaw(text) is None
