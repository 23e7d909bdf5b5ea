"""Chats as text, written by a chat template as Transformers and vLLM do it."""

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


def write(template, messages, *, ask=False, today="28 Nov 2026", **switches):
    """A chat as text, in the environment that Transformers and vLLM use."""

    def refuse(message):
        raise TemplateError(message)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    env.globals |= {"raise_exception": refuse, "strftime_now": lambda form: today}
    names = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": ask, **switches}
    try:
        return env.from_string(template).render(messages=messages, **names)
    except TemplateError as error:
        raise ValueError(str(error)) from error
