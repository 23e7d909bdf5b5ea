"""The files of chats: the folder where each chat is kept, and files that the user names with /save and /load.

A chat is private. So new files and temporary files can be read by their owner only, a copy of a file by nobody else
than the file, and nothing of a chat is left behind when it cannot be saved.
"""

import contextlib
import errno
import json
import os
import re
import shlex
import socket
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from doric.chat.conversation import Chat
from doric.core.backups import Backups
from doric.core.conversations import as_messages
from doric.core.errors import DoricError, InputError, os_error
from doric.core.files import HELD, atomic_write, check_writable, locked, parse_object
from doric.core.formats import HEAD, refuse_foreign_format
from doric.core.regular_files import open_regular

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None

CHAT_FILE = "Give a file of chats or a dataset: one JSON object per line, with the messages in it."
OTHER_FILE = "Choose a new name, or a file of chats: /save FILE."
ENDINGS = (".jsonl", ".ndjson", ".json")
"""An empty file with such a name may be written. Other empty files have a purpose, for example __init__.py."""


class Diverged(DoricError):
    """The file has other messages of this chat, of another session or from before a `/load` of an older copy."""


# --- the user's folder ----------------------------------------------------------------------------------------------


def state_folder(env: Mapping[str, str]) -> Path:
    """The folder for chats and input history, `$XDG_STATE_HOME/doric`. Created if missing. Raises `InputError`."""
    try:
        folder = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "doric"
    except RuntimeError as error:
        raise InputError("there is no home folder", hint="Set XDG_STATE_HOME to a folder for chats.") from error
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "chats").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        failed = os_error(error, folder, "created")
        raise InputError(failed.message, hint="Set XDG_STATE_HOME to another folder.") from error
    return folder


def user_path(text: str) -> Path:
    """The path that a user typed, with ~ expanded. Quotes and backslashes as in a shell, or file://, may be around it,
    because a terminal adds them to a file that is dropped there. Raises `InputError`.
    """
    if os.name != "nt" and not os.path.lexists(text):
        with contextlib.suppress(ValueError):  # a lone quotation mark
            text = words[0] if len(words := shlex.split(text)) == 1 else text
    if text.lower().startswith("file:") and not os.path.lexists(text):
        text = _path_of_uri(text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"there is no file {text}: {error}") from error


def _path_of_uri(uri: str) -> str:
    """The path in a file URI (RFC 8089), as some terminals write one that is dropped there. Raises `InputError`."""
    parts = urlsplit(uri)
    if parts.netloc.lower() not in ("", "localhost", socket.gethostname().lower()) or not parts.path.startswith("/"):
        hint = "Give the path itself, without file://."
        raise InputError(f"{uri} is the address of a file that is not on this machine", hint=hint)
    return url2pathname(
        parts.path + "".join(f"{sign}{part}" for sign, part in (("?", parts.query), ("#", parts.fragment)) if part)
    )


def read_latest(folder: Path) -> Chat:
    """The chat that was saved last; empty if /undo removed everything. Raises `InputError` if there is none."""
    try:
        path = max(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime, default=None)
    except OSError as error:
        raise os_error(error, folder, "read") from error
    if path is None:
        raise InputError(f"there is no chat in {folder} yet")
    return read(path) if path.stat().st_size else Chat(id=path.stem)


def keep(path: Path, chat: Chat) -> None:
    """Save a chat to its own file, or remove it from there if it has no answer.

    Raises `Diverged` if other messages of this chat were saved there, and `DoricError` as `write` does.
    """
    with _refusals(path):
        if not (chat.answered or path.exists()):
            return
        with locked(path), _opened(path) as file:
            lines = _lines(file.read()) if file else []
            stored = next((messages for line in lines if (messages := _messages_of(line, chat))), [])
            if stored not in ([], chat.kept, chat.messages[: len(stored)]):
                raise Diverged(f"{path} has another version of this chat")
            others = [line for line in lines if _id(_parsed(line)) != chat.id]
            atomic_write(path, _text([*others, _line(chat)] if chat.answered else others), private=True)
            chat.kept = [*chat.answered_messages] if chat.answered else []


def next_id(folder: Path, chat_id: str) -> str:
    """The id for a second version of a chat: with the first number from 2 for which there is no file.

    >>> next_id(Path("nosuchfolder"), "20261128-101500-abc123")
    '20261128-101500-abc123-2'
    """
    base = re.sub(r"(-[0-9a-f]{6})-\d+$", r"\1", chat_id)
    number = 2
    while (folder / f"{base}-{number}.jsonl").exists():
        number += 1
    return f"{base}-{number}"


# --- files that the user names --------------------------------------------------------------------------------------


