"""The chat page: a Gradio ChatInterface, with the reader's judgement under the answers.

The page loads nothing from other hosts. Each browser keeps its own chat; the server keeps only judgements.
"""

import os
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
import gradio as gr
from gradio import Blocks  # a removed gradio may leave an empty folder, which can be imported

from doric.chat.conversation import readable, refuse_template_marks
from doric.chat.judgements import (
    LICENCE,
    LONGEST,
    MOST_MESSAGES,
    VERDICTS,
    Judgements,
    Reader,
    Said,
    Talk,
    checked,
)  # fmt: skip
from doric.chat.page_answers import answer
from doric.chat.server import Server
from doric.core.errors import DoricError, InputError
from doric.core.review_files import reader_choices

STOPPED = "Stopped."
ABOUT = """Write to the computer as you would to a neighbour. It tries to answer in Doric, and makes mistakes.
Then tap below how its answer sounds. That is saved at once, and is how it learns: there is nothing to send."""
CONSENT = (
    "Yes. Anybody may see and use what I write here, for instance on the internet or in a dictionary. "
    "My area may be shown with it. (This puts it under CC0: you keep no rights in it.)"
)
WITHOUT = "Without this tick, only those who make this page see what you say, and use it to correct the computer."
MEANINGS = "Natural: I could say that. Stiff: a bit awkward. Wrong: there is a mistake, or it is not Doric."
LAST, THIS = "### How does the last answer sound?", "### How does this answer sound?"
CSS = """
* { font-family: system-ui, sans-serif !important; }
.gradio-container { max-width: 760px !important; margin: 0 auto !important; font-size: 18px; }
.gradio-container button, .gradio-container textarea, .gradio-container input { min-height: 48px; font-size: 18px; }
.gradio-container input[type=checkbox], .gradio-container input[type=radio] { min-height: 22px; min-width: 22px; }
.gradio-container input[type=checkbox] { border: 2px solid #888; }
.gradio-container textarea, .gradio-container .wrap-inner { border: 1px solid #888 !important; border-radius: 6px; }
.message, [data-testid=block-info], .prose, .prose p, .gradio-container label span { font-size: 18px !important; }
#verdicts { flex-wrap: nowrap; } #verdicts button { min-width: 0; }
.message-buttons, .top-panel, .icon-button-wrapper { display: none !important; }
footer { display: none !important; }
"""
FONT = ["system-ui", "sans-serif"]


@dataclass(frozen=True)
class Page:
    """What the page does when somebody writes or judges. It has no state of its own."""

    server: Server
    judgements: Judgements
    options: dict[str, float] = field(default_factory=dict)

    def respond(self, message: str, history: list[Any], kept: object) -> Generator[tuple[str, dict[str, Any]]]:
        """The answer so far, and the chat with it for the browser to keep."""
        talk = as_talk(kept, sum(turn["role"] == "user" for turn in history))
        try:
            text = question(message, talk)
        except DoricError as error:
            yield (
                f"*{error.message[0].upper()}{error.message[1:]}.*",
                with_answer(talk, message[:200], "", error.message),
            )
            return
        yield "…", with_answer(talk, text, "", STOPPED)
        asked = talk.model_copy(update={"said": [*talk.said, Said(role="user", content=text)]})
        for part in answer(self.server, asked.before(len(asked.said)), self.options):
            note = part.note if part.done else STOPPED
            yield bubble(part.text, part.note) or "…", with_answer(talk, text, part.text, note, complete=part.complete)

    def judge(
        self, kept: object, reader: object, at: int | None, verdict: str, better: str
    ) -> tuple[dict[str, Any], str]:
        """Save what a reader says about an answer. Returns the chat with it, and a sentence for the page.

        Own words need no verdict. `at` None is the newest answer.
        """
        talk, by = checked(Talk, kept), checked(Reader, reader)
        index = last_answer(talk) if at is None else at
        if index is None:
            raise InputError("there is no answer yet: write something first")
        earlier = talk.said[index] if 0 <= index < len(talk.said) else Said(role="assistant", content="")
        if not verdict and not better.strip():
            raise InputError("write first how you would say it")
        words = better or ("" if verdict == "natural" else earlier.better)
        talk = talk.judged(index, verdict or earlier.verdict, words)
        gold = self.judgements.save(by, talk, index)
        said = "your own words" if better.strip() else f"“{verdict}”"
        thanks = f"Thank you. Saved: {said}." + (" Your words can now teach the model." if gold else "")
        return talk.model_dump(), thanks


