"""The minimal pairs: the file, their scores with a model and with a server, results, controls and lm-eval tasks."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from doric.core import text as texts
from doric.core.errors import FatalServerError, InputError
from doric.core.settings import load_settings
from doric.evaluation.checkpoint_logprobs import score_pairs
from doric.evaluation.lm_eval_tasks import HARNESS, write_tasks
from doric.evaluation.minimal_pairs import (
    MinimalPair,
    PairScore,
    PairsResult,
    SentenceScore,
    changes,
    control,
    figures,
    load_pairs_result,
    minimal_pairs,
    phenomena,
    with_baseline,
)
from doric.evaluation.server_logprobs import score_pairs_on_server
from doric.llm.client import Client
from pairs_server import answers_only, echoes, no_page, own_field, pairs_server
from scripts import load_script

ROOT = Path(__file__).parents[1]
FIT = MinimalPair("question-word", "Fit like the day?", "Whit like the day?")
LONGER = MinimalPair("article", "He's at the fishin.", "He's at fishin.")
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The `main` of the script. The folder and the environment are empty."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MODEL", "MODEL_PROVIDER", "EXTRA_BODY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return load_script(ROOT / "validation" / "score_minimal_pairs.py").main


def scored(pair: MinimalPair, right: float, wrong: float) -> PairScore:
    """A pair with the log-probabilities of its sentences; each word is one token."""
    counts = len(pair.right.split()), len(pair.wrong.split())
    return PairScore(pair, SentenceScore(right, counts[0]), SentenceScore(wrong, counts[1]))


# --- the file -------------------------------------------------------------------------------------------------------


def test_there_are_enough_pairs_of_each_phenomenon():
    """The exam has at least 400 pairs, and 20 to 40 of each phenomenon."""
    sizes = {name: len(group) for name, group in phenomena(minimal_pairs()).items()}
    assert len(minimal_pairs()) >= 400
    assert {name: size for name, size in sizes.items() if not 20 <= size <= 40} == {}


def test_no_sentence_of_the_exam_is_in_a_dataset(tmp_path):
    """A dataset of the embedded voice has none of the sentences, so no model was trained on the exam."""
    from generate_doric_dataset import main

    out = tmp_path / "rows.jsonl"
    topics, rows = ROOT / "topics.json", ["--n-per-topic", "1", "--backend", "heuristic"]
    assert main(["--topics-json", str(topics), "--out", str(out), *rows]) == 0
    said = texts.fold(out.read_text("utf-8"))
    assert [pair.right for pair in minimal_pairs() if texts.fold(pair.right) in said] == []


# --- figures --------------------------------------------------------------------------------------------------------


def test_a_pair_is_correct_if_its_right_sentence_is_more_probable():
    """The sum of the log-probabilities counts, and a tie is not correct."""
    assert scored(FIT, -5.0, -6.0).is_correct()
    assert not scored(FIT, -6.0, -5.0).is_correct()
    assert not scored(FIT, -5.0, -5.0).is_correct()


def test_measures_by_length_can_disagree_with_the_sum():
    """A longer sentence may have the lower sum and the higher mean."""
    longer = scored(LONGER, -8.0, -7.0)
    assert [longer.is_correct(name) for name in ("sum", "per_token", "per_character")] == [False, True, True]


def test_figures_are_by_phenomenon_and_by_source():
    """A pair in doubt counts in its phenomenon, but not among those with a source."""
    doubted = MinimalPair("gin", "Gin it rains.", "If it rains.", "a grammar", "Doubt: is it heard?")
    known = MinimalPair("kye", "The kye is oot.", "The coos is oot.", "a grammar")
    found = figures([scored(FIT, -1, -2), scored(doubted, -2, -1), scored(known, -1, -2)])
    assert [found[name]["sum"]["n"] for name in ("all", "sourced")] == [3, 1]
    assert {name: accuracy["sum"]["value"] for name, accuracy in found["phenomena"].items()} == {
        "question-word": 1.0,
        "gin": 0.0,
        "kye": 1.0,
    }


def test_a_change_is_over_the_pairs_that_both_have():
    """Pairs of one of the two results only do not count in a change."""
    found = changes([scored(FIT, -1, -2), scored(LONGER, -1, -2)], [scored(FIT, -2, -1)])
    assert (found["all"]["n"], found["all"]["value"]) == (1, 1.0)
    assert "article" not in found


# --- controls -------------------------------------------------------------------------------------------------------


def test_exchanged_labels_leave_half_of_what_a_model_knows():
    """With the labels of half of the pairs exchanged, a model that knows everything is right in half of them."""
    mixed = control(minimal_pairs(), "labels")
    rights = {pair.right for pair in minimal_pairs()}
    correct = sum(pair.right in rights for pair in mixed)
    assert abs(correct - len(mixed) / 2) <= 1


def test_shuffled_words_stay_together():
    """Both sides get the same order, so they still differ in one word only."""
    (shuffled,) = control([FIT], "words", seed=3)
    assert Counter(shuffled.right.split()) == Counter(FIT.right.split())
    differing = [two for two in zip(shuffled.right.split(), shuffled.wrong.split(), strict=True) if two[0] != two[1]]
    assert differing == [("Fit", "Whit")]


# --- a model in memory ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    """A model with random weights whose tokens are bytes, and its tokenizer."""
    torch = pytest.importorskip("torch", reason="needs `uv sync --group finetune`")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spec = Tokenizer(models.BPE({letter: at for at, letter in enumerate([*alphabet, "<s>"])}, []))
    spec.pre_tokenizer, spec.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spec, bos_token="<s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    return LlamaForCausalLM(config), tokenizer


def by_hand(model, ids: list[int], first: int) -> float:
    """The sum of the log-probabilities of the tokens from number `first`, one token at a time."""
    import torch

    total = 0.0
    for at in range(first, len(ids)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids[:at]])).logits[0, -1]
        total += torch.log_softmax(logits.double(), -1)[ids[at]].item()
    return total


def test_a_score_is_the_sum_over_the_tokens_of_the_sentence(tiny):
    """Each token is predicted from those before it, the first one from the BOS token."""
    model, tokenizer = tiny
    (found,) = score_pairs(model, tokenizer, [FIT])
    ids = [tokenizer.bos_token_id, *tokenizer.encode(FIT.right, add_special_tokens=False)]
    assert found.right.tokens == len(ids) - 1
    assert found.right.logprob == pytest.approx(by_hand(model, ids, 1), abs=1e-4)


def test_batches_do_not_change_the_scores(tiny):
    """Sentences of different lengths in one batch have the scores that they have alone, and keep their order."""
    model, tokenizer = tiny
    alone, together = (score_pairs(model, tokenizer, minimal_pairs()[::60], batch_size=size) for size in (1, 7))
    assert [score.pair for score in together] == list(minimal_pairs()[::60])
    for one, other in zip(alone, together, strict=True):
        assert one.right.logprob == pytest.approx(other.right.logprob, abs=1e-3)
        assert one.wrong.logprob == pytest.approx(other.wrong.logprob, abs=1e-3)


def test_a_start_is_read_but_not_scored(tiny):
    """With a start of one's own, its tokens count only as what comes before."""
    model, tokenizer = tiny
    (found,) = score_pairs(model, tokenizer, [FIT], start="\n")
    ids = tokenizer.encode("\n" + FIT.right)
    assert found.right.tokens == len(FIT.right)
    assert found.right.logprob == pytest.approx(by_hand(model, ids, 1), abs=1e-4)


