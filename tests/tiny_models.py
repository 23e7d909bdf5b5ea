"""Small random base models with the awkward files of real ones, made from the project's own text without a model hub.

Each function writes one base model folder and returns it. The weights are random: what is tested is what a server reads
beside them, so one layer of 64 features is enough.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from doric.quality.decontamination import held_out_prompts

SIZE = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 2048,
}  # fmt: skip
ANSWERS = ("Aye, fairly.", "Naething, I dinna think – the café’s shut ‘til 1998.", "Fit’s on at 7.30, loon?")

MISTRAL = (
    "{{- bos_token }}{%- for m in messages %}{%- if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + '[/INST]' }}"
    "{%- elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{%- else %}{{ raise_exception('Only user and assistant roles are supported') }}{%- endif %}{%- endfor %}"
)
THINKING = (
    "{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{%- if m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
"""Qwen3's switch: without enable_thinking = false, the server lets the model think first."""

DATED = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    '{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}'
    "{%- endif %}{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = 'Ye are a helpfu assistant.' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + system }}"
    "{{- '<|eot_id|>' }}"
    "{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim "
    "+ '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
"""Llama 3.2's first message: today's date, and a system prompt if the chat has none."""

GEMMA = (
    "{{ bos_token }}{%- for m in messages %}{%- set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\\n' }}{%- if m['content'] is string %}{{ m['content'] | trim }}{%- else %}"
    "{%- for part in m['content'] %}{%- if part['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{%- elif part['type'] == 'text' %}{{ part['text'] | trim }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{ '<end_of_turn>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}"
)


@cache
def corpus() -> tuple[str, ...]:
    """Lines of text to train a tokenizer on."""
    return tuple(one.prompt for one in held_out_prompts()) + ANSWERS


def sentencepiece_model(path: Path, specials: tuple[str, ...] = (), **pieces: Any) -> None:
    """Train a SentencePiece model with Llama's options and write it to `path`."""
    import io

    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=out, model_type="bpe", vocab_size=900, byte_fallback=True,
        character_coverage=1.0, split_digits=True, remove_extra_whitespaces=False, normalization_rule_name="identity",
        control_symbols=list(specials), minloglevel=2, **pieces,
    )  # fmt: skip
    path.write_bytes(out.getvalue())


def byte_level_tokenizer(template: str, specials: tuple[str, ...], bos: str | None, eos: str, pad: str) -> Any:
    """A byte-level BPE tokenizer as Qwen's and Llama 3's, with these special tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    made = ByteLevelBPETokenizer()
    made.train_from_iterator(corpus(), vocab_size=800, special_tokens=list(specials), show_progress=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    return fast


def written(folder: Path, model: Any, tokenizer: Any, settings: dict[str, Any] | None = None) -> Path:
    """Write a base model; `settings` is its generation_config.json, which may be one that transformers cannot save."""
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    for name, value in ends.items():
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "generation_config.json").read_text("utf-8"))
    (folder / "generation_config.json").write_text(json.dumps(config | (settings or {})), "utf-8")
    return folder


def seeded(kind: str, config: Any) -> Any:
    """A model of this class with random weights in bfloat16."""
    import torch
    import transformers

    torch.manual_seed(0)
    return getattr(transformers, kind)(config).to(torch.bfloat16)


def sentencepiece_base(folder: Path) -> Path:
    """A Llama-type model with SentencePiece's `tokenizer.model` beside `tokenizer.json`, as Mistral 7B v0.3 has it."""
    from transformers import LlamaConfig, LlamaTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece_model(folder / "tokenizer.model", ("[INST]", "[/INST]"))
    words = LlamaTokenizer.from_pretrained(folder, legacy=False)
    words.add_special_tokens({"additional_special_tokens": ["[INST]", "[/INST]"]})
    words.pad_token, words.chat_template = "<unk>", MISTRAL
    config = LlamaConfig(**SIZE, vocab_size=len(words), initializer_range=0.2, tie_word_embeddings=True)
    return written(folder, seeded("LlamaForCausalLM", config), words)


def thinking_base(folder: Path) -> Path:
    """A Qwen3-type model that thinks unless the template's switch `enable_thinking` is off."""
    from transformers import Qwen3Config

    words = byte_level_tokenizer(
        THINKING,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        None,
        "<|im_end|>",
        "<|endoftext|>",
    )
    config = Qwen3Config(**SIZE, vocab_size=len(words), initializer_range=0.2, tie_word_embeddings=True)
    return written(folder, seeded("Qwen3ForCausalLM", config), words)


def dated_base(folder: Path) -> Path:
    """A Llama-3-type model whose template writes today's date and a default system prompt."""
    from transformers import LlamaConfig

    marks = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|finetune_right_pad_id|>")
    words = byte_level_tokenizer(DATED, marks, marks[0], marks[3], marks[4])
    config = LlamaConfig(**SIZE, vocab_size=len(words), initializer_range=0.2, bos_token_id=0, tie_word_embeddings=True)
    return written(folder, seeded("LlamaForCausalLM", config), words)


def sampling_base(folder: Path) -> Path:
    """A Qwen3-type model whose generation_config.json has a temperature but no `do_sample`: not saved again."""
    made = thinking_base(folder)
    file = made / "generation_config.json"
    settings = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(settings | {"temperature": 0.6, "top_p": 0.95, "top_k": 20}), "utf-8")
    return made


def gemma3_base(folder: Path) -> Path:
    """A Gemma-3-type model: a language model, a vision tower, and the processor's files beside the tokenizer's."""
    from transformers import Gemma3Config, Gemma3ImageProcessor, Gemma3Processor, GemmaTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    marks = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")
    sentencepiece_model(
        folder / "tokenizer.model", (*marks, "<mask>"), pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>",
        eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
        user_defined_symbols=["\n" * count for count in (1, 2, 3, 4)],
    )  # fmt: skip
    images = dict(zip(("boi_token", "eoi_token", "image_token"), marks[2:], strict=True))
    words = GemmaTokenizer.from_pretrained(folder, extra_special_tokens=images)
    words.add_special_tokens({"additional_special_tokens": list(marks[:2])})
    words.eos_token, words.chat_template = "<end_of_turn>", GEMMA
    eyes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14, "vision_use_head": False}  # fmt: skip
    text = {
        **SIZE,
        "vocab_size": len(words),
        "sliding_window": 512,
        "query_pre_attn_scalar": 256,
        "initializer_range": 0.2,
    }
    numbers = words.convert_tokens_to_ids(list(marks[2:]))
    config = Gemma3Config(
        text_config=text, vision_config=eyes, mm_tokens_per_image=4, boi_token_index=numbers[0],
        eoi_token_index=numbers[1], image_token_index=numbers[2],
    )  # fmt: skip
    processor = Gemma3Processor(Gemma3ImageProcessor(size={"height": 28, "width": 28}), words, image_seq_length=4)
    processor.chat_template = GEMMA
    processor.save_pretrained(folder)
    written(folder, seeded("Gemma3ForConditionalGeneration", config), words)
    as_published(folder / "model.safetensors")
    return folder


def as_published(weights: Path) -> None:
    """Give the vision tower the names that it has in Google's files; Transformers leaves out a part of them."""
    from safetensors.torch import load_file, save_file

    named = load_file(weights)
    tower, inside = "vision_tower.", "vision_tower.vision_model."
    renamed = {name.replace(tower, inside, 1) if inside not in name else name: value for name, value in named.items()}
    save_file(renamed, weights, metadata={"format": "pt"})
