"""Saved tokenizers, templates and GGUF vocabularies are compared with what was trained, prompt by prompt."""

import json
from dataclasses import replace
from datetime import date

import pytest

import tiny_models
from doric.finetune import gguf_tokens, llama_cpp
from doric.finetune.base_files import carry
from doric.finetune.chat_template import load_tokenizer
from doric.finetune.converter_view import converter_view
from doric.finetune.folders import cache_folder
from doric.finetune.gguf_files import gguf_converter, make_gguf
from doric.finetune.saved_tokens import TrainedTokens, adds_space, check_folder

pytestmark = pytest.mark.usefixtures("finetune_group")
DAY = date(2026, 11, 26)


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """A function that returns the folder of a small base model, which is made once."""
    made = {}

    def base(name):
        if name not in made:
            made[name] = getattr(tiny_models, f"{name}_base")(tmp_path_factory.mktemp(name))
        return made[name]

    return base


@pytest.mark.parametrize("name", ["thinking", "dated"])
def test_saved_template_writes_the_trained_prompts_without_the_trainings_switches(bases, tmp_path, name):
    """The saved tokenizer writes all 283 prompts as trained, and the base model's own template does not."""
    tokenizer = load_tokenizer(str(bases(name)), DAY)
    trained = TrainedTokens.of(tokenizer, [tokenizer.eos_token_id])
    trained.write(tmp_path / "trained.json")
    assert TrainedTokens.read(tmp_path / "trained.json") == trained
    tokenizer.save_pretrained(tmp_path / "saved")
    found = check_folder(tmp_path / "saved", trained)
    assert found == {"eos": True, "template": True, "prompts": "283 of 283"}
    assert check_folder(bases(name), trained)["prompts"] == "0 of 283"


def test_saved_settings_without_an_end_token_are_found(bases, tmp_path):
    """A generation_config.json that stops at fewer tokens than the training fails."""
    tokenizer = load_tokenizer(str(bases("thinking")), DAY)
    trained = TrainedTokens.of(tokenizer, [tokenizer.eos_token_id, 0])
    tokenizer.save_pretrained(tmp_path)
    for ends, good in (([tokenizer.eos_token_id, 0], True), (tokenizer.eos_token_id, False)):
        (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        assert check_folder(tmp_path, trained)["eos"] is good


def test_space_after_a_special_token_is_known(bases, tmp_path):
    """Whether a SentencePiece tokenizer adds a space after a special token is passed on to llama.cpp's converter."""
    tokenizer = load_tokenizer(str(bases("sentencepiece")), DAY)
    assert adds_space(tokenizer) is False
    assert adds_space(load_tokenizer(str(bases("thinking")), DAY)) is None
    view = converter_view(bases("sentencepiece"), tmp_path / "view", spaced=False)
    assert json.loads((view / "tokenizer_config.json").read_text())["add_prefix_space"] is False
    assert (view / "model.safetensors").samefile(bases("sentencepiece") / "model.safetensors")
    assert converter_view(bases("thinking"), tmp_path / "other", spaced=None) == bases("thinking")


@pytest.fixture
def vocabulary(bases):
    """The GGUF vocabulary of the SentencePiece model, with the right scores."""
    from sentencepiece import SentencePieceProcessor

    source = SentencePieceProcessor(model_file=str(bases("sentencepiece") / "tokenizer.model"))
    size = source.get_piece_size()
    special = [source.is_control(at) or source.is_byte(at) or source.is_unknown(at) for at in range(size)]
    return gguf_tokens.Vocabulary(
        kind="llama", eos=2, template="", words=[source.id_to_piece(at) for at in range(size)],
        types=[3 if one else gguf_tokens.NORMAL for one in special],
        scores=[source.get_score(at) for at in range(size)], merges=[],
    )  # fmt: skip


def test_lost_token_scores_are_found_without_llama_cpp(bases, vocabulary):
    """Scores of -1000 for every token, or other scores than in tokenizer.model, are found by reading the file."""
    model = bases("sentencepiece") / "tokenizer.model"
    assert gguf_tokens.scores_differ(vocabulary, model) == ""
    lost = replace(vocabulary, scores=[-1000.0] * len(vocabulary.scores))
    assert "tokenizer.model was missing" in gguf_tokens.scores_differ(lost, None)
    other = replace(vocabulary, scores=[score - 1 for score in vocabulary.scores])
    assert "token scores differ" in gguf_tokens.scores_differ(other, model)
    assert gguf_tokens.scores_differ(replace(lost, kind="gpt2"), None) == ""


@pytest.mark.parametrize(
    ("changed", "cuts", "alike"), [(0, "283 of 283", True), (4, "279 of 283", False)], ids=["all", "not all"]
)
def test_llama_cpp_must_cut_every_prompt_as_trained(bases, monkeypatch, tmp_path, changed, cuts, alike):
    """The token ids of a real llama.cpp are compared with the trained ids of all held-out prompts."""
    trained = TrainedTokens.of(load_tokenizer(str(bases("sentencepiece")), DAY), [2])
    found = [[*ids, 0] if at < changed else ids for at, ids in enumerate(trained.ids)]
    monkeypatch.setattr(llama_cpp, "engine", lambda: "llama_cpp")
    monkeypatch.setattr(llama_cpp, "tokenize", lambda file, texts, using: found)
    assert gguf_tokens.compare_cuts(tmp_path, trained) == (cuts, alike)


def test_missing_or_failing_llama_cpp_is_said_plainly(bases, monkeypatch, tmp_path):
    """Without llama.cpp, the result says that nothing was compared, and does not count as a difference."""
    trained = TrainedTokens.of(load_tokenizer(str(bases("sentencepiece")), DAY), [2])
    monkeypatch.setattr(llama_cpp, "engine", lambda: "")
    assert gguf_tokens.compare_cuts(tmp_path, trained) == ("not compared: no llama.cpp here", True)

    def fail(file, texts, using):
        raise RuntimeError("llama_cpp could not read the file: unknown architecture", "Try a newer one.")

    monkeypatch.setattr(llama_cpp, "engine", lambda: "llama_cpp")
    monkeypatch.setattr(llama_cpp, "tokenize", fail)
    cuts, alike = gguf_tokens.compare_cuts(tmp_path, trained)
    assert cuts.startswith("not compared: llama_cpp could not read")
    assert alike


@pytest.mark.skipif(not llama_cpp.engine(), reason="needs llama.cpp: npm's node-llama-cpp or llama-cpp-python")
def test_real_llama_cpp_cuts_the_prompts_of_a_sentencepiece_model_as_trained(bases, tmp_path):
    """A GGUF file with the carried tokenizer.model is cut alike for 283 of 283 prompts, and one without it is not."""
    base = bases("sentencepiece")
    tokenizer = load_tokenizer(str(base), DAY)
    trained = TrainedTokens.of(tokenizer, [tokenizer.eos_token_id])
    saved = tmp_path / "saved"
    saved.mkdir()
    for name in ("config.json", "model.safetensors"):
        (saved / name).write_bytes((base / name).read_bytes())
    tokenizer.save_pretrained(saved)
    converter = gguf_converter(cache_folder())
    lost = gguf_tokens.check_gguf(make_gguf(saved, tmp_path, "f16", converter), str(base), trained, tokenizer)
    assert not lost["template"]
    assert carry(str(base), saved) == ["tokenizer.model"]
    file = make_gguf(saved, tmp_path, "f16", converter, trained.spaced)
    found = gguf_tokens.check_gguf(file, str(base), trained, tokenizer)
    assert found == {"eos": True, "template": True, "cuts": "283 of 283", "wrong": ""}
