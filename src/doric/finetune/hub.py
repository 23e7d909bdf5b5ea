"""The Hugging Face Hub: checks before an upload, and the uploads themselves. Repositories are private by default."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any

from doric.core.errors import SettingsError
from doric.finetune.hosted import colab_secret

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from huggingface_hub import HfApi

    from doric.finetune.config import Settings

WRITE_HINT = "Create one with write access and set HF_TOKEN to it."
WRITES = ("repo.write", "repo.content.write")
"""The permissions of a fine-grained token that allow an upload; only the first allows a new repository."""
REFUSALS = {
    401: ("the token is invalid or has expired", "Create a token with write access and set HF_TOKEN to it."),
    403: ("the token is not allowed to do this", "Use a token with write access to this owner's repositories."),
    404: ("there is no such repository, or the token cannot see it", "Check the name and the token."),
    409: ("it is being changed at the same time", "Wait a minute, then run this cell again."),
    413: ("it is too large", "Upload only the adapter, or a smaller GGUF type."),
    429: ("too many requests", "Wait a minute, then run this cell again."),
}
"""HTTP status -> what the Hub means by it, and what to do."""


def hub_token() -> str:
    """The Hugging Face token from HF_TOKEN or from Colab's secrets. Raises `SettingsError` if there is none."""
    if token := os.environ.get("HF_TOKEN") or colab_secret("HF_TOKEN"):
        return token
    hint = "Set HF_TOKEN (on Colab: under the key symbol), or untick the upload."
    raise SettingsError("There is no Hugging Face token.", hint=hint)


@contextlib.contextmanager
def hub_errors(doing: str) -> Generator[None]:
    """Turn errors of the Hub's client into one sentence: refused by the Hub, or not reached.

    `doing` is a phrase such as "The upload to me/doric". Raises `SettingsError`; what was uploaded before stays.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        default = (f"the Hub answered with status {status}", "Try it again later: see https://status.huggingface.co.")
        reason, hint = REFUSALS.get(status, default)
        raise SettingsError(f"{doing} was refused: {reason}.", hint=hint) from error
    except Exception as error:
        if not is_offline(error):
            raise
        offline = isinstance(error, OfflineModeIsEnabled)
        hint = "Unset HF_HUB_OFFLINE." if offline else "Check the connection, then run this cell again."
        raise SettingsError(f"{doing} failed: the Hub cannot be reached from here.", hint=hint) from error


def is_offline(error: Exception) -> bool:
    """Whether the Hub gave no answer. The Hub's client changes its HTTP library, so the class is known by its name."""
    lost = any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
    return lost or isinstance(error, (ConnectionError, TimeoutError))


def check_hub(settings: Settings) -> None:
    """Raise `SettingsError`, before any work, if a ticked upload would fail or would be public by mistake.

    Nothing is asked of the Hub if no upload is ticked.
    """
    if not (settings.upload_model or settings.upload_dataset):
        return
    from huggingface_hub import HfApi

    check_name(settings.hub_name)
    api = HfApi(token=hub_token())
    kinds = [("model", suffix) for suffix in ("", "-lora", "-gguf") if settings.upload_model]
    wanted = [(kind, settings.hub_name + suffix) for kind, suffix in kinds]
    wanted += [("dataset", f"{settings.hub_name}-chats")] * settings.upload_dataset
    with hub_errors("The check of the Hugging Face token"):
        who = api.whoami()
        check_token(who, [repo for _, repo in wanted])
        for kind, repo in wanted:
            if settings.hub_private and api.repo_exists(repo, repo_type=kind):
                check_private(api, repo, kind)


def check_name(name: str) -> None:
    """Raise `SettingsError` unless `name` is a user or organisation, a slash and a name."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]{0,80}", name) or name.startswith("your-name/"):
        hint = "Use your user name on the Hub, a slash and a name for the model."
        raise SettingsError(f"HUB_NAME is {name!r}.", hint=hint)


def check_token(who: Mapping[str, Any], repos: Sequence[str]) -> None:
    """Raise `SettingsError` unless the token may write to these repositories, which all have the same owner.

    `who` is the answer of the Hub's `whoami-v2`: the user, the organisations, and what the token may do.
    """
    owner = repos[0].partition("/")[0]
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise SettingsError("The Hugging Face token has read access only.", hint=WRITE_HINT)
    if owner not in (mine := [who["name"], *(each["name"] for each in who.get("orgs", []))]):
        raise SettingsError(
            f"This token cannot write to {owner}.", hint=f"Start HUB_NAME with one of {', '.join(mine)}."
        )
    if token.get("role") == "fineGrained" and not may_write(token.get("fineGrained") or {}, repos):
        raise SettingsError(
            f"The fine-grained Hugging Face token cannot write to the repositories of {owner}.",
            hint="On https://huggingface.co/settings/tokens, give it write access to the contents and settings of all "
            f"repositories of {owner}, or use a token with the role write.",
        )


def may_write(rights: Mapping[str, Any], repos: Sequence[str]) -> bool:
    """Whether a fine-grained token may write to all these repositories: to their owner's, or to each by name."""
    allowed = {
        scope.get("entity", {}).get("name", "")
        for scope in rights.get("scoped") or []
        if any(right in WRITES for right in scope.get("permissions") or [])
    }
    return all(repo in allowed or repo.partition("/")[0] in allowed for repo in repos)


