"""The chat template without switches, and its form for Ollama."""

from datetime import date
from types import SimpleNamespace

import pytest

import tiny_models
from chat_templates import write
from doric.core.errors import CheckError
from doric.finetune.frozen_template import freeze, frozen, is_frozen
from doric.finetune.plain_turns import plain_turns
from doric.quality.decontamination import held_out_prompts

DAY = date(2026, 11, 26)
CHAT = [{"role": "user", "content": "Fit’s on at 7.30?"}, {"role": "assistant", "content": "Naething."}]
TEMPLATES = {name: getattr(tiny_models, name) for name in ("MISTRAL", "THINKING", "DATED", "GEMMA")}


@pytest.mark.parametrize("name", TEMPLATES)
def test_frozen_template_writes_the_trained_prompts_without_switches_and_on_any_day(name):
    """For every held-out prompt, the frozen template without switches writes on another day what was trained."""
    template = TEMPLATES[name]
    fixed = frozen(template, DAY)
    assert is_frozen(fixed)
    for one in held_out_prompts():
        chat = [{"role": "user", "content": one.prompt}]
        trained = write(template, chat, ask=True, today="26 Nov 2026", enable_thinking=False)
        assert write(fixed, chat, ask=True, today="31 Dec 2030") == trained
        assert write(fixed, chat, ask=True, enable_thinking=True) == trained
    assert write(fixed, CHAT) == write(template, CHAT, today="26 Nov 2026", enable_thinking=False)


def test_template_without_switches_is_not_changed():
    """A template that asks for nothing stays as it is, character by character."""
    assert frozen(tiny_models.MISTRAL, DAY) == tiny_models.MISTRAL


def test_space_at_the_start_of_a_template_is_kept():
    """A switch that is set first does not take away the line break or the spaces with which a template starts."""
    template = "\n  {{ messages[0]['content'] }}{% if enable_thinking %}<think>{% endif %}"
    assert write(frozen(template, DAY), CHAT) == write(template, CHAT)


def test_date_that_cannot_be_fixed_stops_the_run():
    """A template that computes the format of the date is refused before training."""
    with pytest.raises(CheckError, match="every day"):
        frozen("{{ strftime_now(form) }}", DAY)


def test_every_template_of_a_tokenizer_is_frozen_once():
    """If a tokenizer has several templates, all of them are frozen, and freezing again changes nothing."""
    tokenizer = SimpleNamespace(chat_template={"default": tiny_models.DATED, "tool_use": tiny_models.THINKING})
    freeze(tokenizer, DAY)
    first = dict(tokenizer.chat_template)
    freeze(tokenizer, date(2030, 12, 31))
    assert tokenizer.chat_template == first
    assert all(map(is_frozen, first.values()))


@pytest.mark.parametrize("name", TEMPLATES)
def test_plain_form_writes_the_same_prompts(name):
    """The texts around the messages give the same prompts as the template, for one question and for a whole chat."""
    template = frozen(TEMPLATES[name], DAY)
    turns = plain_turns(lambda messages, *, ask: write(template, messages, ask=ask))
    for chat in ([{"role": "user", "content": "Fit like?"}], [*CHAT, {"role": "user", "content": "Ay?"}]):
        assert turns.write(chat) == write(template, chat, ask=True)


def test_plain_form_has_the_default_system_message():
    """The system message that a template writes by itself is found, and a chat's own message replaces it."""
    template = frozen(tiny_models.DATED, DAY)
    turns = plain_turns(lambda messages, *, ask: write(template, messages, ask=ask))
    assert turns.default == "Ye are a helpfu assistant."
    own = [{"role": "system", "content": "Spik Doric."}, CHAT[0]]
    assert turns.write(own) == write(template, own, ask=True)


def test_template_that_moves_the_system_message_has_no_plain_form():
    """A template that writes the system message into a question cannot be said as texts around the messages."""
    template = (
        "{%- set told = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}{%- for m in messages %}"
        "{%- if m['role'] == 'user' %}{{ '[INST] ' + told + m['content'] + '[/INST]' }}"
        "{%- elif m['role'] == 'assistant' %}{{ m['content'] + '</s>' }}{%- endif %}{%- endfor %}"
    )
    assert plain_turns(lambda messages, *, ask: write(template, messages, ask=ask)) is None
