"""What can go wrong between the chat and a server, as sentences.

ChatError             what went wrong, and a hint
├── Refused           asking again will not help: key, address, malformed request
├── NoServer          nobody answered within the time allowed
├── TooLong           the conversation does not fit the model's window
└── BrokenOff         the answer stopped before its end
"""


class ChatError(Exception):
    """Something a user should read: `str(error)` is the sentence, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Refused(ChatError):
    """The server will give the same answer to the same request; `status` is its own if that is all it said."""

    def __init__(self, message: str, hint: str = "", *, status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class NoServer(ChatError):
    """Nobody answered in time."""


class TooLong(ChatError):
    """The server counted more tokens than the model can read."""


class BrokenOff(ChatError):
    """The stream ended before the answer did."""
