"""Exactly the answers are trained, each to its end token, whatever the chat template does."""

import copy
from dataclasses import replace

import pytest

from doric.core.errors import DoricError
from doric.finetune.chat_template import check_tokens, render, set_padding
from doric.finetune.data import as_example
from doric.finetune.masking import Encoded, check_row_tokens, encode, encode_all, pieces
from doric.finetune.train import training_settings
from finetune_rows import sharegpt

CHAT = [{"role": "user", "content": "Fit’s on at 7.30?"}, {"role": "assistant", "content": "Naething, I dinna think."}]

pytestmark = pytest.mark.usefixtures("finetune_group")


def test_only_answers_are_trained_and_each_to_its_end(tokenizer, ends):
    """In a chat with two answers, training covers exactly both answers and their end tokens."""
    chat = [*CHAT, {"role": "user", "content": "Ay?"}, {"role": "assistant", "content": "Aye."}]
    row = encode(tokenizer, chat, ends)
    check_row_tokens(tokenizer, chat, row, ends)
    trained = [label for label in row.labels if label != -100]
    assert tokenizer.decode(trained) == "Naething, I dinna think.<|im_end|>Aye.<|im_end|>"


def test_mask_equals_trls_mask_except_for_the_newline_after_the_end(tokenizer, ends, plan, tiny, tmp_path):
    """For prompt and completion, TRL trains the same tokens and also the newline after the end token."""
    from datasets import Dataset
    from trl import SFTTrainer

    chats = [CHAT, [{"role": "user", "content": "Ay?"}, {"role": "assistant", "content": "Aye, “fairly” – 20%."}]]
    data = Dataset.from_list([{"prompt": chat[:1], "completion": chat[1:]} for chat in chats])
    settings = training_settings(replace(plan, steps=1), tmp_path, 1)
    settings.eval_strategy, settings.eval_on_start = "no", False
    held = SFTTrainer(model=tiny, args=settings, train_dataset=data, processing_class=tokenizer).train_dataset
    ours = {tuple(row.ids): row for row in (encode(tokenizer, chat, ends) for chat in chats)}
    for theirs in held:
        row = ours[tuple(theirs["input_ids"])]
        different = [at for at, label in enumerate(theirs["labels"]) if label != row.labels[at]]
        assert tokenizer.decode([theirs["input_ids"][at] for at in different]) == "\n"


def test_template_without_an_end_stops_the_run(tokenizer, ends):
    """A template without an end token after answers is refused, because the model would never stop."""
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    row = encode(endless, CHAT, ends)
    with pytest.raises(DoricError, match="not an end token") as caught:
        check_row_tokens(endless, CHAT, row, ends)
    assert "chat_template" in caught.value.hint


def test_padding_equal_to_the_end_stops_the_run(tokenizer):
    """If the padding token is the end token, the run stops, the hint names another token, and `auto` fixes it."""
    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    with pytest.raises(DoricError, match="must differ") as caught:
        check_tokens(same)
    assert "<|endoftext|>" in caught.value.hint
    set_padding(same, "auto")
    check_tokens(same)


def test_trained_question_stops_the_run(tokenizer, ends):
    """Labels that include the question, or only a part of the answer, give an error that shows the trained text."""
    row = encode(tokenizer, CHAT, ends)
    stop = row.ids.index(ends[0], next(at for at, label in enumerate(row.labels) if label != -100)) + 1
    early = row.ids[:stop] + row.labels[stop:]
    with pytest.raises(DoricError, match="The trained text is more than the answer") as caught:
        check_row_tokens(tokenizer, CHAT, Encoded(row.ids, early), ends)
    assert "the questions must be grey" in caught.value.hint
    begun = next(at for at, label in enumerate(row.labels) if label != -100)
    late = [-100] * (begun + 2) + row.labels[begun + 2 :]
    with pytest.raises(DoricError, match="not the whole answer"):
        check_row_tokens(tokenizer, CHAT, Encoded(row.ids, late), ends)


FOLDS = (
    "{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{%- for m in messages %}"
    "{%- if m['role'] == 'user' %}{{ '[INST] ' + (system + '\n\n' if system and loop.index >= loop.length - 1 else '') "
    "+ m['content'] + '[/INST]' }}"
    "{%- elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + '<|im_end|>' }}{%- endif %}"
    "{%- endfor %}"
)
"""A template that moves the system message into the last question, as Mistral's does."""


def test_system_message_folded_into_the_last_question_is_not_trained(tokenizer, ends):
    """Only the answers are trained, even if the template moves the system message to another turn."""
    folding = copy.deepcopy(tokenizer)
    folding.chat_template = FOLDS
    chat = [{"role": "system", "content": "Spik Doric."}, *CHAT, {"role": "user", "content": "Ay?"}, CHAT[1]]
    row = encode(folding, chat, ends)
    check_row_tokens(folding, chat, row, ends)
    trained = folding.decode([label for label in row.labels if label != -100])
    assert trained == 2 * " Naething, I dinna think.<|im_end|>"
    assert "Spik Doric.\n\nAy?" in folding.decode(row.ids)


def test_template_without_a_system_role_gives_a_clear_error(tokenizer):
    """For a template without a system role, such as Gemma's, the hint says to remove the system messages."""
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(DoricError, match="System role not supported") as caught:
        render(strict, [{"role": "system", "content": "Spik Doric."}, *CHAT])
    assert "remove the system messages" in caught.value.hint


def test_row_with_nothing_trained_stops_the_run(tokenizer, ends):
    """A row without any trained token is refused."""
    row = encode(tokenizer, CHAT, ends)
    with pytest.raises(DoricError, match="no trained token"):
        check_row_tokens(tokenizer, CHAT, replace(row, labels=[-100] * len(row.ids)), ends)


def test_doubled_first_token_stops_the_run(tokenizer, ends):
    """Tokens that differ from those of the template, for example a second start token, are refused."""
    row = encode(tokenizer, CHAT, ends)
    double = replace(row, ids=[tokenizer.bos_token_id, *row.ids], labels=[-100, *row.labels])
    with pytest.raises(DoricError, match="template"):
        check_row_tokens(tokenizer, CHAT, double, ends)


def test_coloured_row_shows_every_letter_once(tokenizer, ends):
    """The coloured pieces of a row, joined together, are its text, and no character is split."""
    chat = [CHAT[0], {"role": "assistant", "content": "Aye – “fairly” 🐑, naïve café."}]
    row = encode(tokenizer, chat, ends)
    assert "".join(text for text, _ in pieces(tokenizer, row)) == tokenizer.decode(row.ids)


def test_template_that_asks_otherwise_than_it_was_trained_is_noted(tokenizer, ends, capsys):
    """If the template opens a thought before an answer but leaves it out of the rows, a note says in how many rows."""
    example = as_example(sharegpt(("human", "Fit like?"), ("gpt", "Nae bad.")), "data:1")
    encode_all(tokenizer, [example], ends)
    assert capsys.readouterr().out == ""
    thinking = copy.deepcopy(tokenizer)
    opened = "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
    thinking.chat_template = tokenizer.chat_template + opened
    encode_all(thinking, [example], ends)
    assert "In 1 of 1 rows" in capsys.readouterr().out
