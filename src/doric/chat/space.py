"""The folder of a Hugging Face Space with the chat page. It contains no key: keys are secrets of the Space."""

import shutil
from importlib.metadata import requires, version
from pathlib import Path

import doric
from doric.core.errors import InputError, os_error
from doric.core.files import atomic_write

PARTS = ("chat", "core", "llm", "data")
"""The packages that the page needs."""
README = """---
title: Chat in Doric
emoji: 💬
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
pinned: false
---

A chat with a model that answers in Doric. Set these secrets in the settings of the Space:

- `VLLM_URL`: the address of the model
- `VLLM_API_KEY`: its key; for a model on Modal also `MODAL_KEY` and `MODAL_SECRET`
- `DORIC_PAGE_PASSWORD`: a password, if only people you have told it to may use the page (user: doric)

With persistent storage at /data, judgements are kept there; without it, they are lost when the Space restarts.
"""
APP = '''"""The chat page as a Hugging Face Space."""

import os
from pathlib import Path

from doric.chat import page
from doric.chat.judgements import Judgements
from doric.chat.server import Address, Server

data = Path("/data") if os.access("/data", os.W_OK) else Path("reviews")
server = Server(Address.from_env(os.environ), wait=None, wanted=os.environ.get("VLLM_MODEL", ""))
demo = page.build(page.Page(server, Judgements(data / "reviews", data / "gold.jsonl")))
password = os.environ.get("DORIC_PAGE_PASSWORD")
demo.launch(auth=("doric", password) if password else None, **page.LAUNCH)
'''


def write_space(folder: Path) -> None:
    """Write app.py, requirements.txt, README.md and the modules into a new or empty folder. Raises `InputError`."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError("the folder exists and is not empty", file=folder, hint="Choose another folder.")
        source = Path(doric.__file__).parent
        (folder / "doric").mkdir(parents=True)
        shutil.copy(source / "__init__.py", folder / "doric")
        for part in PARTS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source / part, folder / "doric" / part, ignore=ignored)
    except OSError as error:
        raise os_error(error, folder, "written") from error
    needed = [line for line in requires("doric") or [] if "extra ==" not in line]
    texts = {"app.py": APP, "requirements.txt": "\n".join(needed) + "\n", "README.md": README.format(gradio=gradio())}
    for name, text in texts.items():
        atomic_write(folder / name, text.encode())


def gradio() -> str:
    """The installed version of Gradio. Raises `InputError` if there is none."""
    try:
        return version("gradio")
    except ModuleNotFoundError as error:
        raise InputError("gradio is not installed", hint="uv run --group page python modal/chat_page.py") from error
