"""Adding topics to a topic file: after the existing topics, in the same format, and with a backup of the old file."""

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
def test_a_json_file_keeps_its_format(tmp_path, shape):
    """In each accepted format, no topic is removed or moved, not even a duplicate."""
    before, added, after = JSON[shape]
    path = tmp_path / "topics.json"
    path.write_text(json.dumps(before), "utf-8")
    TopicFile(path, path).write(added)
    assert json.loads(path.read_text("utf-8")) == after
    assert json.loads((tmp_path / "topics.json.bak").read_text("utf-8")) == before


@pytest.mark.parametrize("content", [f"{HENS}\n\n  {KALE} \n", f"\ufeff{HENS}\r\n{KALE}"])
def test_a_text_file_keeps_its_bytes(tmp_path, content):
    """The old bytes stay, and the new topics follow, one per line."""
    path = tmp_path / "topics.txt"
    path.write_bytes(content.encode())
    TopicFile(path, path).write({"general": [BEES]})
    assert path.read_bytes().startswith(content.encode())
    assert [topic.text for topic in read_topics(path)] == [HENS, KALE, BEES]


@pytest.mark.parametrize(("source", "output"), [("a.txt", "b.json"), ("a.json", "b.txt")])
def test_text_and_json_are_converted(tmp_path, source, output):
    """A text list can be expanded into JSON and back, and new topics follow the topics of their group."""
    content = f"{HENS}\n{KALE}\n" if source == "a.txt" else json.dumps({"general": [HENS, KALE]})
    (tmp_path / source).write_text(content, "utf-8")
    TopicFile(tmp_path / source, tmp_path / output).write({"general": [BEES]})
    assert by_group(read_topics(tmp_path / output)) == {"general": [HENS, KALE, BEES]}
    assert (tmp_path / source).read_text("utf-8") == content


def test_the_backup_is_the_file_before_the_run(tmp_path):
    """Several writes in one run make only one backup."""
    path = tmp_path / "topics.txt"
    path.write_text(f"{HENS}\n", "utf-8")
    file = TopicFile(path, path)
    file.write({"general": [KALE]})
    file.write({"general": [KALE, BEES]})
    assert path.read_text("utf-8") == f"{HENS}\n{KALE}\n{BEES}\n"
    assert (tmp_path / "topics.txt.bak").read_text("utf-8") == f"{HENS}\n"


def test_every_run_has_its_own_backup(tmp_path):
    """A later run never replaces the backup of an earlier one, whatever has the name of the backup."""
    path = tmp_path / "topics.txt"
    (tmp_path / "topics.txt.bak.2").mkdir()
    for topic in (HENS, KALE, BEES):
        path.write_text(f"{topic}\n", "utf-8")
        TopicFile(path, path).write({"general": ["carving spoons from birch wood"]})
    kept = {copy.name: copy.read_text("utf-8") for copy in tmp_path.glob("*.bak*") if copy.is_file()}
    assert kept == {
        "topics.txt.bak": f"{HENS}\n",
        "topics.txt.bak.3": f"{KALE}\n",
        "topics.txt.bak.4": f"{BEES}\n",
    }


def test_a_failed_start_leaves_no_folder(tmp_path):
    """If a run ends before it writes, the folder that was created for its lock is removed."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    with TopicFile(tmp_path / "in.txt", tmp_path / "new" / "deeper" / "out.txt").locked():
        assert (tmp_path / "new" / "deeper").is_dir()
    assert [one.name for one in tmp_path.iterdir()] == ["in.txt"]


def test_a_new_file_has_no_backup(tmp_path):
    """Missing folders are created, and a new file has no backup."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    TopicFile(tmp_path / "in.txt", tmp_path / "new" / "out.txt").write({"general": [KALE]})
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["out.txt"]


