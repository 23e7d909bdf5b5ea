"""The Hugging Face Hub: what a token may do, no connection, refusals, and the commit of a dataset."""

import json
from types import SimpleNamespace

import pytest

from doric.core.errors import SettingsError
from doric.finetune import hosted, hub, record
from doric.finetune.config import Settings

pytest.importorskip("huggingface_hub", reason="needs `uv sync --group finetune`")
REPOS = ["me/doric", "me/doric-lora"]


def who(role="fineGrained", scoped=(), **more):
    """What `whoami-v2` says about a user with this token."""
    scopes = [{"entity": {"type": kind, "name": name}, "permissions": rights} for kind, name, *rights in scoped]
    token = {"role": role, "fineGrained": {"scoped": scopes, "global": [], "canReadGatedRepos": True}}
    return {"name": "me", "orgs": [{"name": "club"}], "auth": {"accessToken": token}, **more}


@pytest.mark.parametrize(
    "scoped",
    [
        [("user", "me", "repo.content.read", "repo.write")],
        [("user", "me", "repo.content.write")],
        [("model", "me/doric", "repo.write"), ("model", "me/doric-lora", "repo.write")],
    ],
    ids=["all repositories", "contents", "each by name"],
)
def test_fine_grained_token_that_may_write_is_accepted(scoped):
    """A fine-grained token may upload if it may write to all repositories of the owner, or to each by name."""
    hub.check_token(who(scoped=scoped), REPOS)


@pytest.mark.parametrize(
    "scoped",
    [
        [],
        [("user", "me", "repo.content.read", "discussion.write")],
        [("org", "club", "repo.write")],
        [("model", "me/doric", "repo.write")],
    ],
    ids=["nothing", "reads only", "another owner", "one of two"],
)
def test_fine_grained_token_that_may_not_write_is_refused_before_training(scoped):
    """A fine-grained token without write access to every repository is refused, and the hint says what to grant."""
    with pytest.raises(SettingsError, match="cannot write to the repositories of me") as caught:
        hub.check_token(who(scoped=scoped), REPOS)
    assert "settings/tokens" in caught.value.hint


def test_token_with_the_role_write_needs_no_scopes():
    """A classic token is judged by its role."""
    hub.check_token(who("write"), REPOS)
    with pytest.raises(SettingsError, match="read access only"):
        hub.check_token(who("read"), REPOS)
    with pytest.raises(SettingsError, match="cannot write to else"):
        hub.check_token(who("write"), ["else/doric"])