def read(path: Path) -> Chat:
    """The chat in the last line of a JSON Lines file. Raises `InputError`."""
    number, last = 0, b""
    with _refusals(path, "read"), open_regular(path) as file:
        refuse_foreign_format(file.read(HEAD), path)
        file.seek(0)
        for at, line in enumerate(file, 1):
            if line.strip():
                number, last = at, line
    if not number:
        raise InputError("the file is empty", file=path)
    try:
        row = json.loads(last.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError("not a chat: the line is not UTF-8 text", file=path, line=number, hint=CHAT_FILE) from error
    except (ValueError, RecursionError) as error:
        raise InputError("not a chat: the line is not JSON", file=path, line=number, hint=CHAT_FILE) from error
    try:
        return _chat(row)
    except InputError as error:
        raise InputError(f"not a chat: {error.message}", file=path, line=number, hint=CHAT_FILE) from error


def _chat(row: object) -> Chat:
    """The chat in a row of this program, or of another one. Raises `InputError`."""
    with contextlib.suppress(ValueError):
        return Chat.from_row(row)
    return Chat.from_row(as_messages(row))


def write(path: Path, chat: Chat) -> Path | None:
    """Add a chat to a new file or to a file of chats, or replace the chat's row there.

    If the replaced row has messages that the chat has no longer, the file is copied first; returns the path of the
    copy. Raises `InputError` for any other file, so that no file of another kind is damaged, and `DoricError` if
    another program is writing the file.
    """
    with _refusals(path):
        path = _destination(path)
        check_writable(path)
        with locked(path), _opened(path) as file:
            if file is None:
                atomic_write(path, _text([_line(chat)]), private=True)
                return None
            content = file.read()
            _check_rows(content, path)
            lines = _lines(content)
            stored = [_messages_of(line, chat) for line in lines]
            if not any(stored):
                _append(file, content, _line(chat))
                return None
            lost = any(messages != chat.messages[: len(messages)] for messages in stored)
            copies = Backups(path).keep(path) if lost else []
            atomic_write(path, _text([_line(chat) if own else line for line, own in zip(lines, stored, strict=True)]))
            return copies[0] if copies else None


def _destination(path: Path) -> Path:
    """The file that is written for this path. Raises `InputError` for a link that leads to another folder."""
    target = Path(os.path.realpath(path))
    if path.is_symlink() and target.parent != Path(os.path.realpath(path.parent)):
        raise InputError(f"it is a link to {target}", file=path, hint="Give the file itself: /save FILE.")
    if not target.exists() and target.name.startswith("."):
        raise InputError("a hidden file is not for chats", file=path, hint=OTHER_FILE)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # not created: it may be a typing error
    return target


@contextlib.contextmanager
def _opened(path: Path) -> Generator[IO[bytes] | None]:
    """The open file, which a running generator cannot write meanwhile; None if there is no file."""
    check_writable(path)
    try:
        file = path.open("rb+", buffering=0)
    except FileNotFoundError:
        yield None
        return
    with file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a generator holds this lock on its output
            except BlockingIOError as error:
                raise DoricError(f"{path}: another run is writing this file", hint=HELD) from error
        yield file


def _check_rows(content: bytes, path: Path) -> None:
    """Raise `InputError` unless all lines are rows with messages, or the file is empty and its name fits."""
    number = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            _check_row(line, path, number)
    if not content.strip() and path.suffix.lower() not in ENDINGS:
        raise InputError("not a file of chats: it is empty", file=path, hint=OTHER_FILE)


def _check_row(line: bytes, path: Path, number: int) -> None:
    """Raise `InputError` unless the line has messages, each with a role, and can be written again without a loss."""
    messages = _parsed(line.decode(errors="replace")).get("messages")
    if not (messages and isinstance(messages, list) and all(map(_has_role, messages))):
        what = "not a file of chats: the line is no row with messages"
        raise InputError(what, file=path, line=number, hint=OTHER_FILE)
    parse_object(line, file=path, number=number)


def _has_role(message: object) -> bool:
    return isinstance(message, dict) and isinstance(message.get("role"), str)


def _append(file: IO[bytes], content: bytes, line: str) -> None:
    """Add one line in one write and force it to disk. If the disk is full, the file stays as it was."""
    new = (b"" if not content or content.endswith(b"\n") else b"\n") + _text([line])
    try:
        while new:  # a full disk first accepts a part, and reports the error at the next write
            new = new[file.write(new) or 0 :]
        os.fsync(file.fileno())
    except BaseException:
        file.truncate(len(content))
        raise


@contextlib.contextmanager
def _refusals(path: Path, verb: str = "written") -> Generator[None]:
    """In the block, an error of the system, or an impossible file name, becomes an `InputError`."""
    try:
        yield
    except OSError as error:
        raise os_error(error, path, verb) from error
    except ValueError as error:  # the file is not UTF-8, or its name contains a NUL
        raise InputError(f"cannot be {verb}: {error}", file=path) from error


# --- lines ----------------------------------------------------------------------------------------------------------


def _line(chat: Chat) -> str:
    return json.dumps(chat.row(), ensure_ascii=False)


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(content: bytes) -> list[str]:
    """The lines that are not blank. Only a newline ends a line: JSON may contain U+2028 and similar characters."""
    return [line for line in content.decode().split("\n") if line.strip()]


def _parsed(line: str) -> dict[str, Any]:
    """The object in a line, {} if there is none."""
    try:
        row = json.loads(line, parse_int=float)  # int() refuses more than some thousand digits
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _id(row: Mapping[str, Any]) -> object:
    """The id of a row; None if it has none. Such rows are kept unchanged."""
    meta = row.get("meta")
    return meta.get("id") if isinstance(meta, dict) else None


def _messages_of(line: str, chat: Chat) -> list[Any]:
    """The messages in a line if it is the row of this chat, else []."""
    row = _parsed(line)
    messages = row.get("messages")
    return messages if _id(row) == chat.id and isinstance(messages, list) else []
