"""The order of the files; hypothesis without deadlines; fixtures: both JSON codecs, small models, a plan and rows."""

import functools
import gc
import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import mock_server
from doric.core import files
from doric.finetune.chat_template import end_ids
from doric.finetune.config import Settings
from doric.finetune.foreign_types import Model, Tokenizer
from doric.finetune.hardware import Machine
from doric.finetune.plan import Plan
from doric.finetune.settle import settle
from doric.topics.lists import read_topics
from scripts import load_script

# a shell starts background jobs with Ctrl-C ignored, and nohup ignores SIGHUP: child processes inherit these settings
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGHUP", "SIGQUIT"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_DFL)

settings.register_profile("patient", deadline=None)  # slow machines must not fail tests
settings.load_profile("patient")

NOTEBOOKS = Path(__file__).parents[1] / "finetune_notebook"


LONGEST = ("run_notebook", "generate_doric_dataset", "doors", "lint", "teacher_doric", "swap", "chat_keyboard")
LONGEST += ("review_apply", "finetune_command", "chat_cli", "readme", "check_doric", "vllm_doric")
"""The files that take longest, from about 100 s to 20 s."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first: with two processes, neither waits long for the other at the end."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish() -> None:
    """The garbage collector leaves out nine thousand tests and PyTorch, which stay: else a full round takes 0.5 s."""
    gc.freeze()


@pytest.fixture(autouse=True)
def first_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of the mock servers of a test do not depend on the tests before it."""
    monkeypatch.setattr(mock_server, "servers", itertools.count())


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
    Path("topics.txt").write_text("\n".join(spread_topics()), "utf-8")
    return tmp_path


@functools.cache
def spread_topics() -> tuple[str, ...]:
    """Ten topics of the project's list, from its beginning to its end."""
    return tuple(topic.text for topic in read_topics(NOTEBOOKS.parent / "topics.json"))[::50][:10]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A folder with SmolLM2-135M-Instruct. It is created once and cached outside the repository."""
    maker = load_script(NOTEBOOKS / "smollm2_checkpoint.py")
    if not (maker.cached_checkpoint() / "config.json").is_file():
        pytest.importorskip("transformers", reason="the checkpoint is made with `uv sync --group finetune`")
    return maker.make_checkpoint()


@pytest.fixture(scope="session")
def shallow_smollm2(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first four of SmolLM2's thirty layers: its tokenizer and template, a quarter of its time."""
    transformers = pytest.importorskip("transformers", reason="fine-tuning needs `uv sync --group finetune`")
    folder = tmp_path_factory.mktemp("shallow") / "SmolLM2-shallow"
    transformers.AutoModelForCausalLM.from_pretrained(smollm2, num_hidden_layers=4).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(smollm2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def finetune_group() -> None:
    """Skips a test if the packages for fine-tuning are not installed."""
    pytest.importorskip("trl", reason="fine-tuning needs `uv sync --group finetune`")


@pytest.fixture(scope="module")
def one_thread(finetune_group: None) -> Iterator[None]:
    """PyTorch has one thread: for a tiny model, waiting for a second one takes twice the CPU time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer(finetune_group: None, smollm2: Path) -> Tokenizer:
    """The tokenizer of SmolLM2."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture(scope="session")
def ends(tokenizer: Tokenizer, smollm2: Path) -> list[int]:
    """The tokens that end an answer of SmolLM2."""
    return end_ids(tokenizer, str(smollm2))


@pytest.fixture
def tiny(finetune_group: None) -> Model:
    """A Llama with two small layers, random weights and SmolLM2's vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**shape, vocab_size=49152, initializer_range=0.2, pad_token_id=0))


@pytest.fixture
def plan() -> Plan:
    """A plan for a CPU with the default settings."""
    machine = Machine("cpu", "CPU", 16.0, 2, "bfloat16", "CPU")
    return settle(Settings(base_model="some/model"), machine, "trl")
