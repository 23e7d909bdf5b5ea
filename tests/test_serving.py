"""The commands that serve a saved model, and Ollama's Modelfile."""

import re
import shlex
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from jinja2 import Environment

import tiny_models
from chat_templates import write
from doric.finetune.frozen_template import frozen
from doric.finetune.modelfile import go_template, modelfile
from doric.finetune.plain_turns import plain_turns
from doric.finetune.plan import PRESETS, Plan
from doric.finetune.serving import next_steps, served_name
from doric.quality.decontamination import held_out_prompts

PLAN = Plan(
    base="some/model", backend="trl", device="cpu", dtype="bfloat16", four_bit=False, rank=32, alpha=32, dropout=0.0,
    targets=("q_proj",), rate=2e-3, schedule="cosine", warmup=0.05, epochs=2.0, steps=10, batch=4, accumulation=1,
    length=256, packing=False, seed=7, held=8,
)  # fmt: skip
SYSTEM = {"role": "system", "content": "Spik Doric."}
CHAT = [
    {"role": "user", "content": "Fit like?"}, {"role": "assistant", "content": "Nae bad."},
    {"role": "user", "content": "Ay?"},
]  # fmt: skip


def folders(tmp_path):
    """A project, and a run whose name has a blank, with an adapter, a merged model and a GGUF file."""
    exports = tmp_path / "my first run" / "export"
    for name in ("adapter", "merged"):
        (exports / name).mkdir(parents=True)
    (exports / "adapter/chat_template.jinja").write_text(tiny_models.MISTRAL)
    return tmp_path / "project", exports


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """A function that returns the commands for a plan."""
    monkeypatch.setattr("doric.finetune.serving.write_modelfile", lambda path, gguf, adapter: path.write_text("FROM"))
    project, exports = folders(tmp_path)
    gguf = exports / "doric-q8_0.gguf"
    return lambda plan: next_steps(plan, project, exports / "adapter", exports, gguf, "My first run", "me/doric")


def test_every_command_survives_a_run_name_with_blanks(steps):
    """Paths and names are quoted: a shell splits each command into words that name existing places."""
    for where, command in steps(PLAN).items():
        words = shlex.split(command)
        assert "first" not in words, where
        for word in words:
            if "my first run" in word:
                assert Path(word.partition("=")[2] or word).exists()


@pytest.mark.parametrize(("rank", "size"), [(4, "8"), (256, "256"), (300, "320"), (512, "512")])
def test_vllm_gets_the_rank_of_the_adapter_rounded_up(steps, rank, size):
    """Each rank up to 512 gets the next size that vLLM accepts, also above 256."""
    words = shlex.split(steps(replace(PLAN, rank=rank))["vLLM, the adapter on its base model"])
    assert words[words.index("--max-lora-rank") + 1] == size


def test_adapter_with_too_high_a_rank_is_served_merged(steps):
    """A rank above 512 gives no command that fails, but says that the merged model is to be served."""
    said = steps(replace(PLAN, rank=600))
    assert said["vLLM, the adapter on its base model"].startswith("# vLLM serves adapters up to rank 512")
    assert "vllm serve" in said["vLLM, the merged model"]


def test_adapter_is_served_with_its_own_template(steps):
    """vLLM takes the adapter's chat template, because the base model's may have switches."""
    words = shlex.split(steps(PLAN)["vLLM, the adapter on its base model"])
    assert Path(words[words.index("--chat-template") + 1]).name == "chat_template.jinja"


def test_served_names_are_accepted_by_every_server():
    """A name has lower-case letters, digits and dashes, and is never empty."""
    for name in ("My first run", "Doric/2026: best", "«»", "--x--"):
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", served_name(name))


def as_jinja(template):
    """Ollama's template, which is Go's language, as a Jinja template with the same meaning."""
    opened, out = [], []
    words = {"if .System": "if system", "range .Messages": "for m in messages"}
    for part in re.split(r"(\{\{.*?\}\})", template):
        inside = part[2:-2].strip() if part.startswith("{{") else None
        if inside is None:
            out.append(part)
        elif inside in words or inside.startswith("if eq .Role"):
            word = words.get(inside) or inside.replace("if eq .Role", "if m['role'] ==")
            opened.append(word.split()[0])
            out.append(f"{{% {word} %}}")
        elif inside.startswith("else if eq .Role"):
            out.append(f"{{% {inside.replace('else if eq .Role', 'elif m["role"] ==')} %}}")
        else:
            end = f"{{% end{opened.pop()} %}}" if inside == "end" else ""
            out.append(end or {".System": "{{ system }}", ".Content": "{{ m['content'] }}"}[inside])
    assert not opened
    return Environment(keep_trailing_newline=True).from_string("".join(out))


@pytest.mark.parametrize("name", ["MISTRAL", "THINKING", "DATED", "GEMMA"])
def test_modelfile_writes_the_trained_prompts(name):
    """For every held-out prompt and a longer chat, Ollama's template writes the prompt without its start token."""
    template = frozen(getattr(tiny_models, name), date(2026, 11, 26))
    turns = plain_turns(lambda messages, *, ask: write(template, messages, ask=ask))
    ollama = as_jinja(go_template(turns, "<s>"))
    chats = [[{"role": "user", "content": one.prompt}] for one in held_out_prompts()]
    chats += [CHAT] + [[SYSTEM, *CHAT]] * (turns.system is not None)
    for chat in chats:
        own = chat[0]["content"] if chat[0]["role"] == "system" else turns.default
        said = ollama.render(system=own, messages=chat)
        assert said == write(template, chat, ask=True).removeprefix("<s>")


def test_modelfile_has_the_default_system_message():
    """The system message that a template writes by itself is in the Modelfile, because Ollama would leave it out."""
    template = frozen(tiny_models.DATED, date(2026, 11, 26))
    turns = plain_turns(lambda messages, *, ask: write(template, messages, ask=ask))
    text = modelfile("doric-q8_0.gguf", turns, "<s>")
    assert text.startswith("FROM ./doric-q8_0.gguf\nPARAMETER repeat_penalty ")
    assert 'SYSTEM """Ye are a helpfu assistant."""' in text
    assert "REQUIRES" not in text


def test_template_that_ollama_cannot_say_requires_a_version_that_reads_jinja():
    """Without a plain form, the Modelfile requires the first Ollama that uses the file's own template."""
    assert "REQUIRES 0.30.0" in modelfile("doric-q8_0.gguf", None, "<s>")
    assert "TEMPLATE" not in modelfile("doric-q8_0.gguf", None, "<s>")


def test_every_preset_has_a_rank_that_vllm_serves():
    """No preset trains an adapter that vLLM cannot serve."""
    assert all(preset.rank <= 512 for preset in PRESETS.values())
