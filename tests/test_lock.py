"""A lock on a file that is replaced while it is held."""

import pytest

from doric.core import lock
from doric.core.errors import DoricError

pytest.importorskip("fcntl")


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    """A second run is refused while the first holds the file, and may have it afterwards; no lock file stays."""
    path = tmp_path / "new" / "topics.json"
    with lock.held(path):
        with pytest.raises(DoricError, match="another run is writing this file"), lock.held(path):
            pytest.fail("two held it")
        path.write_text("replaced")
    with lock.held(path):
        pass
    assert [one.name for one in path.parent.iterdir()] == ["topics.json"]


def test_a_lock_left_by_a_killed_run_holds_nothing(tmp_path):
    """A lock file whose run is gone is no hindrance."""
    (tmp_path / ".topics.json.lock").touch()
    with lock.held(tmp_path / "topics.json"):
        pass


def test_a_lock_taken_away_while_it_was_opened_is_taken_anew(tmp_path, monkeypatch):
    """A run that gets the lock of a file that its last holder has removed takes the one that is there now."""
    path, seen = tmp_path / "topics.json", []
    there = lock._is_still_there

    def removed_once(file, beside):
        if not seen:
            beside.unlink()
        seen.append(there(file, beside))
        return seen[-1]

    monkeypatch.setattr(lock, "_is_still_there", removed_once)
    with lock.held(path):
        assert seen == [False, True]


def test_a_folder_that_cannot_be_written(tmp_path):
    """Where there is no place for the lock, the message names the file."""
    (tmp_path / "file").touch()
    with pytest.raises(DoricError, match=r"file/topics\.json"), lock.held(tmp_path / "file" / "topics.json"):
        pytest.fail("it was held")
