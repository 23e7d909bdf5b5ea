"""New topics in a topic file: after what is there, in the file's own shape, with the old file beside it."""

import json
import os
import stat

import pytest

from doric.core.errors import DoricError, InputError, PlanError
from doric.topics.lists import UNGROUPED, TopicFile, by_group, read_topics

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
    assert by_group(read_topics(tmp_path / output)) == {"general": [HENS, KALE, BEES]}
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
    assert not first.resumed
    first.write({"general": [KALE]})
    second = TopicFile(source, output)
    assert second.resumed
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


def test_two_runs_on_one_file(tmp_path):
    """While one run holds a list, another is refused; after it, one that had read the list before is refused too."""
    path = tmp_path / "topics.json"
    path.write_text('{"groups": {"a": ["one two three four five"], "b": ["one two three four six"]}}')
    first, second = TopicFile(path, path), TopicFile(path, path)
    with first.locked():
        with pytest.raises(DoricError, match="another run is writing this file"), second.locked():
            pytest.fail("two held it")
        first.write({"a": ["found by the first run of two"]})
    with pytest.raises(PlanError, match="has just been changed"), second.locked():
        pytest.fail("it had read another list")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["topics.json", "topics.json.bak"]


@pytest.mark.parametrize("name", ["topics.json", "topics.txt"])
def test_what_somebody_writes_meanwhile_stays(tmp_path, name):
    """A list that is edited while a run adds to it keeps the edit, and what was found before and after it."""
    path = tmp_path / name
    lists = {"topics.json": ['{"groups": {"a": ["one"]}}', '{"groups": {"a": ["one", "two"], "c": ["three"]}}']}
    before, edited = lists.get(name, ["one\n", "one\ntwo\nthree\n"])
    group = "a" if name == "topics.json" else UNGROUPED
    path.write_text(before)
    file = TopicFile(path, path)
    with file.locked():
        file.write({group: ["found first"]})
        path.write_text(edited)
        file.write({group: ["found first", "found second"]})
        file.write({group: ["found first", "found second", "found third"]})
    assert sorted(topic.text for topic in read_topics(path)) == sorted(
        ["one", "two", "three", "found first", "found second", "found third"]
    )


def test_what_was_found_outlives_a_broken_edit(tmp_path):
    """A list that somebody breaks meanwhile is left as it is, and what was found can be kept beside it."""
    path = tmp_path / "topics.json"
    path.write_text('{"groups": {"a": ["one"]}}')
    file = TopicFile(path, path)
    file.write({"a": ["found first"]})
    path.write_text("{")
    with pytest.raises(PlanError, match="changed during this run") as caught:
        file.write({"a": ["found first", "found second"]})
    assert "Correct the file" in caught.value.hint
    assert file.save_aside({"a": ["found second"]}) == tmp_path / "topics.json.found"
    assert path.read_text() == "{"
    assert (tmp_path / "topics.json.found").read_text() == "found second\n"


def test_an_empty_output_is_no_list(tmp_path):
    """A file without a byte in it holds nothing to keep."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    (tmp_path / "out.txt").touch()
    file = TopicFile(tmp_path / "in.txt", tmp_path / "out.txt")
    file.write({"general": [KALE]})
    assert [topic.text for topic in read_topics(tmp_path / "out.txt")] == [HENS, KALE]


ODD = {
    "a key twice": ('{"note": 1, "note": 2, "groups": {"a": ["one"]}}', "duplicate key 'note'"),
    "a number without end": (f'{{"note": {"1" * 5_000}, "groups": {{"a": ["one"]}}}}', "a number of 5,000 digits"),
    "half a character": ('{"note": "\\ud800", "groups": {"a": ["one"]}}', "contains half a character"),
    "half a character in a key": ('{"\\udc00": 1, "groups": {"a": ["one"]}}', "contains half a character"),
    "a deep nest": (f'{{"note": {"[" * 100_000}{"]" * 100_000}, "a": ["one"]}}', "nested too deep"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_could_not_be_written_again_is_refused_at_once(tmp_path, case):
    """A file that would lose something when it is written again is refused as it is read, in one line."""
    content, said = ODD[case]
    path = tmp_path / "topics.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError) as caught:
        TopicFile(path, path)
    assert str(path) in caught.value.message
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert path.read_text("utf-8") == content


def test_an_edit_that_names_a_group_twice_loses_nothing(tmp_path):
    """A group that somebody's edit gives twice is not made one: the edit stays as it is."""
    path = tmp_path / "topics.json"
    path.write_text('{"groups": {"a": ["one"]}}')
    file = TopicFile(path, path)
    edited = '{"groups": {"a": ["one"], "a": ["two"]}}'
    path.write_text(edited)
    with pytest.raises(PlanError, match="duplicate key 'a'"):
        file.write({"a": ["found"]})
    assert path.read_text() == edited