def as_talk(kept: object, exchanges: int) -> Talk:
    """The chat that a browser kept, cut to what it shows (a retry or an undo removes exchanges)."""
    talk = checked(Talk, kept) if kept and exchanges else new_talk()
    return talk.model_copy(update={"said": talk.said[: 2 * exchanges]})


def new_talk() -> Talk:
    """An empty chat with its own id."""
    return Talk(id=f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")


def question(message: str, talk: Talk) -> str:
    """The message as the model gets it. Raises `InputError`."""
    text = readable(message).strip()
    if not text:
        raise InputError("the message is empty")
    refuse_template_marks(text)
    if len(text) > LONGEST or len(talk.said) + 2 > MOST_MESSAGES:
        raise InputError("this is too long: start a new chat, or write less")
    return text


def with_answer(talk: Talk, text: str, said: str, note: str, *, complete: bool = False) -> dict[str, Any]:
    """The chat with one more exchange, as the browser keeps it."""
    answered = Said(role="assistant", content=said[:LONGEST], complete=complete, note=note)
    said_now = [*talk.said, Said(role="user", content=text), answered]
    return talk.model_copy(update={"said": said_now}).model_dump()


def bubble(text: str, note: str) -> str:
    """An answer as the page shows it: its text, and a note in italics."""
    return "\n\n".join(part for part in (text, f"*{note}*" if note else "") if part)


def last_answer(talk: Talk) -> int | None:
    """The index of the newest answer that has text."""
    return next((at for at in range(len(talk.said) - 1, 0, -1) if at % 2 and talk.said[at].content), None)


def shown(kept: object) -> list[dict[str, str]]:
    """The bubbles of a chat that a browser kept; none if it cannot be read."""
    try:
        said = checked(Talk, kept).said if kept else []
    except InputError:
        return []
    return [{"role": each.role, "content": bubble(each.content, each.note) or "…"} for each in said]


def about_reader(before: object, place: str, region: str, age: str, learnt: str, leave: bool) -> dict[str, Any]:
    """The description of a reader, who keeps their random id."""
    name = before["id"] if isinstance(before, dict) and "id" in before else secrets.token_hex(6)
    value = {"id": name, "place": place.strip(), "region": region or "", "age": age or "", "learnt": learnt or ""}
    return checked(Reader, value | {"publish": leave, "licence": LICENCE if leave else None}).model_dump()


def build(page: Page) -> Blocks:
    """The page, ready to be launched with `LAUNCH`."""
    with Blocks(title="Chat in Doric", analytics_enabled=False, fill_width=False) as blocks:
        kept = gr.BrowserState(None, storage_key="doric-chat", secret="doric")
        reader = gr.BrowserState(None, storage_key="doric-reader", secret="doric")
        picked = gr.State(None)
        gr.Markdown(f"# Chat in Doric\n{ABOUT}")
        chatbot = gr.Chatbot(
            show_label=False, height="50vh", buttons=["copy"], feedback_options=None,
            placeholder="Fit like? Write below.", allow_file_downloads=False, autoscroll=True,
        )  # fmt: skip
        box = gr.Textbox(
            placeholder="Write here",
            show_label=False,
            submit_btn="Send",
            stop_btn="Stop",
            autofocus=True,
            max_length=LONGEST,
        )
        chat = gr.ChatInterface(
            page.respond, chatbot=chatbot, textbox=box, additional_inputs=[kept], additional_outputs=[kept],
            concurrency_limit=None, api_visibility="private", analytics_enabled=False, flagging_mode="never",
            show_progress="hidden", fill_height=False,
        )  # fmt: skip
        about, place, region, age, learnt, leave, done = _questions()
        with gr.Column(visible=False) as panel:
            which = gr.Markdown(LAST)
            gr.Markdown(MEANINGS)
            with gr.Row(elem_id="verdicts"):
                buttons = [gr.Button(word.capitalize()) for word in VERDICTS]
            thanks = gr.Markdown("")
            better = gr.Textbox(label="Or write how you would say it:", lines=2, max_length=LONGEST)
            own_words = gr.Button("Save my words", variant="primary")
        fresh = gr.Button("Start a new chat")

        def show_panel(talk: object, by: object) -> tuple[Any, Any]:
            known = bool(by)
            there = bool(talk) and last_answer(checked(Talk, talk)) is not None
            return gr.update(visible=there and known), gr.update(visible=there and not known)

        def save(verdict: str) -> Any:  # noqa: ANN401 - a handler
            def handler(talk: object, by: object, at: int | None, text: str) -> tuple[Any, str, str]:
                try:
                    new, note = page.judge(talk, by, at, verdict, "" if verdict else text)
                except DoricError as error:
                    return gr.skip(), f"**Not saved: {error.message}.**", text
                return new, note, text if verdict else ""

            return handler

        def pick(talk: object, event: gr.SelectData) -> tuple[Any, Any]:
            at = event.index if isinstance(event.index, int) else event.index[0]
            said = checked(Talk, talk).said if talk else []
            if not (at % 2 and at < len(said) and said[at].content):
                return gr.skip(), gr.skip()
            return at, f"{THIS}\n> {said[at].content[:120]}"

        def remember(*values: Any) -> tuple[Any, str]:  # noqa: ANN401 - a handler
            try:
                return about_reader(*values), ""
            except DoricError as error:
                return gr.skip(), f"Not saved: {error.message}."

        for button, verdict in zip([*buttons, own_words], [*VERDICTS, ""], strict=True):
            button.click(
                save(verdict), [kept, reader, picked, better], [kept, thanks, better], api_visibility="private",
                concurrency_limit=None,
            )  # fmt: skip
        chatbot.select(pick, [kept], [picked, which], api_visibility="private")
        latest = (None, LAST, "")
        box.submit(lambda: latest, None, [picked, which, thanks], api_visibility="private", queue=False)
        kept.change(
            show_panel, [kept, reader], [panel, about], api_visibility="private", queue=False, show_progress="hidden"
        )
        reader.change(show_panel, [kept, reader], [panel, about], api_visibility="private", queue=False)
        done.click(remember, [reader, place, region, age, learnt, leave], [reader, thanks], api_visibility="private")
        outputs = [chatbot, chat.chatbot_state, kept, picked, which, thanks]
        fresh.click(lambda: ([], [], None, *latest), None, outputs, api_visibility="private", queue=False)
        chatbot.clear(lambda: None, None, [kept], api_visibility="private", queue=False)
        blocks.load(
            lambda talk: (shown(talk),) * 2, [kept], [chatbot, chat.chatbot_state], api_visibility="private"
        ).then(show_panel, [kept, reader], [panel, about], api_visibility="private")
    return blocks


def _questions() -> tuple[Any, ...]:
    """The form about the reader, which is shown once."""
    with gr.Column(visible=False) as about:
        gr.Markdown(
            "### How does the answer sound? First a few words about you\n"
            "This is asked only once. It helps, because Doric is not the same everywhere. "
            "Leave empty what you do not want to say. Your name is not asked."
        )
        place = gr.Textbox(label="Where did you grow up? (town, village or parish)", max_length=100)
        choices = reader_choices()
        region = gr.Dropdown(choices.regions, label="Which area is that?", value=None, filterable=False)
        age = gr.Dropdown(choices.ages, label="How old are you?", value=None, filterable=False)
        learnt = gr.Dropdown(choices.learnt, label="How did you come by your Doric?", value=None, filterable=False)
        gr.Markdown("### May other people see what you write?")
        leave = gr.Checkbox(label=CONSENT)
        gr.Markdown(WITHOUT)
        done = gr.Button("Next", variant="primary")
    return about, place, region, age, learnt, leave, done


LAUNCH: dict[str, Any] = {
    "theme": gr.themes.Default(font=FONT, font_mono=["monospace"]), "css": CSS, "footer_links": [], "ssr_mode": False,
    "run_history": False, "pwa": False, "mcp_server": False, "enable_monitoring": False, "max_file_size": 1,
}  # fmt: skip
"""How the page is launched: no fonts, requests or links to other hosts."""
