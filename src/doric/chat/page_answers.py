"""The answers of the chat page: streamed from the server in a thread, so that the page can show a wait and stop."""

import queue
import threading
from collections.abc import Generator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from io import StringIO

from doric.chat.conversation import Chat, Message
from doric.chat.server import NoServer, Server, StatusError
from doric.chat.session import COMPLETE, Ending, Session, Shown, TooLong
from doric.chat.terminal import Screen, WrappedOutput
from doric.core.cli import print_stderr
from doric.core.errors import DoricError, FatalServerError, RetryableError

TICK = 0.2
"""Seconds between two updates of the page."""
WAITING = "The model is waking up. This can take a few minutes the first time. ({seconds:.0f} s)"
WAIT_SHOWN = 3.0
"""Seconds after which the page says that it waits."""
ASK = "Please tell the person who gave you this page."


class PageScreen(Screen):
    """The screen of a session whose answers go to the page: nothing is printed."""

    def __init__(self) -> None:
        super().__init__({})

    def note(self, text: str) -> None:
        pass

    def writer(self) -> WrappedOutput:
        return WrappedOutput(StringIO(), lambda: None)


@dataclass(frozen=True)
class Progress:
    """An answer so far. `note` is a sentence about the wait or about what went wrong; `done` is False until the end."""

    text: str = ""
    note: str = ""
    complete: bool = False
    done: bool = False


def answer(server: Server, messages: list[Message], options: Mapping[str, float]) -> Generator[Progress]:
    """The answer to the last message, as it grows. To stop the server, close the generator."""
    updates: queue.SimpleQueue[Progress] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_work, args=(server, messages, options, updates, stop), daemon=True).start()
    latest, waited = Progress(), 0.0
    try:
        while not latest.done:
            try:
                latest = updates.get(timeout=TICK)
                while not latest.done and not updates.empty():
                    latest = updates.get()
            except queue.Empty:
                waited += TICK
                if latest.text or waited < WAIT_SHOWN:
                    continue
                latest = Progress(note=WAITING.format(seconds=waited))
            yield latest
    finally:
        stop.set()


def _work(
    server: Server, messages: list[Message], options: Mapping[str, float], updates: queue.SimpleQueue[Progress],
    stop: threading.Event,
) -> None:  # fmt: skip
    session = Session(server, PageScreen(), chat=Chat(messages), options=dict(options))
    session.timer = nullcontext()
    shown = Shown(session.screen.writer())
    note, complete = "", False
    try:
        with closing(session.pieces()) as pieces:
            for piece in pieces:
                shown.read(piece)
                if stop.is_set():
                    return
                updates.put(Progress(shown.text))
        shown.end()  # else the last characters, which may be the start of a mark, are missing
        ending = session.ended(shown)
        complete, note = ending is COMPLETE, sentence(ending)
    except DoricError as error:
        shown.end()
        print_stderr(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
        note = explain(error)
    except BaseException:
        note = f"Something went wrong in this page. {ASK}"
        raise
    finally:
        updates.put(Progress(shown.text, note, complete, done=True))


def sentence(ending: Ending) -> str:
    """What the page says about an answer that is not whole, "" if it is."""
    if ending is COMPLETE:
        return ""
    if ending.note.startswith("cut"):
        return "The answer was too long and was cut off here. Write “go on” for the rest."
    return f"{ending.note[0].upper()}{ending.note[1:]}. Please ask again."


def explain(error: DoricError) -> str:
    """One plain sentence, or two, for somebody who can do nothing about the server. It contains no names or keys."""
    status = error.refusal.status if isinstance(error, StatusError) else 0
    match error:
        case TooLong():
            return "Your message is too long for the model. Please send a shorter one."
        case NoServer():
            return f"The model cannot be reached at the moment. Try again in some minutes. If it stays so: {ASK}"
        case RetryableError():
            return "The connection broke before the answer was finished. Please ask again."
        case StatusError() if status == 429:
            return "Too many people are asking at the moment. Please wait a minute, then ask again."
        case StatusError() if status >= 500:
            return "The model has a fault at the moment. Please try again in some minutes."
        case FatalServerError():
            return f"The model does not let this page in, or is not set up. {ASK}"
    return f"{error.message}."
