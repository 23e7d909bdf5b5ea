"""The Modelfile with which Ollama makes a model of a GGUF file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from doric.finetune.evaluate import REPETITION
from doric.finetune.plain_turns import PlainTurns, plain_turns

if TYPE_CHECKING:
    from pathlib import Path

    from doric.finetune.foreign_types import Messages, Tokenizer

JINJA_SINCE = "0.30.0"
"""The first version of Ollama that can use the chat template inside the GGUF file."""
QUOTES = '"""'
"""Around a value of a Modelfile that has line breaks."""


def write_modelfile(path: Path, gguf: Path, adapter: Path) -> None:
    """Write a Modelfile for a GGUF file in the same folder; the tokenizer is read from the adapter's folder."""
    from transformers import AutoTokenizer

    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(adapter)
    path.write_text(modelfile(gguf.name, plain_form(tokenizer), tokenizer.bos_token or ""), "utf-8")


def plain_form(tokenizer: Tokenizer) -> PlainTurns | None:
    """The tokenizer's chat template as texts around the messages, or None if it has other rules."""
    from jinja2 import TemplateError

    def render(messages: Messages, *, ask: bool) -> str:
        try:
            return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask)
        except TemplateError as error:
            raise ValueError(str(error)) from error

    return plain_turns(render)


def modelfile(file: str, turns: PlainTurns | None, bos: str) -> str:
    """The text of a Modelfile: the file, the repetition penalty, and what makes Ollama write the trained prompts.

    Ollama guesses a template from the one in the file unless the Modelfile has its own. If the template cannot be said
    in Ollama's language, an Ollama that reads the file's own template is required. `bos` is left out: Ollama adds it.
    """
    lines = [f"FROM ./{file}", f"PARAMETER repeat_penalty {REPETITION}"]
    values = {"TEMPLATE": go_template(turns, bos), "SYSTEM": turns.default} if turns else {}
    if values and not any(QUOTES in text or text.endswith('"') for text in values.values()):
        lines += [f"{name} {QUOTES}{text}{QUOTES}" for name, text in values.items() if text]
    else:
        lines.append(f"REQUIRES {JINJA_SINCE}")
    return "\n".join([*lines, ""])


def go_template(turns: PlainTurns, bos: str) -> str:
    """The chat template in Ollama's language, which is that of Go."""
    system = ""
    if turns.system:
        before, after = (escaped(text) for text in (turns.system[0].removeprefix(bos), turns.system[1]))
        system = f"{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ end }}}}"
    asked, answered = (
        f"{escaped(before)}{{{{ .Content }}}}{escaped(after)}" for before, after in (turns.user, turns.assistant)
    )
    return (
        f"{escaped(turns.head.removeprefix(bos))}{system}{{{{ range .Messages }}}}"
        f'{{{{ if eq .Role "user" }}}}{asked}{{{{ else if eq .Role "assistant" }}}}{answered}{{{{ end }}}}'
        f"{{{{ end }}}}{escaped(turns.ask)}"
    )


def escaped(text: str) -> str:
    """Text that Go's template language writes as it is."""
    return text.replace("{{", '{{ "{{" }}')
