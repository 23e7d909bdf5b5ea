"""Evaluating a model on this machine without a server: its answers, batches, settings, stops and user mistakes."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from doric.core.errors import InputError, RetryableError, SettingsError
from doric.evaluation.local_model import Checkpoint, LocalModel, find_checkpoint
from doric.finetune.foreign_types import Model, Tokenizer
from doric.llm.request import ChatRequest
from doric.llm.response import TimedCompletion
from scripts import load_script

ROOT = Path(__file__).parents[1]
QUESTIONS = ("Fit like?", "How do I keep bread fresh for longer in a small kitchen?", "Tell me about the haar.")
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def checkpoint(tiny: Model, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A folder with a tiny model of random weights and SmolLM2's tokenizer."""
    folder = tmp_path / "model"
    tiny.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def request(text: str, *earlier: str, limit: int = 12, temperature: float = 0.0) -> ChatRequest:
    """A chat that ends with the question `text`, after pairs of an earlier question and its answer."""
    roles = ("user", "assistant")
    chat = [{"role": roles[at % 2], "content": said} for at, said in enumerate((*earlier, text))]
    return ChatRequest(chat, limit, temperature=temperature, seed=7)


async def answers(folder: Path, requests: list[ChatRequest], at_once: int) -> list[TimedCompletion]:
    """The answers of the model in a folder, asked all at the same time."""
    async with LocalModel(find_checkpoint(str(folder), {}), at_once=at_once) as model:
        return await asyncio.gather(*map(model.complete_timed, requests))


def use_settings(folder: Path, **values: object) -> None:
    """Change the generation settings of a checkpoint."""
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


async def test_answers_that_are_written_together_are_those_that_are_written_alone(checkpoint):
    """Padding and the other chats of a batch change nothing: greedy answers are the same one by one."""
    chats = [request(text) for text in QUESTIONS] + [request("And the day?", "Fit like?", "Nae bad.")]
    together, alone = [await answers(checkpoint, chats, at_once) for at_once in (4, 1)]
    assert [one.completion for one in together] == [one.completion for one in alone]
    assert len({one.completion.text for one in together}) == 4
    assert [one.completion.finish for one in together] == ["length"] * 4
    assert [one.completion.tokens_out for one in together] == [12] * 4
    assert all(one.first_token is None and one.seconds > 0 for one in together)


