"""The names of the settings, and which of them a name means that is misspelt or that another program uses.

A name that decides where a key goes must not be passed over: the key would be sent to the default provider.
"""

import re
from dataclasses import dataclass

VARIABLES = frozenset((
    "OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER", "OPENROUTER_API_KEY",
    "HF_TOKEN", "HF_ENDPOINT", "EXTRA_BODY", "VLLM_EXTRA_BODY", "BASELINE_API_KEY", "JUDGE_API_KEY",
    "VLLM_URL", "VLLM_API_KEY", "VLLM_MODEL", "MODAL_KEY", "MODAL_SECRET",
    "MODAL_DOMAIN", "DORIC_MODEL", "DORIC_REVISION", "DORIC_BASE_MODEL", "DORIC_BASE_REVISION",
    "DORIC_GPU", "DORIC_PUBLIC", "MAX_MODEL_LEN", "FAST_BOOT", "SCALEDOWN_MINUTES",
    "MAX_CONTAINERS",
))  # fmt: skip
"""The variables that the commands read. Other programs may have their own variables in the same file."""
DESTINATIONS = ("OPENAI_BASE_URL", "MODEL_PROVIDER")
"""The variables that decide where a key goes."""
PLACE = "(?:BASE|URL|URI|HOST|ENDPOINT|SERVER|ADDRESS|DOMAIN|GATEWAY)"
OWN_ADDRESS = re.compile(rf"OPENAI(?:API|SDK|CHAT|MODEL|COMPATIBLE|{PLACE})*{PLACE}")
"""Names of the address of a server with OpenAI's API, in capitals, without the signs between their words."""
OTHER_ADDRESS = re.compile(
    rf"OPENAI\w*{PLACE}|(?:LLM|MODEL|OPENROUTER|HF|HUGGINGFACE)(?:API)?{PLACE}+|(?:LLM|MODEL|CHAT)?BASEUR[LI]|(?:LITELLM)?APIBASE(?:URL)?"
    r"|AZUREOPENAIENDPOINT|OLLAMA(?:HOST|BASEURL)"
)
"""The same, which may be for other programs only."""
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "VLLM_URL": (
        "VLLM_BASE_URL", "VLLM_API_BASE", "VLLM_API_BASE_URL", "VLLM_API_URL", "VLLM_HOST", "VLLM_ENDPOINT",
        "VLLM_SERVER", "VLLM_SERVER_URL", "VLLM_ADDRESS",
    ),
    "OPENAI_API_KEY": (
        "OPENAI_KEY", "OPENAI_TOKEN", "OPENAI_API_TOKEN", "OPENAI_SECRET", "OPENAI_SECRET_KEY", "OPENAI_API_SECRET",
        "OPENAI_ACCESS_TOKEN", "LLM_API_KEY", "LLM_KEY", "LLM_TOKEN",
    ),
    "OPENROUTER_API_KEY": ("OPENROUTER_KEY", "OPENROUTER_TOKEN", "OPENROUTER_API_TOKEN", "OPENROUTER_SECRET_KEY"),
    "HF_TOKEN": (
        "HUGGINGFACE_API_KEY", "HUGGINGFACE_TOKEN", "HUGGINGFACE_API_TOKEN", "HUGGINGFACE_KEY", "HUGGING_FACE_TOKEN",
        "HUGGING_FACE_API_KEY", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HF_API_KEY", "HF_API_TOKEN",
        "HF_KEY", "HF_HUB_TOKEN", "HF_ACCESS_TOKEN",
    ),
    "BASELINE_API_KEY": ("BASELINE_KEY", "BASELINE_TOKEN", "BASELINE_API_TOKEN"),
    "JUDGE_API_KEY": ("JUDGE_KEY", "JUDGE_TOKEN", "JUDGE_API_TOKEN"),
    "VLLM_API_KEY": ("VLLM_KEY", "VLLM_TOKEN", "VLLM_API_TOKEN"),
    "MODEL": (
        "MODEL_NAME", "MODEL_ID", "OPENAI_MODEL", "OPENAI_MODEL_NAME", "OPENAI_API_MODEL", "LLM_MODEL", "LLM_MODEL_ID",
    ),
    "MODEL_PROVIDER": ("LLM_PROVIDER", "API_PROVIDER"),
}  # fmt: skip
"""Setting -> its names in other programs."""
LONG = 10
"""Letters of a name in which two slips are still clear."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The setting that a name means. `sure`: no other program uses such a name."""

    setting: str
    sure: bool


def squeezed(name: str) -> str:
    """A name in capitals, without the signs between its words."""
    return re.sub(r"[._-]", "", name.upper())


_SPELLINGS = {squeezed(name): name for name in VARIABLES}
_OTHERS = {squeezed(name): setting for setting, names in OTHER_NAMES.items() for name in names}


def meant_by(name: str) -> Meant | None:
    """The setting that `name` means although it is not written so; None if it is a setting or another program's.

    >>> meant_by("OPENAI_BSE_ULR"), meant_by("openai-base-url").sure, meant_by("LOG_LEVEL")
    (Meant(setting='OPENAI_BASE_URL', sure=True), True, None)
    >>> meant_by("HUGGINGFACE_API_KEY"), meant_by("BASE_URL")
    (Meant(setting='HF_TOKEN', sure=False), Meant(setting='OPENAI_BASE_URL', sure=False))
    """
    short = squeezed(name)
    if name in VARIABLES or short[-1:].isdigit():  # KEY_2 is a name of its own
        return None
    if short in _SPELLINGS:
        return Meant(_SPELLINGS[short], True)
    if short in _OTHERS:
        return Meant(_OTHERS[short], _OTHERS[short] == "VLLM_URL")
    if OTHER_ADDRESS.fullmatch(short):
        return Meant("OPENAI_BASE_URL", OWN_ADDRESS.fullmatch(short) is not None)
    return None if short == "MODE" else _slip(short)


def _slip(short: str) -> Meant | None:
    """The setting whose name differs by one or two slips: a letter too many, too few, another, or in another place."""
    once = _shorter({short})
    for known, setting in _SPELLINGS.items():
        if not once.isdisjoint(_shorter({known})):
            return Meant(setting, setting in DESTINATIONS)
    twice = _shorter(once)
    near = (known for known in _SPELLINGS if len(known) >= LONG and abs(len(known) - len(short)) <= 2)
    found = next((known for known in near if not twice.isdisjoint(_shorter(_shorter({known})))), "")
    return Meant(_SPELLINGS[found], _SPELLINGS[found] in DESTINATIONS) if found else None


def _shorter(names: set[str]) -> set[str]:
    """Names, and what is left of each without one of its letters."""
    return names | {name[:place] + name[place + 1 :] for name in names for place in range(len(name))}
