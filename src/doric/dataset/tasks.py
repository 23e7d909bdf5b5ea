"""What a model is asked to write for a job, how that is checked, and what of it the row has."""

from collections.abc import Mapping
from typing import Any, Protocol

from doric.core.characters import tidy
from doric.core.text import MAX_CHARACTERS, whole_sentences
from doric.dataset.chats import Accepted, Chat
from doric.dataset.relevance import OFF_TOPIC, is_off_topic
from doric.quality import faults, gates, later_answers
from doric.quality.gates import Answer, Rejection
from doric.quality.wrapping import unwrap


class Task(Protocol):
    """What a model writes for a job."""

    def draft(self, text: str) -> Answer:
        """What the model wrote, as it is checked."""
        ...

    def fault(self, draft: Answer, chat: Chat) -> Rejection | None:
        """Why the draft is refused; None if it is accepted."""
        ...

    def accept(self, chat: Chat, draft: Answer, tries: int, more: Mapping[str, Any]) -> Accepted:
        """The next question and answer of the chat. `more` is for the meta of the answer."""
        ...


class WriteAnswer:
    """The model answers the prompt of the job, behind the quality gates."""

    def draft(self, text: str) -> Answer:
        """The answer, tidy, without a label or quotation marks around it, up to its last whole sentence."""
        return Answer.of(text if len(text) > MAX_CHARACTERS else whole_sentences(unwrap(tidy(text))))

    def fault(self, draft: Answer, chat: Chat) -> Rejection | None:
        """All that the gates say, in one rejection; they know what was asked and said before."""
        job, ask = chat.now, chat.now.prompt.ask
        found = [*gates.faults(draft, prompt=job.prompt.text, topic=job.about, kind=job.kind, ask=ask)]
        if later := later_answers.check_later(draft, chat.answers, ask=ask):
            found.append(later)
        return faults.combined(draft, found, ask=ask)

    def accept(self, chat: Chat, draft: Answer, tries: int, more: Mapping[str, Any]) -> Accepted:
        """The draft is the answer. A first answer that shares no word with its question is marked in meta."""
        job = chat.now
        # a follow-up may be about anything
        marked = {OFF_TOPIC: True} if not chat.accepted and is_off_topic(job, draft.text) else {}
        return Accepted(job, draft, tries, {**more, **marked})
