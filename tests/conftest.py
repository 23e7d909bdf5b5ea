"""Disables hypothesis deadlines. Defines shared fixtures: both JSON codecs, a small real model, and the notebook."""

import importlib.util
import json
import linecache
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from doric.core import files
from doric.topics.lists import read_topics

# a shell starts background jobs with Ctrl-C ignored, and child processes inherit this setting
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("patient", deadline=None)  # slow machines must not fail tests
settings.load_profile("patient")

NOTEBOOKS = Path(__file__).parents[1] / "finetune_notebook"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the two files that train first: with two processes, neither of them waits for the other at the end."""
    items.sort(key=lambda item: "notebook" not in item.path.name)


@pytest.fixture(params=["orjson", "plain"])
def either_codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each test that uses it twice: with orjson and without it."""
    if request.param == "plain":
        monkeypatch.setattr(files, "orjson", None)
    else:
        pytest.importorskip("orjson")


@pytest.fixture
def ten_topics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: it has a list of ten topics, topics.txt. No key, URL or model is set."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    topics = [topic.text for topic in read_topics(NOTEBOOKS.parent / "topics.json")][::50][:10]
    Path("topics.txt").write_text("\n".join(topics), "utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A folder with SmolLM2-135M-Instruct. It is created once and cached outside the repository."""
    spec = importlib.util.spec_from_file_location("smollm2_checkpoint", NOTEBOOKS / "smollm2_checkpoint.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    if not (maker.cached_checkpoint() / "config.json").is_file():
        pytest.importorskip("transformers", reason="the checkpoint is made with `uv sync --group finetune`")
    return maker.make_checkpoint()


@pytest.fixture(scope="session")
def notebook() -> ModuleType:
    """The functions of the notebook as a module."""
    pytest.importorskip("trl", reason="the notebook needs `uv sync --group finetune`")
    return notebook_functions()


def notebook_functions() -> ModuleType:
    """A module that contains only the notebook's cells with the tag `functions`. Those cells have been run."""
    module = ModuleType("doric_finetune_functions")
    sys.modules[module.__name__] = module
    for cell in json.loads((NOTEBOOKS / "doric_finetune.ipynb").read_text("utf-8"))["cells"]:
        if "functions" in cell["metadata"].get("tags", []):
            name, source = f"<{cell['id']}>", "".join(cell["source"])
            linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
            exec(compile(source, name, "exec"), module.__dict__)
    return module
