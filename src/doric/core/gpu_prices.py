"""The GPUs of Modal, and what a container costs, for the bounds that are printed before anything is paid.

US dollars per hour, from a third-party comparison that quotes Modal's price list (`A10` and `A10G`: from other
third-party tables of 2026). `uv run modal billing rates` prints today's prices; --rate has priority over this table.
"""

import argparse

DATE = "7 May 2026"
GPUS = {"T4": 0.59, "L4": 0.80, "A10": 1.10, "A10G": 1.10, "L40S": 1.95, "A100-80GB": 2.50, "H100": 3.95}
"""One GPU of a type."""
CORE, GIB = 0.047, 0.008
"""One CPU core, and one GiB of memory."""
MEMORY = {
    "T4": 16, "L4": 24, "A10": 24, "A10G": 24, "L40S": 48, "A100": 80, "A100-40GB": 40, "A100-80GB": 80,
    "RTX-PRO-6000": 96, "H100": 80, "H100!": 80, "H200": 141, "B200": 192, "B200+": 288,
}  # fmt: skip
"""The most GiB of one GPU of a type."""
TYPES = tuple(MEMORY)
"""The names that Modal takes (modal.com/docs/guide/gpu). Its SDK sends any name, and the deployment fails with others.

modal/vllm_doric.py has the same names, because Modal sends that file alone.
"""
FEW = {"A10": 4, "A10G": 4}
"""The most GPUs of a container, where it is not 8."""


def memory(gpu: str) -> int:
    """The most GiB of GPUs such as H100:2, all together.

    >>> memory("H100:2")
    160
    """
    name, _, count = gpu.partition(":")
    return MEMORY[name] * int(count or 1)


def gpu_type(text: str) -> str:
    """An argparse `type=` for a GPU type of Modal, in capitals, with an optional number of GPUs.

    >>> gpu_type("h100:2")
    'H100:2'
    """
    name, colon, count = text.strip().upper().partition(":")
    if name not in TYPES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a GPU type of Modal: {' '.join(TYPES)}")
    most = FEW.get(name, 8)
    if colon and count not in map(str, range(1, most + 1)):
        raise argparse.ArgumentTypeError(f"{text!r}: the number of GPUs after the colon must be from 1 to {most}")
    return name + colon + count
