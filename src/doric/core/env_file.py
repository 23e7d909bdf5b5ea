"""The `.env` file: where it is, and its variables.

A line that is skipped may hold the URL of a private server, and then its key would be sent to the default provider. So
whatever cannot be read with certainty stops the command, with file and line. Values are never shown.
"""

import functools
import io
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from doric.core.errors import InputError, SettingsError, missing_package, os_error
from doric.core.formats import HEAD, refuse_foreign_format
from doric.core.variable_names import VARIABLES, meant_by, squeezed

if TYPE_CHECKING:
    from dotenv.parser import Binding

log = logging.getLogger("doric")
ROOT_MARKS = (".git", "pyproject.toml")
"""A folder that contains one of these is the top folder of a repository."""
MAX_BYTES = 1 << 20
NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
FIRST_NAME = re.compile(r"\s*(?:export\s+)?([A-Z_][A-Z0-9_]*)", re.ASCII)
ASSIGNMENT = re.compile(rf"\s*(?:export\s+)?(?:{'|'.join(sorted(VARIABLES))})\s*[=:]")
SECOND_ASSIGNMENT = re.compile(rf"[\s,;&|](?:export\s+)?({'|'.join(sorted(VARIABLES))})\s*=")
"""Another setting in the value of a setting; on the same line, because other lines are checked before."""
REFERENCE = re.compile(r"\$\{([^}:]*)(:-[^}]*)?\}")
QUOTES = "\"'`“”„‟‘’‚‛«»‹›＂＇「」"
SECRET_REFERENCES = ("op://", "encrypted:", "vault:", "ENC[")
"""Beginnings of values that another program must replace by the secret."""
FORM = "Write NAME=value, with the value in quotation marks if it contains spaces, or begin a comment with #."


def find_dotenv(folder: Path) -> Path:
    """The path of `.env` in `folder` or in the nearest parent that has it, up to the top folder of the repository.

    Outside a repository only `folder` itself is searched. If there is none, the path in `folder` is returned.
    """
    folder = folder.absolute()
    parents = (folder, *folder.parents)
    top = next((above for above in parents if any(os.path.exists(above / mark) for mark in ROOT_MARKS)), folder)
    searched = parents[: parents.index(top) + 1]
    found = (above / ".env" for above in searched)
    return next((path for path in found if os.path.lexists(path) and not _is_virtualenv(path)), folder / ".env")


