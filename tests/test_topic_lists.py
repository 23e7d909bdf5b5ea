"""Topic lists: every accepted format is read, and any other file gives one clear error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.errors import InputError
from doric.core.text import fold
from doric.topics.lists import Topic, read_groups, read_topics, unique_topics

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
    "# Doric",
    "| a | b |",
    "> said",
    "```",
    "<p>hens</p>",
    '{"topic": "hens"}',
    '["hens"]',
    "---",
    "- # hens",
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