async def test_an_end_token_ends_an_answer_and_is_not_in_it(checkpoint):
    """The answer stops before the first end token, and the finish reason is "stop"."""
    (whole,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(checkpoint).encode(whole.completion.text)
    use_settings(checkpoint, eos_token_id=ids[2])
    (ended,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    assert ended.completion.finish == "stop"
    assert whole.completion.text.startswith(ended.completion.text)
    assert ended.completion.tokens_out < 12


async def test_the_generation_settings_of_the_checkpoint_apply(checkpoint):
    """A repetition penalty in generation_config.json changes the answer, as it does on a server."""
    (free,) = await answers(checkpoint, [request(QUESTIONS[0], limit=40)], 1)
    use_settings(checkpoint, repetition_penalty=1.8)
    (held,) = await answers(checkpoint, [request(QUESTIONS[0], limit=40)], 1)
    assert held.completion.text != free.completion.text


@pytest.mark.parametrize("sampling", [{}, {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9}])
async def test_a_temperature_of_zero_is_greedy_whatever_the_checkpoint_says(checkpoint, sampling):
    """Sampling settings of the checkpoint do not make greedy answers random."""
    use_settings(checkpoint, **sampling)
    first, second = [await answers(checkpoint, [request(QUESTIONS[1])], 1) for _ in range(2)]
    assert first[0].completion == second[0].completion


async def test_the_seed_of_a_request_makes_a_sampled_answer_again(checkpoint):
    """With a temperature, the same request gets the same answer, and another seed another one."""
    chat = request(QUESTIONS[0], temperature=1.5)
    other = ChatRequest(chat.messages, 12, temperature=1.5, seed=8)
    first, second, third = [(await answers(checkpoint, [one], 1))[0].completion for one in (chat, chat, other)]
    assert first == second != third


async def test_reasoning_is_no_part_of_the_answer(checkpoint, monkeypatch):
    """What a model writes between its marks of reasoning is cut, as in a server's answer."""
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.decode", lambda *_, **__: "<think>Hmm.</think>Aye, fine.")
    (one,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    assert (one.completion.text, one.completion.reasoned) == ("Aye, fine.", True)


async def test_a_stop_ends_the_answers_that_are_being_written(checkpoint):
    """After `hurry`, the answer ends at the next token, and the turn counts as not asked."""
    async with LocalModel(find_checkpoint(str(checkpoint), {}), at_once=2) as model:
        writing = asyncio.create_task(model.complete_timed(request(QUESTIONS[0], limit=100_000)))
        await asyncio.sleep(0)
        model.hurry()
        with pytest.raises(RetryableError, match="stopped"):
            await writing


async def test_a_model_without_a_chat_template_is_refused(checkpoint):
    """A base model cannot be asked chats, and the error names the folder and what to choose."""
    (checkpoint / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template"):
        await answers(checkpoint, [request(QUESTIONS[0])], 1)


def test_only_variables_of_the_chat_template_are_fields_of_a_request(checkpoint):
    """--extra-body may switch thinking off; any other field would have no effect and is refused."""
    fields = {"chat_template_kwargs": {"enable_thinking": False}}
    assert find_checkpoint(str(checkpoint), fields).extra_body == fields
    with pytest.raises(SettingsError, match="top_k"):
        find_checkpoint(str(checkpoint), {"top_k": 5})


async def test_the_chat_template_gets_its_variables(checkpoint):
    """A template that reads a variable writes another prompt with it, so the answer has other tokens in."""
    template = checkpoint / "chat_template.jinja"
    template.write_text("{% if loud %}LOUD LOUD LOUD{% endif %}" + template.read_text("utf-8"), "utf-8")
    found = []
    for fields in ({}, {"chat_template_kwargs": {"loud": True}}):
        async with LocalModel(find_checkpoint(str(checkpoint), fields), at_once=1) as model:
            found.append((await model.complete_timed(request(QUESTIONS[0]))).completion.tokens_in)
    assert found[1] > found[0]


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def validate(monkeypatch, tmp_path):
    """The `main` of the validation script. The folder and the environment are empty."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return load_script(ROOT / "validation" / "validate_model.py").main


def test_the_command_scores_a_folder_and_resumes_unless_the_weights_have_changed(
    validate, checkpoint, tiny, caplog, capsys
):
    """The result names the folder; asked again, it is only read; with other weights the run is not mixed."""
    caplog.set_level("INFO")
    flags = ["--checkpoint", "model", "--limit", "6", "--max-tokens", "8", "--temperature", "0", "--out", "result.json"]
    assert validate(flags) == 0
    result = json.loads(Path("result.json").read_text("utf-8"))
    assert (result["model"], result["address"]) == ("model", "this machine (no server)")
    assert result["calls"]["failed"] == 0
    assert validate(flags) == 0
    assert re.search(r"(\d+) of \1 answers come from result\.json\.answers\.jsonl", caplog.text)
    tiny.lm_head.weight.data += 1
    tiny.save_pretrained(checkpoint)
    assert validate(flags) == 2
    assert "other weights" in capsys.readouterr().err
    assert json.loads(Path("result.json").read_text("utf-8")) == result


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--checkpoint ./nowhere", "./nowhere: there is no such folder"),
        ("--checkpoint empty", "empty: cannot be loaded"),
        ("--checkpoint model --base-url http://localhost:1", "leave out the flags for a server's model"),
        ("--checkpoint model --model mine", "leave out the flags for a server's model"),
        ("--checkpoint model --reasoning-effort low", "leave out the flags for a server's model"),
        ("--checkpoint model --extra-body {\"top_k\":5}", "top_k"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_loses_nothing(validate, checkpoint, capsys, caplog, flags, said):
    """A folder that does not exist, one without a model, and flags for a server end with exit status 2."""
    Path("empty").mkdir()
    Path("result.json").write_text("{}", "utf-8")
    try:
        status = validate([*flags.split(), "--out", "other.json"])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert said in caplog.text + capsys.readouterr().err
    assert not Path("other.json").exists()


def test_a_checkpoint_is_known_by_its_weights(checkpoint, tiny):
    """Two folders with equal files have the same fingerprint, whatever their names are, and other weights another."""
    before = find_checkpoint(str(checkpoint), {})
    again = checkpoint.rename(checkpoint.with_name("renamed"))
    assert find_checkpoint(str(again), {}) == Checkpoint(str(again), before.fingerprint)
    tiny.lm_head.weight.data += 1
    tiny.save_pretrained(again)
    assert find_checkpoint(str(again), {}).fingerprint != before.fingerprint
