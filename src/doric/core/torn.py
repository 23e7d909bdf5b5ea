"""What a crash can leave of the last line of a JSON Lines file."""

import codecs
import json
import re

NULS = b"\0 \t\r\n"
"""The bytes of a disk block that was never written, and of the ends of lines."""
CUT = re.compile(r"|t(ru?)?|f(a(ls?)?)?|n(ul?)?|-|\.|[eE][+-]?|\\?u[0-9a-fA-F]{0,4}")
"""What can be left of a number, a word or an escape sequence at which a JSON text was cut."""


def is_torn(line: bytes) -> bool:
    """Whether a crash can have left this last line: the beginning of a row, or a disk block that was never written.

    A line that ends in a newline was written completely, so an error in it is somebody's edit.

    >>> is_torn(b'{"n":1,"te'), is_torn(b'{"n":1,}'), is_torn(b'{"n":NaN}')
    (True, False, False)
    """
    if not line.strip(NULS):
        return True
    if line.endswith(b"\n"):
        return False
    return line.startswith(b"\0") or _is_cut_short(line.rstrip(b"\0"))


def _is_cut_short(line: bytes) -> bool:
    """Whether `line` is the beginning of a JSON object, and not the whole object or something else."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(line)  # without a character that was cut in two
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        return text[:1] == "{" and (error.msg.startswith("Unterminated string") or bool(CUT.fullmatch(rest)))
    except (ValueError, RecursionError):
        return False
    return False
