"""A lock on a file that is replaced while it is held."""

import pytest

from doric.core.errors import DoricError
from doric.core.files import locked

pytest.importorskip("fcntl")


def test_one_at_a_time_and_nothing_is_left(tmp_path):
    """A second run is refused while the first holds the file, and may have it afterwards; no lock file stays."""
    path = tmp_path / "new" / "topics.json"
    with locked(path):
        with pytest.raises(DoricError, match="another run is writing this file"), locked(path):
            pytest.fail("two held it")
        path.write_text("replaced")
    with locked(path):
        pass
    assert [one.name for one in path.parent.iterdir()] == ["topics.json"]


def test_a_lock_left_by_a_killed_run_holds_nothing(tmp_path):
    """A lock file whose run is gone is no hindrance."""
    (tmp_path / ".topics.json.lock").touch()
    with locked(tmp_path / "topics.json"):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    """Where there is no place for the lock, the message names the file."""
    (tmp_path / "file").touch()
    with pytest.raises(DoricError, match=r"file/topics\.json"), locked(tmp_path / "file" / "topics.json"):
        pytest.fail("it was held")