def test_an_output_that_cannot_be_written_is_an_error(tmp_path):
    """If the output cannot be written, the error names its path, and the source file does not change."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    with pytest.raises(InputError, match="folder"):
        TopicFile(tmp_path / "in.txt", tmp_path / "in.txt" / "out.txt").write({"general": [KALE]})
    assert (tmp_path / "in.txt").read_text("utf-8") == HENS


@pytest.mark.parametrize("name", ["wide.json", "wide.txt"])
def test_an_output_of_an_earlier_run_is_added_to(tmp_path, name):
    """If the output already has all topics of the source, the topics of earlier runs stay in their place."""
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
def test_an_output_without_the_source_topics_is_an_error(tmp_path, there):
    """If the output lacks topics of the source, nothing is written, and the hint says what to do."""
    source, output = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps({"farm": [HENS]}), "utf-8")
    output.write_text(json.dumps(there), "utf-8")
    with pytest.raises(PlanError, match=f"'{HENS}' in the group 'farm'") as caught:
        TopicFile(source, output)
    assert f"--input {output} --in-place" in caught.value.hint
    assert json.loads(output.read_text("utf-8")) == there


def test_two_runs_cannot_write_one_file(tmp_path):
    """A second run is refused during the first run, and also afterwards if it has read the old list."""
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
def test_a_concurrent_edit_is_kept(tmp_path, name):
    """An edit during the run is kept, and so are the topics found before and after the edit."""
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


def test_a_concurrent_edit_that_breaks_the_file_loses_no_topic(tmp_path):
    """The edited file stays as it is, and new topics can be saved in another file beside it."""
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


def test_an_empty_output_is_replaced(tmp_path):
    """A file of 0 bytes is replaced, because it has no content to keep."""
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
def test_a_file_that_cannot_be_written_again_is_an_error(tmp_path, case):
    """JSON that could not be written back without loss is refused when it is read."""
    content, said = ODD[case]
    path = tmp_path / "topics.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError) as caught:
        TopicFile(path, path)
    assert str(path) in caught.value.message
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert path.read_text("utf-8") == content


def test_a_concurrent_edit_with_a_duplicate_group_is_an_error(tmp_path):
    """If an edit adds a duplicate group, the run reports an error and the edited file stays as it is."""
    path = tmp_path / "topics.json"
    path.write_text('{"groups": {"a": ["one"]}}')
    file = TopicFile(path, path)
    edited = '{"groups": {"a": ["one"], "a": ["two"]}}'
    path.write_text(edited)
    with pytest.raises(PlanError, match="duplicate key 'a'"):
        file.write({"a": ["found"]})
    assert path.read_text() == edited


def test_topics_saved_aside_replace_no_file(tmp_path):
    """The second set of saved topics gets another file name."""
    path = tmp_path / "topics.json"
    path.write_text('["one"]')
    file = TopicFile(path, path)
    assert file.save_aside({"general": [BEES]}) == tmp_path / "topics.json.found"
    assert file.save_aside({"general": [KALE]}) == tmp_path / "topics.json.found.2"
    assert [topic.text for topic in read_topics(tmp_path / "topics.json.found")] == [BEES]


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path):
    """The file cannot be locked if the list cannot be written."""
    source = tmp_path / "in.json"
    source.write_text('["one"]')
    (tmp_path / "topics.json").mkdir()
    with (
        pytest.raises(InputError, match=r"topics\.json: cannot be written: it is a directory"),
        TopicFile(source, tmp_path / "topics.json").locked(),
    ):
        pytest.fail("it could not be written")


def test_a_read_only_file_is_an_error(tmp_path, monkeypatch):
    """A read-only file is refused, even if the permissions of its folder would allow replacing it."""
    path = tmp_path / "topics.json"
    path.write_text('["one"]')
    path.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda path, mode: path.stat().st_mode & 0o200 > 0)  # as for users except root
    with pytest.raises(InputError, match="permission denied"), TopicFile(path, path).locked():
        pytest.fail("it may not be written")


def test_a_text_output_of_a_grouped_list_is_added_to(tmp_path):
    """The groups of the source can be chosen, although the text file has no groups."""
    source, output = tmp_path / "in.json", tmp_path / "out.txt"
    source.write_text(json.dumps({"farm": [HENS], "garden": [KALE]}), "utf-8")
    TopicFile(source, output).write({"farm": [BEES]})
    second = TopicFile(source, output)
    assert second.resumed
    assert second.groups == {"farm": [HENS], "garden": [KALE]}
    assert second.topics == [HENS, BEES, KALE]
    second.write({"garden": ["one more"]})
    assert [topic.text for topic in read_topics(output)] == [HENS, BEES, KALE, "one more"]


def test_a_text_output_without_the_source_topics_is_an_error(tmp_path):
    """If a text file lacks a topic of the source, it does not count as an expanded copy."""
    source, output = tmp_path / "in.json", tmp_path / "out.txt"
    source.write_text(json.dumps({"farm": [HENS], "garden": [KALE]}), "utf-8")
    output.write_text(f"{HENS}\n", "utf-8")
    with pytest.raises(PlanError, match="1 of the topics"):
        TopicFile(source, output)


def test_an_empty_group_is_filled(tmp_path):
    """New topics are added to a group that is empty, or whose topics all belong to earlier groups."""
    path = tmp_path / "topics.json"
    path.write_text(json.dumps({"farm": [HENS], "cooking": [], "hens": [HENS]}), "utf-8")
    file = TopicFile(path, path)
    assert file.groups == {"farm": [HENS], "cooking": [], "hens": []}
    file.write({"cooking": [KALE], "hens": [BEES]})
    assert json.loads(path.read_text("utf-8")) == {"farm": [HENS], "cooking": [KALE], "hens": [HENS, BEES]}


def test_an_output_without_a_group_of_the_source_is_an_error(tmp_path):
    """If the output lacks a group of the source, even an empty group, the run ends with an error."""
    source, output = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(json.dumps({"cooking": []}), "utf-8")
    output.write_text(json.dumps({"farm": [HENS]}), "utf-8")
    with pytest.raises(PlanError, match=r"does not have the group 'cooking' of"):
        TopicFile(source, output)


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_the_permissions_stay(tmp_path, mode):
    """The list and its backup have the same permissions as the old list."""
    path = tmp_path / "topics.json"
    path.write_text(json.dumps([HENS]), "utf-8")
    path.chmod(mode)
    TopicFile(path, path).write({"general": [KALE]})
    assert [stat.S_IMODE(one.stat().st_mode) for one in sorted(tmp_path.iterdir())] == [mode, mode]


def test_a_pipe_is_an_error(tmp_path):
    """Only regular files are read and written, because a pipe could block the run."""
    (tmp_path / "in.txt").write_text(HENS, "utf-8")
    os.mkfifo(tmp_path / "pipe.txt")
    for source, output in (("in.txt", "pipe.txt"), ("pipe.txt", "out.txt")):
        with pytest.raises(InputError, match="not a regular file"):
            TopicFile(tmp_path / source, tmp_path / output)
