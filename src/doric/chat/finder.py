"""Which of a server's models to talk to: looked for in the background while somebody types, or when it is needed.

Knows no terminal and no conversation.
"""

import threading

from doric.chat.endpoint import Model, choose, served
from doric.chat.errors import ChatError, Refused
from doric.chat.wire import Wire


class Finder:
    """The model to talk to, once it is found: the wanted one, else the adapter; `served` is all there are."""

    def __init__(self, wire: Wire, wanted: str = "") -> None:
        self.wire = wire
        self.served: list[Model] = []
        self.model: Model | None = None
        self.refused: Refused | None = None  # why the server will not have us, if the background found that out
        self._wanted = wanted
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look in the background, once, which also wakes the server; `refused` is set if it will not have us."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()

    @property
    def looking(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> Model:
        """The model, found now if it is not yet. Raises ChatError."""
        if self._thread:
            self._thread.join()
        if self.refused:
            raise self.refused
        return self.model or self._find()

    def change(self, name: str) -> None:
        """List what is served, and talk to the model of this name from now on if one is given. Raises ChatError."""
        try:
            self.served = served(self.wire)
        except Refused as error:
            if not (name and error.status):  # a server without a list may still know the name
                raise
            self.served = []
        names = [model.name for model in self.served]
        if name and names and name not in names:
            raise Refused(f"there is no model {name!r} here", f"served here: {', '.join(names)}")
        if name:
            self.model = choose(self.served, name)

    def _find(self) -> Model:
        try:
            self.served = served(self.wire)
        except Refused as error:
            if not (self._wanted and error.status):  # a server without a list, or with a broken one, may still answer
                raise
        self.model = choose(self.served, self._wanted)
        return self.model

    def _look(self) -> None:
        try:
            self._find()
        except Refused as error:
            self.refused = error
        except ChatError:  # the first question will try again
            pass
