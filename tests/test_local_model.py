"""Evaluating a model on this machine without a server: its answers, batches, settings, stops and user mistakes."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from doric.core.errors import FatalServerError, InputError, RetryableError, ServerError, SettingsError
from doric.evaluation import local_model
from doric.evaluation.generation import generate_together
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


async def test_answers_that_are_written_together_are_those_that_are_written_alone(checkpoint, monkeypatch):
    """Padding and the other chats of a batch change nothing: greedy answers are the same one by one."""
    monkeypatch.setattr(local_model, "ALIKE", 100)
    chats = [request(text) for text in QUESTIONS] + [request("And the day?", "Fit like?", "Nae bad.")]
    together, alone = [await answers(checkpoint, chats, at_once) for at_once in (4, 1)]
    assert [one.completion for one in together] == [one.completion for one in alone]
    assert len({one.completion.text for one in together}) == 4
    assert [one.completion.finish for one in together] == ["length"] * 4
    assert [one.completion.tokens_out for one in together] == [12] * 4
    assert all(one.first_token is None and one.seconds > 0 for one in together)


def test_padding_adds_no_token_to_a_chat():
    """A repetition penalty counts the padding, so each chat is padded with a token that it has already."""
    seen = {}

    class Recorder:
        """A model that keeps what it was given."""

        device = "cpu"

        def generate(self, **given: object) -> object:
            """The chats and one token."""
            import torch

            seen.update(given)
            return torch.cat([given["input_ids"], torch.tensor([[4], [6]])], dim=1)

    chats = [[7, 8, 9, 7, 5], [9, 8]]
    assert generate_together(Recorder(), chats, None) == [[4], [6]]
    assert [set(row) for row in seen["input_ids"].tolist()] == [set(chat) for chat in chats]
    assert seen["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]


async def test_chats_of_very_different_length_are_not_answered_together(checkpoint, monkeypatch):
    """Padding would cost more than a second batch: short chats are a batch, and long ones are another."""
    batches = []
    monkeypatch.setattr(
        LocalModel, "_generate", lambda _, __, chats: batches.append(list(map(len, chats))) or [[0] for _ in chats]
    )
    long = request("And the day?", "Fit like?", "Nae bad, " * 200)
    await answers(checkpoint, [request(QUESTIONS[0]), long, request(QUESTIONS[2]), long], 4)
    assert [len(batch) for batch in batches] == [2, 2]
    assert max(batches[0]) < 60 < 400 < min(batches[1])


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
        writing = asyncio.create_task(model.complete_timed(request(QUESTIONS[0], limit=1900)))
        await asyncio.sleep(0)
        model.hurry()
        with pytest.raises(RetryableError, match="stopped"):
            await writing


async def test_after_a_stop_no_other_batch_begins(checkpoint, monkeypatch):
    """Chats that wait because of their length are not read after `hurry`: their turns count as not asked, too."""
    batches = []

    def generate(model: LocalModel, _: ChatRequest, chats: list[list[int]]) -> list[list[int]]:
        model.hurry()
        batches.append(chats)
        return [[0] for _ in chats]

    monkeypatch.setattr(LocalModel, "_generate", generate)
    async with LocalModel(find_checkpoint(str(checkpoint), {}), at_once=2) as model:
        chats = [request(QUESTIONS[0]), request("And the day?", "Fit like?", "Nae bad, " * 200)]
        ended = await asyncio.gather(*map(model.complete_timed, chats), return_exceptions=True)
    assert [type(error) for error in ended] == [RetryableError, RetryableError]
    assert len(batches) == 1


async def test_an_answer_that_cannot_be_decoded_is_an_error(checkpoint, monkeypatch):
    """Any error of an answer reaches whoever waits for it: nobody waits for ever."""
    monkeypatch.setattr(LocalModel, "_completion", lambda *_: 1 // 0)
    with pytest.raises(FatalServerError, match="by zero"):
        await asyncio.wait_for(answers(checkpoint, [request(QUESTIONS[0])], 1), 60)


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


async def test_only_what_vllm_takes_from_the_generation_settings_applies(checkpoint):
    """Beams, lengths, forced tokens and other kinds of output would change the answers, or end the run."""
    (free,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    odd = {"num_beams": 3, "max_length": 5, "min_new_tokens": 11, "forced_eos_token_id": 5, "stop_strings": ["e"]}
    use_settings(checkpoint, **odd, return_dict_in_generate=True, no_repeat_ngram_size=1, suppress_tokens=[9, 10])
    (held,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    assert held.completion == free.completion


async def test_answers_are_drawn_from_all_tokens_unless_the_checkpoint_says_otherwise(checkpoint, monkeypatch):
    """Without top_k, transformers draws from 50 tokens; a server draws from all."""
    found = []
    async with LocalModel(find_checkpoint(str(checkpoint), {}), at_once=1) as model:
        prepare = model._loaded._prepare_generation_config
        monkeypatch.setattr(
            model._loaded,
            "_prepare_generation_config",
            lambda *args, **more: found.append(got := prepare(*args, **more)) or got,
        )
        await model.complete_timed(request(QUESTIONS[0], temperature=0.7))
    assert (found[0][0].top_k, found[0][0].temperature) == (0, 0.7)


async def test_reasoning_that_the_template_has_opened_is_no_answer(checkpoint, monkeypatch):
    """If the chat ends with <think> and the answer is cut off before its end, there are no words."""
    template = checkpoint / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + "<think>\n", "utf-8")
    (one,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    assert (one.completion.text, one.completion.reasoned, one.completion.finish) == ("", True, "length")
    assert one.completion.elsewhere


async def test_marks_of_the_template_at_the_end_of_an_answer_are_cut(checkpoint, monkeypatch):
    """An answer is read as that of a server, so both are scored alike."""
    said = "Aye, fairly.<|im_end|>\n<|im_start|>assistant"
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.decode", lambda *_, **__: said)
    (one,) = await answers(checkpoint, [request(QUESTIONS[0])], 1)
    assert one.completion.text == "Aye, fairly."


async def test_a_tokenizer_without_an_end_and_a_pad_token_is_no_obstacle(checkpoint):
    """Chats of different length are still answered together, as they are one by one."""
    path = checkpoint / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8")) | {"pad_token": None, "eos_token": None}
    path.write_text(json.dumps(config), "utf-8")
    use_settings(checkpoint, eos_token_id=None, pad_token_id=None)
    chats = [request(text) for text in QUESTIONS]
    together, alone = [await answers(checkpoint, chats, at_once) for at_once in (3, 1)]
    assert [one.completion for one in together] == [one.completion for one in alone]


async def test_only_the_chat_without_room_for_its_answer_fails(checkpoint):
    """Beyond its context a model writes nonsense. If no chat can have room, no later request can succeed."""
    long = request("Fit like? " * 900)
    async with LocalModel(find_checkpoint(str(checkpoint), {}), at_once=2) as model:
        short = asyncio.create_task(model.complete_timed(request(QUESTIONS[0])))
        with pytest.raises(ServerError, match="context of the model has 2048") as error:
            await model.complete_timed(long)
        assert not isinstance(error.value, FatalServerError)
        assert (await short).completion.tokens_out == 12
        with pytest.raises(FatalServerError, match="context of the model has 2048"):
            await model.complete_timed(request(QUESTIONS[0], limit=2048))


@pytest.mark.parametrize("error", [RuntimeError("can't allocate memory: 9\nmore"), KeyError(3), SystemExit(4)])
async def test_any_error_while_answers_are_written_reaches_those_who_wait(checkpoint, monkeypatch, error):
    """It is one line that names the model; with too little memory, the hint names the flag."""

    def fail(*_, **__):
        raise error

    async with LocalModel(find_checkpoint(str(checkpoint), {}), at_once=2) as model:
        monkeypatch.setattr(model._loaded, "generate", fail)
        for _ in range(2):
            with pytest.raises(FatalServerError, match=str(checkpoint)) as found:
                await asyncio.wait_for(model.complete_timed(request(QUESTIONS[0])), 60)
    assert "\n" not in found.value.message
    assert ("--concurrency" in found.value.hint) == isinstance(error, RuntimeError)


async def test_a_template_that_fails_in_any_way_is_one_line(checkpoint):
    """A variable with the name of an argument, and a template that divides by zero."""
    fields = {"chat_template_kwargs": {"tokenize": False}}
    async with LocalModel(find_checkpoint(str(checkpoint), fields), at_once=1) as model:
        with pytest.raises(FatalServerError, match="chat template"):
            await model.complete_timed(request(QUESTIONS[0]))
    (checkpoint / "chat_template.jinja").write_text("{{ 1 / 0 }}", "utf-8")
    with pytest.raises(FatalServerError, match="chat template"):
        await answers(checkpoint, [request(QUESTIONS[0])], 1)


def cut_off(weights: Path) -> None:
    """Half of the file."""
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def without_a_layer(weights: Path) -> None:
    """All weights but those of the second layer, whose place transformers fills with random numbers."""
    from safetensors.torch import load_file, save_file

    kept = {name: value for name, value in load_file(weights).items() if "layers.1." not in name}
    save_file(kept, weights, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [(cut_off, "cannot be loaded: Error"), (without_a_layer, "9 weights are missing, such as model")],
)
async def test_weights_that_are_not_whole_are_refused(checkpoint, damage, said):
    """A download that was broken off gives no score, neither here nor of the minimal pairs."""
    damage(checkpoint / "model.safetensors")
    with pytest.raises(InputError, match=said):
        await answers(checkpoint, [request(QUESTIONS[0])], 1)


def test_a_model_that_the_hub_does_not_give_is_one_line(monkeypatch):
    """Without a network, or for a name that does not exist, before anything is written."""

    def fail(name):
        raise OSError("We couldn't connect.\nCheck your internet connection.")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", fail)
    with pytest.raises(InputError, match=r"Qwen/Nowhere: cannot be loaded: We couldn't connect\.$"):
        find_checkpoint("Qwen/Nowhere", {})


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
        ("--checkpoint model --extra-body {\"chat_template_kwargs\":5}", "'chat_template_kwargs' is not an object"),
        ("--checkpoint model.gguf", "model.gguf: not a folder"),
        ("--checkpoint=", "the name of the model is empty"),
        ("--checkpoint model --baseline model", "--baseline is a folder"),
        ("--checkpoint model --baseline base", "--baseline base: no server has this model"),
        ("--checkpoint model --baseline http://localhost:1/v1 --judge-model j", "--judge-model j: no server has"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_loses_nothing(validate, checkpoint, capsys, caplog, flags, said):
    """A folder that does not exist, one without a model, and flags for a server end with exit status 2."""
    Path("empty").mkdir()
    Path("model.gguf").write_bytes(b"GGUF")
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


def test_a_folder_that_was_moved_is_resumed_with_its_new_name(validate, checkpoint, caplog):
    """The same weights in another place are the same model: no answer is asked for again."""
    caplog.set_level("INFO")
    flags = ["--limit", "6", "--max-tokens", "4", "--temperature", "0", "--out", "result.json"]
    assert validate(["--checkpoint", "model", *flags]) == 0
    rows = Path("result.json.answers.jsonl").read_bytes()
    checkpoint.rename("elsewhere")
    assert validate(["--checkpoint", "elsewhere", *flags]) == 0
    assert re.search(r"(\d+) of \1 answers come from", caplog.text)
    assert Path("result.json.answers.jsonl").read_bytes() == rows
    assert json.loads(Path("result.json").read_text("utf-8"))["model"] == "elsewhere"


def test_a_folder_with_a_tag_in_its_name_is_not_taken_for_another(validate, checkpoint):
    """Only names of a server may have the tag that Ollama adds: here the folder that is named is loaded."""
    checkpoint.rename("model:latest")
    flags = ["--limit", "6", "--max-tokens", "4", "--temperature", "0", "--out", "result.json"]
    assert validate(["--checkpoint", "model:latest", *flags]) == 0
    rows = Path("result.json.answers.jsonl")
    rows.write_text("".join(rows.read_text("utf-8").splitlines(keepends=True)[:2]), "utf-8")
    Path("model:latest").rename("model")
    assert validate(["--checkpoint", "model", *flags]) == 0
    assert json.loads(Path("result.json").read_text("utf-8"))["calls"]["failed"] == 0
