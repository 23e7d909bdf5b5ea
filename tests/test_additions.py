"""New topics in a topic file: after what is there, in the file's own shape, with the old file beside it."""

import json

import pytest

from doric.collection.additions import TopicFile
from doric.errors import InputError, PlanError
from doric.topics import grouped, read_topics

HENS, KALE, BEES = "keeping hens warm in winter", "growing kale in a cold garden", "keeping bees in a small garden"
JSON = {
    "strings": ([HENS, KALE], {"general": [BEES]}, [HENS, KALE, BEES]),
    "objects": (
        [{"topic": HENS, "group": "farm"}, {"topic": KALE, "note": "kept"}],
        {"farm": [BEES]},
        [{"topic": HENS, "group": "farm"}, {"topic": KALE, "note": "kept"}, {"topic": BEES, "group": "farm"}],
    ),
    "groups": ({"farm": [HENS], "garden": [KALE]}, {"farm": [BEES]}, {"farm": [HENS, BEES], "garden": [KALE]}),
    "groups under a key": (
        {"licence": "MIT", "groups": {"farm ": [HENS, HENS], "garden": [KALE]}},
        {"farm": [BEES]},
        {"licence": "MIT", "groups": {"farm ": [HENS, HENS, BEES], "garden": [KALE]}},
    ),
}


@pytest.mark.parametrize("shape", JSON)
def test_a_json_file_keeps_its_shape(tmp_path, shape):
    """Every accepted shape of JSON stays what it is: nothing dropped, nothing moved, not even a second copy."""
    before, added, after = JSON[shape]
    path = tmp_path / "topics.json"
    path.write_text(json.dumps(before), "utf-8")
    TopicFile(path, path).write(added)
    assert json.loads(path.read_text("utf-8")) == after
    assert json.loads((tmp_path / "topics.json.bak").read_text("utf-8")) == before


@pytest.mark.parametrize("content", [f"{HENS}\n\n  {KALE} \n", f"\ufeff{HENS}\r\n{KALE}"])
def test_a_text_file_keeps_its_bytes(tmp_path, content):
    """A text file begins with what it was, byte for byte, and goes on with one new topic a line."""
    path = tmp_path / "topics.txt"
    path.write_bytes(content.encode())
    TopicFile(path, path).write({"general": [BEES]})
    assert path.read_bytes().startswith(content.encode())
    assert [topic.text for topic in read_topics(path)] == [HENS, KALE, BEES]


@pytest.mark.parametrize(("source", "output"), [("a.txt", "b.json"), ("a.json", "b.txt")])
def test_another_kind_of_file(tmp_path, source, output):
    """Text can be widened into JSON and JSON into text, the new topics after those of their group."""
    content = f"{HENS}\n{KALE}\n" if source == "a.txt" else json.dumps({"general": [HENS, KALE]})
    (tmp_path / source).write_text(content, "utf-8")
    TopicFile(tmp_path / source, tmp_path / output).write({"general": [BEES]})
    assert grouped(read_topics(tmp_path / output)) == {"general": [HENS, KALE, BEES]}
    assert (tmp_path / source).read_text("utf-8") == content


def test_the_backup_is_of_what_was_there_first(tmp_path):
    """Written again and again, the file grows; the backup stays what stood there before the run."""
    path = tmp_path / "topics.txt"
    path.write_text(f"{HENS}\n", "utf-8")
    file = TopicFile(path, path)
    file.write({"general": [KALE]})
    file.write({"general": [KALE, BEES]})
    assert path.read_text("utf-8") == f"{HENS}\n{KALE}\n{BEES}\n"
    assert (tmp_path / "topics.txt.bak").read_text("utf-8") == f"{HENS}\n"


def test_a_new_file_has_no_backup(tmp_path):
    """Where nothing stood, nothing is kept beside it; missing folders are made."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    TopicFile(tmp_path / "in.txt", tmp_path / "new" / "out.txt").write({"general": [KALE]})
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["out.txt"]


def test_a_file_that_cannot_be_written(tmp_path):
    """Where the list cannot go, the error names the place, and the source is whole."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    with pytest.raises(InputError, match="folder"):
        TopicFile(tmp_path / "in.txt", tmp_path / "in.txt" / "out.txt").write({"general": [KALE]})
    assert (tmp_path / "in.txt").read_text("utf-8") == HENS


@pytest.mark.parametrize("name", ["wide.json", "wide.txt"])
def test_a_list_made_earlier_is_added_to(tmp_path, name):
    """Where the output holds all of the source, it is what grows: additions of an earlier run stay where they are."""
    source, output = tmp_path / "in.json", tmp_path / name
    source.write_text(json.dumps([HENS]), "utf-8")
    first = TopicFile(source, output)
    assert not first.taken_up
    first.write({"general": [KALE]})
    second = TopicFile(source, output)
    assert second.taken_up
    assert second.groups == {"general": [HENS, KALE]}
    second.write({"general": [BEES]})
    assert [topic.text for topic in read_topics(output)] == [HENS, KALE, BEES]
    assert json.loads(source.read_text("utf-8")) == [HENS]


@pytest.mark.parametrize(
    "there", [{"farm": [KALE]}, {"other": [HENS]}, [HENS]], ids=["another topic", "another group", "no group"]
)
def test_a_list_of_another_making_is_left_alone(tmp_path, there):
    """Where the output lacks a topic of the source, or has it elsewhere, nothing is written and a way out named."""
    source, output = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps({"farm": [HENS]}), "utf-8")
    output.write_text(json.dumps(there), "utf-8")
    with pytest.raises(PlanError, match=f"'{HENS}' in the group 'farm'") as caught:
        TopicFile(source, output)
    assert f"--input {output} --in-place" in caught.value.hint
    assert json.loads(output.read_text("utf-8")) == there


def test_an_empty_output_is_no_list(tmp_path):
    """A file without a byte in it holds nothing to keep."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    (tmp_path / "out.txt").touch()
    file = TopicFile(tmp_path / "in.txt", tmp_path / "out.txt")
    file.write({"general": [KALE]})
    assert [topic.text for topic in read_topics(tmp_path / "out.txt")] == [HENS, KALE]