def check_private(api: HfApi, repo: str, kind: str) -> None:
    """Raise `SettingsError` if a repository that should be private is public: it may exist since an earlier run."""
    if not api.repo_info(repo, repo_type=kind).private:
        raise SettingsError(
            f"The {kind} repository {repo} is public, but HUB_PRIVATE is ticked.",
            hint="Make it private in its settings on the Hub, choose another HUB_NAME, or untick HUB_PRIVATE.",
        )


def dataset_revision(name: str) -> str:
    """The commit that a dataset on the Hub has now; "" if the Hub cannot be reached: then the cache is used.

    Raises `SettingsError` if the Hub refuses: there is no such dataset, or the token cannot see it.
    """
    from huggingface_hub import HfApi

    token = os.environ.get("HF_TOKEN") or colab_secret("HF_TOKEN")
    with hub_errors(f"Reading the dataset {name}"):
        try:
            return HfApi(token=token or None).dataset_info(name).sha or ""
        except Exception as error:
            if not is_offline(error):
                raise
    print(f"The Hub cannot be reached: the copy of {name} in the cache is used, and its commit is unknown.")
    return ""


def load_rows(name: str, revision: str = "") -> list[dict[str, Any]]:
    """The rows of a dataset on the Hub, at this commit (default: the newest). Raises `SettingsError`."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    with hub_errors(f"Reading the dataset {name}"):
        try:
            return [dict(row) for row in load_dataset(name, split="train", revision=revision or None)]
        except DatasetNotFoundError as error:
            hint = "Check HUB_DATASET; a private dataset needs HF_TOKEN."
            raise SettingsError(f"There is no dataset {name} on the Hub.", hint=hint) from error


def push_dataset(rows: Sequence[dict[str, Any]], name: str, private: bool, source: str) -> None:
    """Upload the rows and a dataset card to the Hub; print the address and whether it is private.

    Raises `SettingsError` if the Hub refuses it or cannot be reached.
    """
    from datasets import Dataset
    from huggingface_hub import DatasetCard, HfApi

    token = hub_token()
    api = HfApi(token=token)
    with hub_errors(f"The upload to {name}"):
        api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        if private:  # an existing repository keeps its visibility
            check_private(api, name, "dataset")
        Dataset.from_list(list(rows)).push_to_hub(name, private=private, token=token)
        DatasetCard(dataset_card(len(rows), source)).push_to_hub(name, token=token)
        print(f"https://huggingface.co/datasets/{name} ({_visibility(api, name, 'dataset')})")


def dataset_card(rows: int, source: str) -> str:
    """The README of an uploaded dataset, with the metadata that the Hub reads."""
    return (
        "---\nlanguage: [sco]\ntags: [doric, scots, synthetic, sharegpt]\ntask_categories: [text-generation]\n---\n"
        f"# Doric chats\n\n{rows:,} chats in the Doric of North-East Scotland, from {source}.\n"
        "Generated by a program: check them before you rely on them.\n\n"
        "`conversations` is ShareGPT; `meta` has topic, group, bucket, language and scores.\n"
    )


def push_model(saved: Mapping[str, Path], cards: Mapping[str, str], name: str, private: bool) -> None:
    """Upload each folder or file with its card to its own repository; print its address and whether it is private.

    The keys of `saved` and `cards` are the suffixes of the repositories' names. Usable GGUF types beside a GGUF file
    are uploaded too. Raises `SettingsError` if the Hub refuses an upload or cannot be reached; those before it stay.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=hub_token())
    for suffix, place in saved.items():
        repo = f"{name}{suffix}"
        with hub_errors(f"The upload to {repo}"):
            api.create_repo(repo, private=private, exist_ok=True)
            if private:  # an existing repository keeps its visibility
                check_private(api, repo, "model")
            _upload(api, repo, place, cards[suffix])
            print(f"https://huggingface.co/{repo} ({_visibility(api, repo, 'model')})")


def _upload(api: HfApi, repo: str, place: Path, card: str) -> None:
    if place.is_file():
        for file in sorted({place, *place.parent.glob("doric-*.gguf")}):  # files that failed have another name
            api.upload_file(repo_id=repo, path_or_fileobj=str(file), path_in_repo=file.name)
    else:
        api.upload_folder(repo_id=repo, folder_path=str(place))
    api.upload_file(repo_id=repo, path_or_fileobj=card.encode(), path_in_repo="README.md")


def _visibility(api: HfApi, repo: str, kind: str) -> str:
    return "private" if api.repo_info(repo, repo_type=kind).private else "PUBLIC"
