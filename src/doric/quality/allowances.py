"""What an answer to a certain kind of ask may have although other answers may not, from `data/asks/`."""

import functools
import re
from dataclasses import dataclass

from doric import data
from doric.core import text as texts

LONGEST_QUOTATION = 300
"""Characters. A longer text in quotation marks is an answer of its own, and is measured."""
CODE = re.compile(r"```.*?```|`[^`\n]{1,300}`", re.DOTALL)
STAND_IN = "X"
"""A name in the place of text that is not measured: it has no class, and the sentence around it stays whole."""


@dataclass(frozen=True, slots=True)
class Allowances:
    """The gates that do not apply, the fewest words of an answer, and whether quotations and code are not measured.

    `needs_english` says that the answer must quote English, because the user has a good reason to need it.
    """

    gates: frozenset[str] = frozenset()
    least: int = 1
    quotes: bool = False
    code: bool = False
    needs_english: bool = False

    def measured(self, text: str) -> str:
        """The text with a stand-in for each quotation and each piece of code that is allowed."""
        text = CODE.sub(STAND_IN, text) if self.code else text
        return texts.QUOTATION.sub(_stand_in, text) if self.quotes else text


def _stand_in(quotation: re.Match[str]) -> str:
    """The stand-in, with the end mark of the quotation: it may be the end of the sentence, too."""
    if len(quotation.group()) > LONGEST_QUOTATION:
        return quotation.group()
    last = quotation.group()[-2]
    return STAND_IN + (last if last in ".!?" else "")


@functools.cache
def allowances(ask: str) -> Allowances | None:
    """The allowances of a kind of ask; None for an ask that has no file, such as advice."""
    if not (data.FOLDER / "asks" / f"{ask}.toml").is_file():
        return None
    spec = data.read_toml(f"asks/{ask}.toml")
    tongue = ["meta_talk"] if spec.get("names_tongue") else []
    return Allowances(
        gates=frozenset([*spec.get("allows", []), *tongue]),
        least=spec["length"][0],
        quotes=spec.get("quotes", False),
        code=spec.get("code", False),
        needs_english=spec.get("needs_english", False),
    )