def answered(status):
    """The error of the Hub's client for a response with this status."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    request = httpx.Request("GET", "https://huggingface.co/api")
    return HfHubHTTPError("refused", response=httpx.Response(status, request=request))


def no_connection():
    """The error of the HTTP client without a connection."""
    import httpx

    return httpx.ConnectError("Name or service not known")


def raising(error):
    """A function that raises the error."""

    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (answered(401), "was refused: the token is invalid or has expired"),
        (answered(403), "was refused: the token is not allowed to do this"),
        (answered(500), "was refused: the Hub answered with status 500"),
        (no_connection(), "the Hub cannot be reached from here"),
        (TimeoutError("read"), "the Hub cannot be reached from here"),
    ],
    ids=["401", "403", "500", "offline", "timeout"],
)
def test_no_connection_is_told_apart_from_a_refusal(monkeypatch, error, message):
    """Before training, the check of the token says in one sentence whether the Hub refused or did not answer."""
    import huggingface_hub

    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    monkeypatch.setattr(huggingface_hub.HfApi, "whoami", raising(error))
    with pytest.raises(SettingsError, match=message) as caught:
        hub.check_hub(Settings(upload_model=True, hub_name="me/doric"))
    assert "\n" not in caught.value.message
    assert "not-a-token" not in caught.value.message + caught.value.hint


def test_refused_upload_is_one_sentence(monkeypatch, tmp_path):
    """An upload that the Hub refuses names the repository and the reason."""
    import huggingface_hub

    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", raising(answered(403)))
    with pytest.raises(SettingsError, match=r"^The upload to me/doric-lora was refused: the token is not allowed"):
        hub.push_model({"-lora": tmp_path}, {"-lora": "a card"}, "me/doric", True)


def test_other_errors_are_not_hidden():
    """Errors that do not come from the Hub are raised as they are."""
    with pytest.raises(ZeroDivisionError), hub.hub_errors("The upload"):
        raise ZeroDivisionError


def test_commit_of_the_dataset_is_kept_on_resume(monkeypatch, tmp_path):
    """A resumed run reads the dataset at the commit of its start, and one with another dataset does not."""
    import huggingface_hub

    commits = iter(["aaa", "bbb", "ccc"])
    info = lambda self, name: SimpleNamespace(sha=next(commits))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    settings = Settings(data_source="Hub", hub_dataset="me/chats")
    assert record.begin(tmp_path, settings).revision == "aaa"
    (tmp_path / "checkpoints").mkdir()
    assert record.begin(tmp_path, settings).revision == "aaa"
    assert json.loads((tmp_path / "begun.json").read_text())["revision"] == "aaa"
    assert record.begin(tmp_path, Settings(data_source="Hub", hub_dataset="me/others")).revision == "bbb"
    assert record.begin(tmp_path, Settings(data_source="Hub", hub_dataset="me/others", resume=False)).revision == "ccc"


def test_date_of_the_run_is_kept_on_resume(tmp_path):
    """A run that is resumed on another day writes the date of its start into its prompts."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "begun.json").write_text('{"day": "2026-11-26", "dataset": "", "revision": ""}')
    assert record.begin(tmp_path, Settings()).today.isoformat() == "2026-11-26"
    assert record.begin(tmp_path, Settings(resume=False)).day > "2026-11-26"


def test_dataset_without_a_connection_is_read_from_the_cache(monkeypatch, capsys):
    """If the Hub cannot be reached, the commit is unknown and this is said; a refusal is an error."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", raising(no_connection()))
    assert hub.dataset_revision("me/chats") == ""
    assert "in the cache is used" in capsys.readouterr().out
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", raising(answered(404)))
    with pytest.raises(SettingsError, match="Reading the dataset me/chats was refused: there is no such repository"):
        hub.dataset_revision("me/chats")


@pytest.fixture
def colab(monkeypatch):
    """A machine that looks like Colab: its modules are the returned object's attributes."""
    import sys

    modules = SimpleNamespace(drive=SimpleNamespace(), files=SimpleNamespace())
    monkeypatch.setattr(hosted, "ON_COLAB", True)
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace(colab=modules))
    monkeypatch.setitem(sys.modules, "google.colab", modules)
    return modules


def test_refused_drive_is_one_sentence(colab):
    """If the user closes Google's window, the error says so in one line, and how to go on without Drive."""
    colab.drive.mount = raising(ValueError("mount failed\nTraceback of Drive"))
    with pytest.raises(SettingsError, match=r"^Google Drive was not connected: mount failed\.$") as caught:
        hosted.mount_drive()
    assert "KEEP_ON_DRIVE" in caught.value.hint


def test_cancelled_upload_is_one_sentence(colab, tmp_path):
    """If no file is chosen, the error says so."""
    colab.files.upload = dict
    with pytest.raises(SettingsError, match="No file was uploaded"):
        hosted.upload_file(tmp_path)


def test_every_usable_gguf_type_is_uploaded(monkeypatch, tmp_path):
    """All GGUF types of a run are uploaded to one repository, but not a file that failed its check."""
    import huggingface_hub

    sent = []
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, repo, **more: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda self, repo, **more: SimpleNamespace(private=True))
    keep = lambda self, **more: sent.append(more["path_in_repo"])  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_file", keep)
    for name in ("doric-f16.gguf", "doric-q8_0.gguf", "do-not-use-doric-bf16.gguf"):
        (tmp_path / name).touch()
    hub.push_model({"-gguf": tmp_path / "doric-q8_0.gguf"}, {"-gguf": "a card"}, "me/doric", True)
    assert sent == ["doric-f16.gguf", "doric-q8_0.gguf", "README.md"]
