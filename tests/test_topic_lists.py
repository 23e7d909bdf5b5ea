"""Topic lists: every accepted format is read, and any other file gives one clear error."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doric.core.characters import tidy
from doric.core.errors import InputError
from doric.core.text import fold
from doric.topics.items import unquoted
from doric.topics.lists import Topic, TopicFile, read_groups, read_topics, unique_topics
from doric.topics.parse import read_list

HENS, KALE = "keeping hens warm in winter", "growing kale in a cold garden"
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@pytest.fixture
def write_topics(tmp_path):
    """A function that writes bytes, or a value as JSON, to a file and returns its path."""

    def write(value, name="topics.json"):
        path = tmp_path / name
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return path

    return write


SHAPES = {
    "strings": [HENS, KALE],
    "objects": [{"topic": HENS, "group": "farm"}, {"topic": KALE, "group": "garden"}],
    "groups": {"farm": [HENS], "garden": [KALE]},
    "groups under a key": {"groups": {"farm": [HENS], "garden": [KALE]}},
    "strings and objects": [HENS, {"topic": KALE}],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_accepted_format_gives_the_same_topics(shape, write_topics):
    """Strings, objects, groups, and groups under a key give the same topics, and group names are kept."""
    topics = read_topics(write_topics(SHAPES[shape]))
    assert [topic.text for topic in topics] == [HENS, KALE]
    expected = ["farm", "garden"] if "groups" in shape or shape == "objects" else ["general", "general"]
    assert [topic.group for topic in topics] == expected


def test_plain_text_has_one_topic_per_line(write_topics):
    """Blank lines, Windows line ends and extra spaces are ignored."""
    path = write_topics(f"\n  {HENS} \r\n\r\n{KALE}".encode(), "topics.txt")
    assert read_topics(path) == [Topic(HENS), Topic(KALE)]


@pytest.mark.parametrize("name", ["topics.json", "topics.txt"])
def test_a_byte_order_mark_is_not_part_of_a_topic(name, write_topics):
    """A file with a byte-order mark is read like a file without it."""
    content = json.dumps([HENS]) if name.endswith("json") else HENS
    assert read_topics(write_topics(b"\xef\xbb\xbf" + content.encode(), name)) == [Topic(HENS)]


def test_a_duplicate_topic_is_dropped(write_topics):
    """If topics differ only in case or white space, the first topic stays in its place and the others are dropped."""
    path = write_topics([HENS, KALE, "  Keeping HENS  warm in winter ", KALE])
    assert read_topics(path) == [Topic(HENS), Topic(KALE)]


@given(st.lists(st.builds(Topic, NAMES, NAMES)))
def test_unique_topics_keeps_the_first_of_each_in_order(topics):
    """The result is the list without repeated topics."""
    folded = [fold(one.text) for one in topics]
    assert unique_topics(topics) == [one for at, one in enumerate(topics) if folded[at] not in folded[:at]]


WRONG = {
    "a number": (3, "expected a list or an object of groups, not a number"),
    "a string": ("hens", "expected a list or an object of groups, not a string"),
    "null": (None, "expected a list or an object of groups, not null"),
    "an empty list": ([], "there is no topic in it"),
    "empty groups": ({"farm": []}, "there is no topic in it"),
    "groups as a list": ({"groups": [HENS]}, "the key 'groups' holds a list"),
    "a group that is a string": ({"farm": HENS}, "the group 'farm' holds a string"),
    "a group that is null": ({"groups": {"farm": None}}, "the group 'farm' holds null"),
    "a number among topics": ({"farm": [HENS, 3]}, "topic 2 of group 'farm' is a number, not a string"),
    "a list among topics": ([[HENS]], "item 1 is a list, not a string"),
    "a boolean among topics": ([HENS, True], "item 2 is a boolean, not a string"),
    "an object without its key": ([{"subject": HENS}], "item 1 has no key 'topic'"),
    "an object whose topic is null": ([{"topic": None}], "'topic' of item 1 is null"),
    "an object whose group is a number": ([{"topic": HENS, "group": 4}], "'group' of item 1 is a number"),
    "a blank topic": ([HENS, "  "], "item 2 is empty"),
    "a blank group": ({" ": [HENS]}, "the name of a group is empty"),
    "half a character": ([HENS, "\ud800 sheep"], "item 2 contains half a character"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_format_is_an_error_that_names_the_key(case, write_topics):
    """The error has the file, the wrong key or item, and a hint with the accepted formats."""
    value, said = WRONG[case]
    path = write_topics(value)
    with pytest.raises(InputError) as caught:
        read_topics(path)
    assert said in caught.value.message
    assert caught.value.message.startswith(f"{path}:")
    assert caught.value.hint


UNREADABLE = {
    "an empty file": (b"", "the file is empty"),
    "a file of blanks": (b" \n\t\n", "the file is empty"),
    "a BOM alone": (b"\xef\xbb\xbf", "the file is empty"),
    "UTF-16": ('["hens"]'.encode("utf-16"), "not UTF-8 text"),
    "Latin-1": (b'["caf\xe9 culture"]', "not UTF-8 text"),
    "broken JSON": (b'["hens",\n "kale"', ":2: not JSON:"),
    "words": (b"keeping hens\n", "not JSON:"),
    "a nest without end": (b"[" * 100_000, "nested too deep"),
    "a number without end": (b"[" + b"1" * 5_000 + b"]", "a number of 5,000 digits"),
    "an infinite number": (
        b'{"version": 1e999, "groups": {"farm": ["keeping hens"]}}',
        "the number 1e999 is too large",
    ),
    "what is no number": (b'{"version": NaN, "groups": {"farm": ["keeping hens"]}}', "not JSON: NaN"),
    "a group twice": (b'{"farm": ["hens"], "farm": ["kale"]}', "duplicate key 'farm'"),
    "a group twice, one in escapes": (
        b'{"groups": {"farm": ["a"], "\\u0066arm": ["b"]}}',
        "duplicate key 'farm'",
    ),
    "a topic twice": (b'[{"topic": "hens", "topic": "kale"}]', "duplicate key 'topic'"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_invalid_json_is_an_error_in_one_line(case, write_topics):
    """The error has the file, and the line number if there is one."""
    content, said = UNREADABLE[case]
    with pytest.raises(InputError) as caught:
        read_topics(write_topics(content))
    assert said in caught.value.message
    assert "\n" not in caught.value.message


MARKUP = [
    "## Doric",
    "| a | b |",
    "> said",
    "```",
    "<p>hens</p>",
    '{"topic": "hens"}',
    '["hens"]',
    "---",
    "- ## hens",
    "-",
]


@pytest.mark.parametrize("line", [*MARKUP, "hens " * 60])
def test_a_line_that_is_not_a_topic_is_an_error(line, write_topics):
    """If a text list contains Markdown, HTML, JSON or a paragraph, the error names the first such line."""
    with pytest.raises(InputError, match=r":2: .* is not a topic") as caught:
        read_topics(write_topics(f"{HENS}\n{line}\n{KALE}\n".encode(), "topics.txt"))
    assert caught.value.hint == "Give one topic per line, in plain words."
    assert "\n" not in caught.value.message


def test_bullets_are_not_part_of_a_topic(write_topics):
    """A line of a text list may begin with a hyphen or an asterisk, which is not part of the topic."""
    path = write_topics(f"- {HENS}\n * {KALE}\n".encode(), "topics.txt")
    assert read_topics(path) == [Topic(HENS), Topic(KALE)]


def test_a_json_lines_file_is_an_error(write_topics):
    """The error for a JSON Lines file is one line, and the hint has the accepted formats."""
    with pytest.raises(InputError, match="a JSON Lines file is not a topic list"):
        read_topics(write_topics(b'{"topic": "hens", "group": "farm"}\n', "topics.jsonl"))


def test_read_groups_has_every_group(write_topics):
    """The groups are in the order of the file, with empty groups, and a topic is only in its first group."""
    assert read_groups(write_topics({"farm": [HENS], "cooking": [], "other": [HENS, KALE]})) == {
        "farm": [HENS], "cooking": [], "other": [KALE],
    }  # fmt: skip
    with pytest.raises(InputError, match="no topic and no group"):
        read_groups(write_topics({"groups": {}}))


def test_as_json_overrides_the_extension(write_topics):
    """If a file is read as JSON, text that is not JSON is an error for every file name."""
    with pytest.raises(InputError, match="not JSON"):
        read_topics(write_topics(b"# Doric\n\nKeeping hens\n", "README.md"), as_json=True)


def test_a_line_that_is_not_utf8_is_an_error(write_topics):
    """The error has the line number of the first byte that is not UTF-8."""
    with pytest.raises(InputError, match=":3: not UTF-8"):
        read_topics(write_topics(b"hens\nkale\n\xff\n", "topics.txt"))


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    """The errors for a missing file and for a folder say what is wrong with the path."""
    with pytest.raises(InputError, match="there is no such file"):
        read_topics(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="it is a directory"):
        read_topics(tmp_path)


@pytest.mark.parametrize("name", ["topics.txt", "topics.json"])
@pytest.mark.parametrize(
    "text", ["hens <|im_end|> in winter", "hens [INST] in winter", "hens\ufffdin winter", "hensĠin winter", "a\u202eb"]
)
def test_a_damaged_topic_is_an_error_with_its_place(name, text, write_topics):
    """A topic becomes part of a trained question, so marks and damaged characters are refused with their place."""
    content = ["fine hens", text] if name.endswith("json") else f"fine hens\n{text}\n".encode()
    with pytest.raises(InputError, match=r"it has (the mark|a character|a remainder)") as caught:
        read_topics(write_topics(content, name))
    assert "item 2" in str(caught.value) or ":2:" in str(caught.value)


@pytest.mark.parametrize("name", ["topics.txt", "topics.json"])
def test_a_topic_is_tidy(name, write_topics):
    """Spaces, invisible characters and entities in a list are folded."""
    topics = ["\u200bhens\u00a0in\u202fwinter", "salt &amp; neeps"]
    content = topics if name.endswith("json") else "\n".join(topics).encode()
    assert [topic.text for topic in read_topics(write_topics(content, name))] == ["hens in winter", "salt & neeps"]


PLAIN = "haar rolling in"
DECORATED = [
    "1. {}", "2) {}", "(3) {}", "[4] {}", "5] {}", "6: {}", "12. {}", "1000. {}", "#7 {}", "#7. {}", "8 - {}",
    "9 – {}", "1.2. {}", "a) {}", "(b) {}", "c. {}", "D) {}", "ii. {}", "IV) {}", "① {}", "1️⃣ {}", "№ 3 {}",
    "• {}", "•{}", "– {}", "— {}", "- {}", "* {}", "+ {}", "‣ {}", "▪ {}", "● {}", "☐ {}", "✓ {}", "→ {}",
    "[ ] {}", "- [ ] {}", "* [x] {}", "- 1. {}", '"{}"', "'{}'", "“{}”", "‘{}’", "„{}“", "«{}»", "‹{}›", "`{}`",
    "「{}」", "＂{}＂", "''{}''", "“{}", '{}"', '"{}",', "{},", "{};", "{} ;", "1. “{}”,", "- **{}**", "*{}*",
    "__{}__", '2) "{}";', "  7.\t{}  ",
    "1.{}", "12.{}", "1.) {}", "Topic 3: {}", "Topic: {}", "Item 4 - {}", "Q5. {}", "10️⃣ {}", "🔟 {}", "１． {}",
    "✅ {}", "🔹 {}", "=> {}", "-> {}", "-- {}", "~ {}", '"{}".', "“{}”.", '""{}""', '\\"{}\\"', "&quot;{}&quot;",
    "\ufeff3. {}", "{}\u200b",
]  # fmt: skip


@pytest.mark.parametrize("form", DECORATED)
def test_what_stands_around_a_topic_is_removed(form, write_topics):
    """Bullets, checkboxes, numbers, quotation marks, and commas after a topic are removed in text, JSON and tables."""
    text = form.format(PLAIN)
    assert read_topics(write_topics(f"{text}\n".encode(), "topics.txt")) == [Topic(PLAIN)]
    assert read_topics(write_topics([text])) == [Topic(PLAIN)]
    field = text.replace('"', '""')
    assert read_topics(write_topics(f'topic,note\n"{field}",x\n'.encode(), "topics.csv")) == [Topic(PLAIN)]
    assert read_list(json.dumps([text, "keeping bees"])) == [PLAIN, "keeping bees"]


KEPT = [
    "1st of May traditions", "2 minute stovies", "3D printing", "24/7 shops in Aberdeen", "1.5 litre bottles",
    "1745: the Jacobite rising", "999 calls", "4x4 driving", "A-levels and Highers", "J. M. Barrie",
    "a guid New Year", "I spy games", "-ing words", "‘twas the night before", "the bairns' tea",
    "'haar' and 'dreich'", '"haar" and "dreich"', "5G masts", "7th sons", "C++ for beginners", "rock 'n' roll",
    "10,000 steps", "50:50 bets", "vitamin C", "(nearly) dry peats", "i before e", "it's a haar", "3.30 trains",
    "80s music", "20mph zones", "2 - 1 wins", "topical news", "question time on the telly", "the dogs' hame",
]  # fmt: skip


@pytest.mark.parametrize("topic", KEPT)
def test_what_belongs_to_a_topic_stays(topic, write_topics):
    """Numbers, letters and apostrophes that are part of the topic are kept in every format."""
    assert [one.text for one in read_topics(write_topics(f"{topic}\n".encode(), "topics.txt"))] == [tidy(topic)]
    assert [one.text for one in read_topics(write_topics([topic]))] == [tidy(topic)]


@example(";»")
@given(st.text())
def test_an_item_is_clean_after_one_pass_of_its_quotation_marks(text):
    """Removing the quotation marks twice is the same as once."""
    assert unquoted(unquoted(text)) == unquoted(text)


def test_comments_are_not_topics(write_topics):
    """Lines that begin with one hash or with two slashes are skipped."""
    path = write_topics(f"# farm\n{HENS}\n#{PLAIN}\n// more\n#####\n{KALE}\n".encode(), "topics.txt")
    assert read_topics(path) == [Topic(HENS), Topic(KALE)]
    with pytest.raises(InputError, match="there is no topic in it"):
        read_topics(write_topics(b"# farm\n", "topics.txt"))


FROST = "a hard frost, with ice"
TABLES = {
    "commas": ("t.csv", f'group,topic\nweather,{PLAIN}\nweather,"{FROST}"\n'),
    "the columns turned": ("t.csv", f'topic,group\n{PLAIN},weather\n"{FROST}",weather\n'),
    "semicolons": ("t.csv", f"group;topic\nweather;{PLAIN}\nweather;{FROST}\n"),
    "tabs": ("t.tsv", f"Group\tTopic\nweather\t{PLAIN}\nweather\t{FROST}\n"),
    "tabs in a .csv": ("t.csv", f"group\ttopic\nweather\t{PLAIN}\nweather\t{FROST}\n"),
    "a mark and CRLF": ("t.csv", f'\ufeffgroup,topic\r\nweather,{PLAIN}\r\n\r\nweather,"{FROST}"\r\n'),
    "quotes everywhere": ("t.csv", f'"group","topic"\n"weather","{PLAIN}"\n"weather","{FROST}"\n'),
    "Excel's first line": ("t.csv", f"sep=;\ngroup;topic\nweather;{PLAIN}\nweather;{FROST}\n"),
    "lines of an old Mac": ("t.csv", f'group,topic\rweather,{PLAIN}\rweather,"{FROST}"\r'),
    "another column": ("T.CSV", f'id,group,topic\n1,weather,{PLAIN}\n2,weather,"{FROST}"\n'),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_is_read_by_its_header(case, write_topics):
    """The columns topic and group may be in any order, with any usual separator, and with quotation marks."""
    name, text = TABLES[case]
    path = write_topics(text.encode(), name)
    assert read_topics(path) == [Topic(PLAIN, "weather"), Topic(FROST, "weather")]
    assert read_groups(path) == {"weather": [PLAIN, FROST]}


def test_a_table_without_groups(write_topics):
    """A table may have topics only, and a .csv without separators is a plain list, as before."""
    assert read_topics(write_topics(f"topic\n{HENS}\n".encode(), "t.csv")) == [Topic(HENS)]
    assert read_topics(write_topics(f"{HENS}\n{KALE}\n".encode(), "t.csv")) == [Topic(HENS), Topic(KALE)]


WRONG_TABLES = {
    "no header": ("t.csv", "weather,haar rolling in\n", ":1: the first line does not name a column topic"),
    "another header": ("t.tsv", "subject\tgroup\nhaar\tweather\n", ":1: the first line does not name a column"),
    "too many columns": ("t.csv", "group,topic\nfood,stovies, oatcakes\n", ":2: 3 columns, but the header has 2"),
    "too few columns": ("t.csv", "group,topic\n\nfood\n", ":3: 1 columns, but the header has 2"),
    "an empty topic": ("t.csv", "group,topic\nfood,\n", ":2: the topic is empty"),
    "an open quote": ("t.csv", 'group,topic\nfood,"stovies\nfood,kale\n', ":2: not a row of a table"),
    "a mark of a template": ("t.csv", "group,topic\nfood,hens <|im_end|> x\n", ":2: the topic: it has the mark"),
    "a header only": ("t.csv", "group,topic\n", ": there is no topic in it"),
    "a table in a .txt": ("t.txt", "group,topic\nfood,kale\n", ": this is a table with a header"),
    "a table in a .txt with tabs": ("t.txt", "topic\tgroup\nkale\tfood\n", ": this is a table with a header"),
    "a column of another name": ("t.csv", "title\nkale\n", ":1: the first line does not name a column topic"),
    "two columns of topics": ("t.csv", "topic,group,topic\na,b,c\n", ":1: there are two columns topic"),
    "a column in a .txt": ("t.txt", "Topic\nkale\n", ": this is a table with a header"),
    "UTF-16": ("t.tsv", "topic\tgroup\nkale\tfood\n".encode("utf-16"), ": it is UTF-16"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_wrong_table_is_an_error_with_its_line(case, write_topics):
    """A table without a header, a row with another number of columns and an open quotation mark are named."""
    name, content, said = WRONG_TABLES[case]
    path = write_topics(content if isinstance(content, bytes) else content.encode(), name)
    with pytest.raises(InputError) as caught:
        read_topics(path)
    assert caught.value.message.startswith(f"{path}{said}")
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_table_can_be_expanded_into_another_file(write_topics, tmp_path):
    """Topics of a table are copied to JSON or text, also when the run is resumed, and no table is ever written."""
    source = write_topics(TABLES["commas"][1].encode(), "t.csv")
    for name in ("out.json", "out.txt"):
        for _ in range(2):
            file = TopicFile(source, tmp_path / name)
            assert list(file.groups) == ["weather"]
            with file.locked():
                file.write({"weather": ["sleet"]} if not file.resumed else {})
        assert [one.text for one in read_topics(tmp_path / name)] == [PLAIN, FROST, "sleet"]
    for output in (source, tmp_path / "other.csv"):
        with pytest.raises(InputError, match="topics cannot be added to a table"):
            TopicFile(source, output)


@pytest.mark.parametrize("line", ["Weather:", "1.", "- ", "2)"])
def test_a_heading_or_an_empty_item_is_no_topic(line, write_topics):
    """A heading above a list, and a bullet or number without a text, are errors with their line."""
    with pytest.raises(InputError) as caught:
        read_topics(write_topics(f"{PLAIN}\n{line}\n".encode(), "topics.txt"))
    assert ":2: " in caught.value.message
    assert "is not a topic" in caught.value.message