def load_variables(dotenv: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a `.env` file, and of the environment, which takes precedence.

    Raises `SettingsError` if the file cannot be read with certainty, or a value contains its quotation marks.
    """
    environ = os.environ if environ is None else environ
    written = read_dotenv(dotenv)
    for name in sorted(VARIABLES & environ.keys()):
        _check_value(name, environ[name], f"{name} in the environment")
    return written | dict(environ)


def read_dotenv(path: Path = Path(".env")) -> dict[str, str]:
    """The non-empty variables of a `.env` file, which may be a pipe; no variables if the file is missing.

    Logs which file is read. Raises `SettingsError` with file and line.
    """
    shown = _shown(path)
    content = _content(path, shown)
    if content is None:
        return {}
    try:
        from dotenv import dotenv_values  # slow to import, and not needed for --help
        from dotenv.parser import parse_stream
    except ImportError as error:
        raise missing_package(error) from error
    text = _decoded(content, shown)
    bindings = list(parse_stream(io.StringIO(text)))
    lines = _checked_lines(bindings, shown)
    # a name alone (export NAME) would delete its value
    assignments = "".join(binding.original.string for binding in bindings if binding.value is not None)
    values = {name: value for name, value in dotenv_values(stream=io.StringIO(assignments)).items() if value}
    for name, (number, raw) in lines.items():
        if name in VARIABLES:
            _check_references(name, raw, values, f"{shown}:{number}:")
            _check_value(name, values.get(name, ""), f"{shown}:{number}: {name}")
    if VARIABLES & values.keys():
        _announce(shown)
    return values


@functools.cache
def _announce(shown: str) -> None:
    log.info("Settings are read from %s.", shown)


def _shown(path: Path) -> str:
    return min(os.path.relpath(path), str(path), key=len)


# --- the file -------------------------------------------------------------------------------------------------------


def _is_virtualenv(path: Path) -> bool:
    """Whether `.env` is a folder with a Python environment. Many people use this name."""
    return os.path.isfile(path / "pyvenv.cfg")


def _content(path: Path, shown: str) -> bytes | None:
    """The bytes of the file; None if there is none."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            if _is_virtualenv(path):
                return None
            hint = "Docker makes one if the file is missing. Remove it, and create the file from .env.template."
            raise SettingsError(f"{shown}: it is a directory, not a file", hint=hint)
        content = _read_pipe(path, shown) if stat.S_ISFIFO(mode) else _read(path)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            hint = "Create that file (does a password manager have to be unlocked?), or remove the link."
            raise SettingsError(f"{shown}: it is a link to a file that does not exist", hint=hint) from None
        return None
    except OSError as error:
        found = os_error(error, shown, "read")
        raise SettingsError(found.message, hint="Change its permissions so that you may read it.") from error
    if len(content) > MAX_BYTES:
        raise SettingsError(f"{shown}: it is larger than 1 MB, so it is no list of settings", hint=FORM)
    return content


@functools.cache
def _read_pipe(path: Path, shown: str) -> bytes:
    """The content of a pipe, as password managers provide it. It can be read only once."""
    log.info("Settings are read from %s, which is a pipe.", shown)
    return _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _decoded(content: bytes, shown: str) -> str:
    try:
        refuse_foreign_format(content[:HEAD], shown)
        text = content.decode("utf-8-sig")
    except InputError as error:
        raise SettingsError(error.message, hint=error.hint) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{shown}:{line}: not UTF-8 text", hint="Save the file as UTF-8.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise SettingsError(f"{shown}:{line}: it contains a zero byte", hint="Save the file as UTF-8 text.")
    return text


# --- its lines ------------------------------------------------------------------------------------------------------


def _checked_lines(bindings: list["Binding"], shown: str) -> dict[str, tuple[int, str]]:
    """Name -> the number of its line, and its value as it is written. Raises `SettingsError` for a doubtful line."""
    found: dict[str, tuple[int, str]] = {}
    for binding in bindings:
        source = binding.original.string
        number = binding.original.line + source[: len(source) - len(source.lstrip())].count("\n")
        if binding.error:
            _refuse_line(source.strip(), f"{shown}:{number}:")
        if (name := binding.key) is None:
            continue
        if binding.value is None:
            _check_bare_name(name, found, f"{shown}:{number}:")
            continue
        if not NAME.fullmatch(name):
            raise SettingsError(f"{shown}:{number}: the name before = is not valid", hint=FORM)
        for at, line in enumerate(source.strip().splitlines()[1:], number + 1):
            if ASSIGNMENT.match(line):
                hint = f"Close it in line {number}; otherwise line {at} is read as a part of the value."
                raise SettingsError(f"{shown}:{number}: a quotation mark is not closed", hint=hint)
        if name in VARIABLES and name in found and found[name][1] != binding.value:
            hint = f"Remove line {found[name][0]} or line {number}."
            raise SettingsError(f"{shown}:{number}: {name} is already set in line {found[name][0]}", hint=hint)
        found[name] = number, binding.value
    _check_spelling(found, shown)
    return found


def _check_spelling(found: Mapping[str, tuple[int, str]], shown: str) -> None:
    """Raise `SettingsError` for a name that means the address of a server, which has no value; log other such names."""
    given = {name: (number, value) for name, (number, value) in found.items() if value}
    for name, (number, value) in given.items():
        meant = meant_by(name)
        if meant is None or meant.setting in given or _is_own_name(name, meant.setting):
            continue
        harmless = meant.setting == "MODEL_PROVIDER" and value.strip().lower() == "openai"
        if meant.sure and not harmless:
            raise SettingsError(f"{shown}:{number}: {name} is not a setting", hint=f"Write it as {meant.setting}.")
        _mention(f"{shown}:{number}: {name} is not a setting of these commands. Is {meant.setting} meant?")


def _is_own_name(name: str, setting: str) -> bool:
    """Whether a name such as `model` may be another program's."""
    return setting == "MODEL" and squeezed(name) == "MODEL"


@functools.cache
def _mention(message: str) -> None:
    """Log a warning once, however often the file is read."""
    log.warning("%s", message)


def _check_bare_name(name: str, found: Mapping[str, object], where: str) -> None:
    """A name alone, as in `export NAME` or Docker's lists, means a variable that is set already."""
    if name in found or name in os.environ or (name not in VARIABLES and FIRST_NAME.fullmatch(name)):
        return
    said = name if name in VARIABLES else "the name"
    raise SettingsError(f"{where} there is no = after {said}", hint=FORM)


def _refuse_line(line: str, where: str) -> NoReturn:
    """Raise `SettingsError` with what is wrong with a line, without its value."""
    first = FIRST_NAME.match(line)
    name = first[1] if first and first[1] in VARIABLES else "the name"
    rest = line[first.end() :].lstrip() if first else line
    what = "this line cannot be read"
    hint = FORM
    if line.startswith(("<<<<<<<", "=======", ">>>>>>>", "|||||||")):
        what, hint = "it is left from a merge conflict", "Choose one of the two versions."
    elif rest.startswith(":"):
        what, hint = f"there is : instead of = after {name}", "Write NAME=value."
    elif rest.startswith("=") and _is_open(rest[1:].lstrip()):
        what, hint = "a quotation mark is not closed", "Close it, or remove both."
    elif rest.startswith("="):
        what = "there is text after the closing quotation mark"
    elif first:
        what = f"there is no = after {name}"
    raise SettingsError(f"{where} {what}", hint=hint)


def _is_open(value: str) -> bool:
    """Whether a value begins with a quotation mark that does not end it."""
    mark = value[:1]
    return mark in ("'", '"') and value.count(mark) != 2


# --- its values -----------------------------------------------------------------------------------------------------


def _check_references(name: str, raw: str, values: Mapping[str, str], where: str) -> None:
    for other in _references(raw):
        if not (values.get(other) or os.environ.get(other)):
            hint = f"Set {other} before this line or in the environment."
            raise SettingsError(f"{where} {name} uses ${{{other}}}, which is not set", hint=hint)
    if raw and not values.get(name):
        raise SettingsError(f"{where} {name} is empty after its ${{…}} are replaced", hint="Write the value itself.")


def _references(raw: str) -> Iterator[str]:
    """The variables in a value that have no default."""
    return (found[1] for found in REFERENCE.finditer(raw) if found[2] is None)


def _check_value(name: str, value: str, where: str) -> None:
    """Raise `SettingsError` if a value contains the quotation marks around it, or is a reference to a secret."""
    value = value.strip()
    if other := SECOND_ASSIGNMENT.search(value):
        hint = f"Write {other[1]} on a line of its own."
        raise SettingsError(f"{where} contains a second setting, {other[1]}", hint=hint)
    if value.startswith(tuple(QUOTES)) or value.endswith(("'", '"', "`")):
        hint = "Write the value without them. docker --env-file keeps them, and .env knows only ' and \"."
        raise SettingsError(f"{where} contains its quotation marks", hint=hint)
    if value.startswith(SECRET_REFERENCES) and not name.endswith("EXTRA_BODY"):
        hint = "Start the command with the program that replaces it, for instance: op run --env-file=.env -- uv run …"
        raise SettingsError(f"{where} is a reference to a secret, not the secret itself", hint=hint)
