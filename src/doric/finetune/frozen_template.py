"""The chat template without its switches: a server builds the same prompt that was trained, on any day.

A template may ask for `enable_thinking` or for today's date. The training decides both, but a server would decide them
again. So they are written into the template before the first row is encoded, and the saved template has none left.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from doric.core.errors import CheckError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from doric.finetune.foreign_types import Tokenizer

SWITCHES: dict[str, bool] = {"enable_thinking": False}
"""The variables of templates that the training sets, with their values."""
CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
ASKS_FOR_CLOCK = re.compile(r"strftime_now\s+is\s+(not\s+)?defined")


def frozen(template: str, day: date, switches: Mapping[str, bool] | None = None) -> str:
    """The template with the switches that it reads set to fixed values (default: `SWITCHES`), and with a fixed date.

    Values that a server or a client passes later have no effect. Raises `CheckError` for a date that is not asked for
    with a literal format.

    >>> from datetime import date
    >>> frozen("{{ strftime_now('%d %b %Y') }}", date(2026, 11, 28))
    "{{ '28 Nov 2026' }}"
    """
    fixed = ASKS_FOR_CLOCK.sub(lambda found: "false" if found[1] else "true", template)
    fixed = CLOCK.sub(lambda found: found[1] + day.strftime(found[2]) + found[1], fixed)
    if "strftime_now" in fixed:
        raise CheckError(
            "The chat template asks for the date in a way that cannot be fixed: the prompts would differ every day.",
            hint="Replace strftime_now in the base model's chat template with a date, or choose another model.",
        )
    read = {name: value for name, value in (SWITCHES if switches is None else switches).items() if name in fixed}
    # Jinja drops the line break after a block, so these lines change nothing else
    return "".join(f"{{%- set {name} = {json.dumps(value)} %}}\n" for name, value in read.items()) + fixed


def freeze(tokenizer: Tokenizer, day: date) -> None:
    """Freeze the tokenizer's chat template, or each of them if it has several. A frozen template stays the same."""
    templates = tokenizer.chat_template
    if isinstance(templates, str) and not is_frozen(templates):
        tokenizer.chat_template = frozen(templates, day)
    elif isinstance(templates, dict):
        tokenizer.chat_template = {
            name: each if is_frozen(each) else frozen(each, day) for name, each in templates.items()
        }


def is_frozen(template: str) -> bool:
    """Whether no switch and no date is left to decide.

    >>> is_frozen("{% if enable_thinking %}<think>{% endif %}"), is_frozen("{{ messages }}")
    (False, True)
    """
    settled = all(name not in template or f"{{%- set {name} = " in template for name in SWITCHES)
    return settled and "strftime_now" not in template
