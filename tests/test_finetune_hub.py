"""Uploads to the Hub are checked before training and are private by default."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from doric.core.errors import DoricError
from doric.finetune.config import Settings
from doric.finetune.hub import check_hub, hub_token, push_dataset, push_model
from doric.finetune.model_card import LIBRARIES, model_card
from finetune_rows import sharegpt

pytestmark = pytest.mark.usefixtures("finetune_group")


def test_card_has_the_metadata_for_the_hub(plan):
    """The model card has the base model, the licence, the library and the scores."""
    card = model_card(
        replace(plan, base="Qwen/Qwen3-4B-Instruct-2507"),
        {"data": "3 chats"},
        [("substrate", 0.01, 0.3)],
        ("Ay?", "Aye."),
    )
    head = card.split("---")[1]
    assert "base_model: Qwen/Qwen3-4B-Instruct-2507" in head
    assert "license: apache-2.0" in head
    assert "library_name: peft" in head
    assert "| substrate | 1.0% | 30.0% |" in card
    merged = model_card(plan, {}, [], ("Ay?", "Aye."), LIBRARIES[""])
    assert "library_name: transformers" in merged


def test_card_names_a_dataset_of_the_hub(plan):
    """A dataset of the Hub is in the metadata of the card; a local file has no name there."""
    facts = {"data": "3 chats (core) from the Hub dataset me/doric-chats at 0123456789ab"}
    assert "\ndatasets: [me/doric-chats]\n" in model_card(plan, facts, [], ("Ay?", "Aye."))
    assert "datasets:" not in model_card(plan, {"data": "3 chats from doric.jsonl"}, [], ("Ay?", "Aye."))


def test_model_is_pushed_private(monkeypatch, tmp_path, capsys):
    """Every repository is created with an explicit private flag, and its visibility is printed."""
    import huggingface_hub

    made = []
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    create = lambda self, repo, **more: made.append((repo, more["private"]))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    sent = []
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", lambda self, **more: sent.append(more["repo_id"]))
    file = lambda self, **more: sent.append((more["repo_id"], more["path_in_repo"]))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_file", file)
    private = {"me/doric-lora": True, "me/doric": True, "me/doric-gguf": True}
    info = lambda self, repo, **more: SimpleNamespace(private=private[repo])  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", info)
    (tmp_path / "doric-q8_0.gguf").touch()
    saved = {"-lora": tmp_path, "": tmp_path, "-gguf": tmp_path / "doric-q8_0.gguf"}
    cards = dict.fromkeys(saved, "a card")
    push_model(saved, cards, "me/doric", True)
    assert made == [("me/doric-lora", True), ("me/doric", True), ("me/doric-gguf", True)]
    assert capsys.readouterr().out.count("(private)") == 3
    assert ("me/doric-gguf", "doric-q8_0.gguf") in sent
    sent.clear()
    private["me/doric"] = False
    with pytest.raises(DoricError, match="me/doric is public"):
        push_model({"": tmp_path}, cards, "me/doric", True)
    assert sent == []


def test_dataset_is_pushed_private_and_with_a_card(monkeypatch, capsys):
    """The upload always sets the private flag and prints whether the repository is private."""
    import datasets
    import huggingface_hub

    calls = {}
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    push = lambda self, name, **more: calls.update(data=(name, more["private"]))  # noqa: E731
    monkeypatch.setattr(datasets.Dataset, "push_to_hub", push)
    card = lambda self, name, **more: calls.update(card=str(self))  # noqa: E731
    monkeypatch.setattr(huggingface_hub.DatasetCard, "push_to_hub", card)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, name, **more: None)
    info = lambda self, name, **more: SimpleNamespace(private=True)  # noqa: E731
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", info)
    push_dataset([sharegpt(("human", "a"), ("gpt", "b"))], "me/chats", True, "a test")
    assert calls["data"] == ("me/chats", True)
    assert "language:\n- sco" in calls["card"]
    assert "(private)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("your-name/doric", "HUB_NAME is"),
        ("no slash", "HUB_NAME is"),
        ("else/doric", "cannot write to else"),
        ("me/reads", "has read access only"),
        ("me/seen", "me/seen-chats is public"),
    ],
    ids=["not chosen", "no name", "another's", "token that reads", "public already"],
)
def test_upload_that_would_fail_is_refused_before_training(monkeypatch, name, message):
    """If an upload is ticked, name, token and visibility are checked before training."""
    import huggingface_hub

    role = "read" if "reads" in name else "write"
    who = {"name": "me", "orgs": [{"name": "club"}], "auth": {"accessToken": {"role": role}}}
    monkeypatch.setenv("HF_TOKEN", "not-a-token")
    monkeypatch.setattr(huggingface_hub.HfApi, "whoami", lambda self: who)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_exists", lambda self, repo, **more: "seen-chats" in repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda self, repo, **more: SimpleNamespace(private=False))
    ticked = Settings(upload_model=True, upload_dataset=True)
    with pytest.raises(DoricError, match=message):
        check_hub(replace(ticked, hub_name=name))
    if role == "write":
        check_hub(replace(ticked, hub_name="club/doric"))


def test_upload_without_a_token_gives_a_clear_error(monkeypatch):
    """If an upload has no token, the error says where to set the token."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(DoricError, match="no Hugging Face token"):
        hub_token()