def test_scoring_leaves_a_model_in_training(tiny):
    """A model that is trained further afterwards is in the mode that it was in."""
    model, tokenizer = tiny
    model.train()
    score_pairs(model, tokenizer, [FIT])
    assert model.training


def test_a_broken_model_is_an_error(tiny):
    """A log-probability that is no number is not counted as wrong: it is reported."""
    import copy

    model, tokenizer = copy.deepcopy(tiny[0]), tiny[1]
    model.lm_head.weight.data[:] = math.nan
    with pytest.raises(InputError, match="not finite"):
        score_pairs(model, tokenizer, [FIT])


# --- a server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [echoes, own_field])
async def test_a_server_gives_the_scores_of_the_sentence_only(way):
    """Neither the start nor what the server adds counts, in both ways of asking."""
    with pairs_server(way) as (url, bodies):
        async with Client(load_settings(base_url=url)) as client:
            found = await score_pairs_on_server(client, [FIT, LONGER])
    assert [(score.right.logprob, score.wrong.logprob) for score in found] == [(-14, -15), (-16, -13)]
    assert [score.right.tokens for score in found] == [4, 4]
    assert {body["model"] for body in bodies} == {"tiny"}


@pytest.mark.parametrize("way", [answers_only, no_page])
async def test_a_server_without_prompt_logprobs_is_refused(way):
    """The error says what is missing and what else can be done; at most one request is made in each way."""
    with pairs_server(way) as (url, bodies):
        async with Client(load_settings(base_url=url)) as client:
            with pytest.raises(FatalServerError, match="no log-probabilities of a prompt") as caught:
                await score_pairs_on_server(client, [FIT, LONGER])
    assert "--checkpoint" in caught.value.hint
    assert len(bodies) == 2


async def test_a_busy_server_is_asked_again():
    """Requests that fail for a moment are repeated, and the scores are complete."""
    with pairs_server(faults=2) as (url, _):
        async with Client(load_settings(base_url=url)) as client:
            found = await score_pairs_on_server(client, [FIT])
    assert found[0].is_correct()


async def test_a_sentence_without_a_score_ends_the_run():
    """An accuracy over the sentences that happened to work would be wrong.

    The right sentence is asked first: a server that has never answered counts as gone.
    """

    def fails_for_wrong(body, logprob):
        return (500, {"error": {"message": "boom"}}) if "Whit" in body["prompt"] else echoes(body, logprob)

    with pairs_server(fails_for_wrong) as (url, _):
        async with Client(load_settings(base_url=url)) as client:
            with pytest.raises(FatalServerError, match="Whit like"):
                await score_pairs_on_server(client, [FIT], concurrency=1, max_retries=0)