def test_what_is_kept_beside_the_file_replaces_nothing(tmp_path):
    """Topics that were saved by an earlier run stay: a second lot gets a name of its own."""
    path = tmp_path / "topics.json"
    path.write_text('["one"]')
    file = TopicFile(path, path)
    assert file.save_aside({"general": [BEES]}) == tmp_path / "topics.json.found"
    assert file.save_aside({"general": [KALE]}) == tmp_path / "topics.json.found.2"
    assert [topic.text for topic in read_topics(tmp_path / "topics.json.found")] == [BEES]


@pytest.mark.parametrize("name", ["topics.json", "topics.json.bak"])
def test_a_folder_in_the_way_is_seen_before_anything_is_asked(tmp_path, name):
    """Where the list or its backup could not be written, holding the file fails, in one line."""
    source = tmp_path / "in.json"
    source.write_text('["one"]')
    (tmp_path / name).mkdir()
    with (
        pytest.raises(InputError, match=f"{name}: cannot be written: it is a directory"),
        TopicFile(source, tmp_path / "topics.json").locked(),
    ):
        pytest.fail("it could not be written")


def test_a_file_that_its_owner_made_read_only_is_left_alone(tmp_path, monkeypatch):
    """A list without the right to be written is refused, though its folder would let it be replaced."""
    path = tmp_path / "topics.json"
    path.write_text('["one"]')
    path.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda path, mode: path.stat().st_mode & 0o200 > 0)  # what it tells all but root
    with pytest.raises(InputError, match="permission denied"), TopicFile(path, path).locked():
        pytest.fail("it may not be written")


def test_a_grouped_list_made_into_text_is_added_to(tmp_path):
    """A text file has no groups: made earlier of a grouped list it is taken up, and the list's groups may be chosen."""
    source, output = tmp_path / "in.json", tmp_path / "out.txt"
    source.write_text(json.dumps({"farm": [HENS], "garden": [KALE]}), "utf-8")
    TopicFile(source, output).write({"farm": [BEES]})
    second = TopicFile(source, output)
    assert second.resumed
    assert second.groups == {"farm": [HENS], "garden": [KALE]}
    assert second.topics == [HENS, BEES, KALE]
    second.write({"garden": ["one more"]})
    assert [topic.text for topic in read_topics(output)] == [HENS, BEES, KALE, "one more"]


def test_a_text_of_another_making_is_left_alone(tmp_path):
    """A text file that lacks a topic of a grouped list is no widened copy of it."""
    source, output = tmp_path / "in.json", tmp_path / "out.txt"
    source.write_text(json.dumps({"farm": [HENS], "garden": [KALE]}), "utf-8")
    output.write_text(f"{HENS}\n", "utf-8")
    with pytest.raises(PlanError, match="1 of the topics"):
        TopicFile(source, output)


def test_an_empty_group_is_filled(tmp_path):
    """A group without topics is there to be widened, and so is one whose topics all stand in an earlier one."""
    path = tmp_path / "topics.json"
    path.write_text(json.dumps({"farm": [HENS], "cooking": [], "hens": [HENS]}), "utf-8")
    file = TopicFile(path, path)
    assert file.groups == {"farm": [HENS], "cooking": [], "hens": []}
    file.write({"cooking": [KALE], "hens": [BEES]})
    assert json.loads(path.read_text("utf-8")) == {"farm": [HENS], "cooking": [KALE], "hens": [HENS, BEES]}


def test_an_output_without_a_group_is_of_another_making(tmp_path):
    """An output that lacks a group of the source, be it an empty one, is left alone."""
    source, output = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps({"cooking": []}), "utf-8")
    output.write_text(json.dumps({"farm": [HENS]}), "utf-8")
    with pytest.raises(PlanError, match=r"does not have the group 'cooking' of"):
        TopicFile(source, output)


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_who_may_read_the_list_stays(tmp_path, mode):
    """The list and its backup can be read by those who could read the list before."""
    path = tmp_path / "topics.json"
    path.write_text(json.dumps([HENS]), "utf-8")
    path.chmod(mode)
    TopicFile(path, path).write({"general": [KALE]})
    assert [stat.S_IMODE(one.stat().st_mode) for one in sorted(tmp_path.iterdir())] == [mode, mode]


def test_a_pipe_is_no_topic_file(tmp_path):
    """What can be read but once, or written but once, is refused and not waited for."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    os.mkfifo(tmp_path / "pipe.txt")
    for source, output in (("in.txt", "pipe.txt"), ("pipe.txt", "out.txt")):
        with pytest.raises(InputError, match="not a regular file"):
            TopicFile(tmp_path / source, tmp_path / output)