# --- results --------------------------------------------------------------------------------------------------------

ABOUT = {"model": "m", "address": "", "date": "2026-11-28", "start": "BOS", "control": "", "pairs_hash": "h"}


def test_a_saved_result_is_read_as_it_was(tmp_path):
    """What is saved and read again has the same scores, also those of its baseline."""
    before = PairsResult(ABOUT | {"model": "base"}, (scored(FIT, -2.0, -1.0),))
    result = with_baseline(PairsResult(ABOUT, (scored(FIT, -1.0, -2.0),)), before, Path("b"))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(result.as_json()), "utf-8")
    assert load_pairs_result(path) == result
    assert result.summary()["changes"]["all"]["value"] == 1.0


@pytest.mark.parametrize(
    "content", ["", "[]", '{"kind": "doric-scoreboard"}', '{"kind": "doric-minimal-pairs", "pairs": []}', "[" * 9999]
)
def test_another_file_is_no_result(tmp_path, content):
    """Any other file is one line of error with its name."""
    path = tmp_path / "r.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=r"r\.json: not a result of minimal pairs"):
        load_pairs_result(path)


# --- tasks for lm-evaluation-harness ------------------------------------------------------------------------------


def test_the_tasks_hold_every_pair(tmp_path):
    """There is a task with its own rows for each phenomenon, and a group of all tasks."""
    write_tasks(tmp_path / "tasks", minimal_pairs())
    group = json.loads((tmp_path / "tasks" / "doric_minimal_pairs.yaml").read_text("utf-8"))
    rows = []
    for name in group["task"]:
        task = json.loads((tmp_path / "tasks" / f"{name}.yaml").read_text("utf-8"))
        data = Path(task["dataset_kwargs"]["data_files"]["test"])
        assert data.is_absolute()
        assert (task["doc_to_text"], task["target_delimiter"]) == ("", "")  # the sentence and nothing before it
        rows += [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    assert rows == [{"right": pair.right, "wrong": pair.wrong} for pair in minimal_pairs()]


# --- the command ----------------------------------------------------------------------------------------------------


def test_one_command_scores_a_server(command, capsys, tmp_path):
    """It prints a line for each phenomenon and writes a result that can be the baseline of the next run."""
    only = ["--phenomenon", "negation-nae", "--phenomenon", "article"]
    with pairs_server() as (url, _):
        assert command(["--base-url", url, "--out", "first.json", *only]) == 0
        first = capsys.readouterr().out
        assert command(["--base-url", url, "--out", "second.json", "--baseline", "first.json", *only]) == 0
    assert re.search(r"negation-nae +28 +0% \[0-12\]", first)
    assert re.search(r"article .* \+0 \[", capsys.readouterr().out)
    assert json.loads((tmp_path / "second.json").read_text())["baseline"]["model"] == "tiny"


def test_a_refusing_server_is_one_line_and_status_2(command, capsys):
    """A server that gives no log-probabilities is an error without a traceback, and nothing is written."""
    with pairs_server(answers_only) as (url, _):
        assert command(["--base-url", url]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "hint"))]
    assert lines[0] == "error: the server of tiny gives no log-probabilities of a prompt"
    assert not Path("datasets").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--checkpoint", "./nowhere"], "./nowhere: there is no such folder"),
        (["--checkpoint", "runs/first/export/merged"], "runs/first/export/merged: there is no such folder"),
        (["--checkpoint", "x", "--model", "y"], "leave out --base-url and --model"),
        (["--phenomenon", "vowels"], "there is no phenomenon 'vowels'"),
        (["--baseline", "missing.json"], "missing.json: cannot be read"),
        ([], "no model to score"),
    ],
)
def test_a_mistake_is_an_error_and_a_hint(command, capsys, flags, says):
    """Wrong flags and files are one line that says what to do."""
    try:
        status = command(flags)
    except SystemExit as stopped:
        status = stopped.code
    error = capsys.readouterr().err
    assert status == 2
    assert says in error
    assert "hint:" in error
    assert "Traceback" not in error


def test_another_file_is_not_replaced(command, capsys):
    """A file that is no earlier result stays."""
    Path("notes.json").write_text('{"mine": 1}')
    assert command(["--checkpoint", ".", "--out", "notes.json"]) == 2
    assert "is not a result of minimal pairs" in capsys.readouterr().err
    assert Path("notes.json").read_text() == '{"mine": 1}'


def test_the_tasks_are_written_without_a_model(command, capsys):
    """--lm-eval needs no model, and says how the harness is started."""
    assert command(["--lm-eval", "tasks"]) == 0
    assert f"Run: {HARNESS} tasks" in capsys.readouterr().out
    assert f"{HARNESS} datasets/lm_eval" in (ROOT / "docs" / "minimal_pairs.md").read_text("utf-8")
    assert Path("tasks/doric_word_order.yaml").is_file()
