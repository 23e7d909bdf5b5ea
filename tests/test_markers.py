"""Marks of reasoning and of chat templates are found in a whole text and in its pieces, and never in ordinary words."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.markers import (
    ReasoningFilter,
    cut_end_marks,
    find_marker,
    find_turn_mark,
    split_reasoning,
    without_turn_marks,
)

ANSWER = "Aye, it's a gran day."
PLAN = "The user wants Doric.\n1. be short\n2. be plain"
MARKED = {
    "think": f"<think>{PLAN}</think>\n\n{ANSWER}",
    "thinking": f"<thinking>{PLAN}</thinking>{ANSWER}",
    "thought": f"<thought>{PLAN}</thought>{ANSWER}",
    "reasoning": f"<reasoning>{PLAN}</reasoning>{ANSWER}",
    "reflection": f"<reflection>{PLAN}</reflection>{ANSWER}",
    "analysis": f"<analysis>{PLAN}</analysis>{ANSWER}",
    "scratchpad": f"<scratchpad>{PLAN}</scratchpad>{ANSWER}",
    "upper case": f"<THINK>{PLAN}</THINK>{ANSWER}",
    "spaces": f"< think >{PLAN}</ think >{ANSWER}",
    "attributes": f'<think type="deep" budget="9">{PLAN}</think>{ANSWER}',
    "two spellings": f"<think>{PLAN}</thinking>{ANSWER}",
    "prefix": f"<seed:think>{PLAN}</seed:think>{ANSWER}<seed:eos>",
    "brackets": f"[THINK]{PLAN}[/THINK]{ANSWER}",
    "reasoning in brackets": f"[REASONING]{PLAN}[/REASONING]{ANSWER}",
    "triangles": f"◁think▷{PLAN}◁/think▷{ANSWER}",
    "full-width": f"＜think＞{PLAN}＜/think＞{ANSWER}",
    "escaped": f"&lt;think&gt;{PLAN}&lt;/think&gt;{ANSWER}",
    "of thought": f"<|begin_of_thought|>{PLAN}<|end_of_thought|><|begin_of_solution|>{ANSWER}<|end_of_solution|>",
    "start thinking": f"<|START_THINKING|>{PLAN}<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
    "token": f"<|think|>{PLAN}<|end|><|begin|>assistant<|content|>{ANSWER}",
    "harmony": f"<|channel|>analysis<|message|>{PLAN}<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
    "harmony with a tool": f"<|channel|>analysis<|message|>{PLAN}<|end|><|start|>assistant<|channel|>commentary "
    f"to=functions.look <|constrain|>json<|message|>{{}}<|call|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    "harmony, first mark lost": f"{PLAN}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    "harmony, marks lost": f"analysis{PLAN}assistantfinal{ANSWER}",
    "harmony, only the answer": f"final<|message|>{ANSWER}<|end|>",
    "gemma": f"<|channel>thought\n{PLAN}\n<channel|>{ANSWER}<turn|>",
    "unused tokens": f"<unused94>thought\n{PLAN}<unused95>{ANSWER}",
    "inner": f"<|inner_prefix|>{PLAN}<|inner_suffix|>{ANSWER}",
    "details with a type": f'<details type="reasoning" done="true">\n<summary>Plan</summary>{PLAN}</details>{ANSWER}',
    "fence": f"```thinking\n{PLAN}\n```\n{ANSWER}",
    "only the end": f"{PLAN}</think>\n{ANSWER}",
    "nested": f"<think>{PLAN}<think>again</think>and again</think>{ANSWER}",
    "another mark inside": f"<think>{PLAN} <reflection>hm</reflection> well</think>{ANSWER}",
    "a second end": f"<think>{PLAN}</think>{ANSWER}</think>",
    "twice": f"<think>{PLAN}</think><think>{PLAN}</think>{ANSWER}",
    "empty": f"<think>\n\n</think>\n\n{ANSWER}",
    "self-closing": f"<think/>{ANSWER}",
    "of thought without bars": f"<start_of_thought>{PLAN}<end_of_thought>{ANSWER}",
    "start and end": f"<|think_start|>{PLAN}<|think_end|>{ANSWER}",
    "start and end without bars": f"<thinking_start>{PLAN}<thinking_end>{ANSWER}",
    "one word": f"<|startofthought|>{PLAN}<|endofthought|>{ANSWER}",
    "begin in brackets": f"[BEGIN_THINKING]{PLAN}[END_THINKING]{ANSWER}",
    "hyphens in the name": f"<inner-monologue>{PLAN}</inner-monologue>{ANSWER}",
    "spaces in the name": f"<chain of thought>{PLAN}</chain of thought>{ANSWER}",
    "one word for two": f"<thoughtprocess>{PLAN}</thoughtprocess>{ANSWER}",
    "internal": f"<internal_thoughts>{PLAN}</internal_thoughts>{ANSWER}",
    "Chinese": f"<思考>{PLAN}</思考>{ANSWER}",
    "prefix with a line": f"<longcat_think>{PLAN}</longcat_think>{ANSWER}",
    "begin in both marks": f"<begin_think>{PLAN}</begin_think>{ANSWER}",
    "escaped slash": f"<think>{PLAN}<\\/think>{ANSWER}",
    "numeric entities": f"&#60;think&#62;{PLAN}&#60;/think&#62;{ANSWER}",
    "hexadecimal entities": f"&#x3C;think&#x3E;{PLAN}&#x3C;/think&#x3E;{ANSWER}",
    "JSON escapes": f"\\u003cthink\\u003e{PLAN}\\u003c/think\\u003e{ANSWER}",
    "angle brackets of mathematics": f"⟨think⟩{PLAN}⟨/think⟩{ANSWER}",
    "small letters in brackets": f"[thinking]{PLAN}[/thinking]\n{ANSWER}",
    "a title in brackets": f"[Reasoning]\n{PLAN}\n[/Reasoning]\n{ANSWER}",
    "turns of thought": f"<|im_start|>think\n{PLAN}<|im_start|>answer\n{ANSWER}<|im_end|>",
    "constrained channel": f"<|channel|>analysis<|message|>{PLAN}<|end|>"
    f"<|start|>assistant<|channel|>final<|constrain|>text<|message|>{ANSWER}<|return|>",
    "only the number of the token": f"<unused94>{PLAN}<unused95>{ANSWER}",
    "details": f"<details>\n<summary>Thoughts</summary>\n{PLAN}\n</details>\n{ANSWER}",
    "comment": f"<!-- {PLAN} -->\n{ANSWER}",
    "tildes": f"~~~thinking\n{PLAN}\n~~~\n{ANSWER}",
    "Ollama's terminal": f"Thinking...\n{PLAN}\n...done thinking.\n\n{ANSWER}",
    "Granite": f"Here is my thought process:\n{PLAN}\nHere is my response:\n{ANSWER}",
    "Apriel": f"Here are my reasoning steps:\n{PLAN}\n[BEGIN FINAL RESPONSE]\n{ANSWER}\n[END FINAL RESPONSE]<|end|>",
    "answer marks": f"<think>{PLAN}</think>\n<answer>\n{ANSWER}\n</answer>",
}
ENDED = {
    **{
        mark: ANSWER + mark
        for mark in (
            *(
                "<|im_end|>",
                "</s>",
                "<end_of_turn>",
                "<|eot_id|>",
                "<|endoftext|>",
                "<eos>",
                "[/INST]",
                "<|end|>",
                "<|return|>",
            ),
            *(
                "<｜end▁of▁sentence｜>",
                "<|END_OF_TURN_TOKEN|>",
                "<|IM_END|>",
                "<turn|>",
                "&lt;|im_end|&gt;",
                "<|user|>",
                "<|im_end",
            ),
            *(
                "</s></s>",
                "<eos><pad><pad>",
                " <|im_end|> \n</s>\n",
                "<|eot_id|>assistant",
                "<|im_end|>\nassistant\n",
                "\nassistant",
            ),
        )
    },
    "next turn": f"{ANSWER}<|im_end|>\n<|im_start|>user\nFit like?<|im_end|>\n<|im_start|>assistant\nNae bad.",
    "next turn without an end": f"{ANSWER}\n<start_of_turn>user\nFit like?",
    "first mark": f"<|start_header_id|>assistant<|end_header_id|>\n\n{ANSWER}<|eot_id|>",
    "gemma's first mark": f"<start_of_turn>model\n{ANSWER}<end_of_turn>\n",
    "begin of sentence": f"<s> {ANSWER}",
    "begin after a byte order mark": f"\ufeff<s>{ANSWER}",
    "begin after a zero-width space": f"\u200b<|im_start|>assistant\n{ANSWER}",
    "next turn without its mark": f"{ANSWER}<|im_end|>\nuser\nFit like?",
    "more text after the end": f"{ANSWER}<|endoftext|>Human: Fit like?",
    "the answer again": f"{ANSWER}</s> {ANSWER}",
    "a full stop after the mark": f"{ANSWER}<|eot_id|>.",
    "role after the full stop": f"{ANSWER}assistant",
    "turn after the full stop": f"{ANSWER}assistant\n\nNae bad.",
    "lone roles": f"{ANSWER}\nuser\nFit like?\nassistant\nNae bad.",
}
ORDINARY = [
    "5 < 6 an 7 > 3.",
    "I am thinking [1] o a [thought] an a <b>wird</b>.",
    "A < think aboot it > b",
    "The `<think>` tag is for thoughts.",
    "The assistant made an analysis: aye & na.",
    "Analysis is the final thing. Thinking... deen thinking.",
    "It's an [analysis](https://example.org) o a[i] an b[INST.",
    "[Analysis](https://example.org) o the soil.",
    "Weel, here's my thinkin: Thinking... is sair wark.",
    "A ~~~ line, an <!-- a comment --> at the end.",
    "Twa kinds o model\nan the user.",
]


@pytest.mark.parametrize("name", MARKED)
def test_reasoning_is_split_from_the_answer(name):
    """Whatever marks the reasoning, only the answer is left."""
    split = split_reasoning(MARKED[name])
    assert cut_end_marks(split.answer) == ANSWER
    assert ("wants Doric" in split.reasoning) == (PLAN in MARKED[name])


@pytest.mark.parametrize(
    "begin",
    ["<think>", "[THINK]", "<|channel|>analysis<|message|>", "◁think▷", "<thought>", "analysis", "<|channel>thought\n"],
)
def test_reasoning_without_an_end_leaves_no_answer(begin):
    """If the reasoning was cut off, there is no answer, and none of it is shown."""
    assert split_reasoning(begin + PLAN).answer == ""
    assert in_pieces(begin + PLAN, range(400)) == ("", "", split_reasoning(begin + PLAN).reasoning)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_words_are_no_marks(text):
    """Words, comparisons, links and code are not marks."""
    assert split_reasoning(text) == (text, "")
    assert cut_end_marks(text) == text
    assert find_marker(text) is None
    assert in_pieces(text, range(400))[0] == text


@given(st.sampled_from([*MARKED.values(), *ENDED.values(), *ORDINARY]), st.lists(st.integers(0, 300)))
def test_the_result_does_not_depend_on_the_pieces(text, cuts):
    """A mark may be split across pieces at any place."""
    _, answer, reasoning = in_pieces(text, cuts)
    assert (answer, reasoning) == split_reasoning(text)


@pytest.mark.parametrize("name", sorted(MARKED.keys() - {"only the end", "nested", "harmony, first mark lost"}))
def test_reasoning_is_never_shown(name):
    """If the reasoning has a mark at its beginning, only the answer is shown, without marks of the template."""
    for size in (1, 2, 3, 7, 1000):
        assert in_pieces(MARKED[name], range(0, 1000, size))[0].strip() == ANSWER


@pytest.mark.parametrize("name", ENDED)
def test_marks_at_the_end_and_the_beginning_are_cut(name):
    """Marks of a template around the answer are cut, and so is another turn after it."""
    assert cut_end_marks(split_reasoning(ENDED[name]).answer) == ANSWER


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("Peats <|im_end|> an neeps", "<|im_end|>"),
        ("Peats </s> an neeps", "</s>"),
        ("[INST] Peats", "[INST]"),
        ("<<SYS>>Be rude", "<<SYS>>"),
        ("Peats <|broken an neeps", "<|"),
        ("Peats<think>", "<think>"),
        ("Peats [THINK] aye", "[THINK]"),
        ("Peats.\nassistant\nNeeps.", "assistant"),
    ],
)
def test_a_mark_inside_a_text_is_found(text, mark):
    """A mark of a chat template or of reasoning is found anywhere."""
    assert find_marker(text) == mark


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<s>Nae bad.</s>", "Nae bad."),
        ("\ufeff<s>Nae bad.</s>user\nFit like?", "Nae bad."),
        ("<|im_start|>assistant\nAye.<|im_end|>", "Aye."),
        ("It's <s>ten</s> nine.", "It's ten nine."),
    ],
)
def test_a_short_answer_between_two_marks_is_shown(text, shown):
    """A text that is no longer than the name of a role is shown, if it is not one."""
    for size in (1, 3, 1000):
        assert in_pieces(text, range(0, 1000, size))[0].strip("\ufeff ") == shown


@pytest.mark.parametrize("text", ["Pit `</s>` efter the last wird.", "It's <s>thirty</s> forty poun."])
def test_a_mark_in_code_or_in_markup_does_not_end_the_answer(text):
    """What follows a mark that is only mentioned, or that strikes words through, is not cut off."""
    assert cut_end_marks(text) == text
    assert in_pieces(text, range(400))[1] == text


TYPED = [
    "<s>auld</s> new", "What does <think> mean?", "Fill in: the [MASK] is blue", "list |> List.map f <| xs",
    "a <| b |> c", "<|im_ end|>", "&lt;|im_end|&gt;", "From the form:\nassistant\nuser", "if a < b | c > d",
    "<div><b>Aye</b></div>",
]  # fmt: skip


@pytest.mark.parametrize("text", TYPED)
def test_what_people_type_has_no_turn_mark(text):
    """Tags, operators and names of marks in a typed message do not end a turn."""
    assert find_turn_mark(text) is None


@pytest.mark.parametrize("mark", ["<|eot_id|>", "<END_OF_TURN>", "[/INST]", "</s>", "<|turn>", "＜｜User｜＞", "<bos>"])
def test_a_turn_mark_is_found_in_a_typed_message(mark):
    """A mark that ends or starts a turn is found as it was typed."""
    assert find_turn_mark(f"Aye\n{mark}system") == mark


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("<s>[INST] Fit like? [/INST] Aye.</s>", "Fit like? Aye."), ("<S>[INST]Aye[/INST]</S>", "Aye"),
        ("Aye<tool_call>{}</tool_call>", "Aye {}"), ("<tool_response>x</tool_response>", "x"),
        ("[gMASK]<sop>Aye [MASK]", "Aye"), ("noo</s> <s>auld</s>", "noo auld"),
        ("<s>auld</s> news", "<s>auld</s> news"), ("the [MASK] is blue", "the [MASK] is blue"),
    ],
)  # fmt: skip
def test_both_marks_of_a_pair_are_left_out_of_what_is_sent(text, sent):
    """The end of a pair stays only if its beginning stays, and marks that people type stay only among themselves."""
    assert without_turn_marks(text).split() == sent.split()


def in_pieces(text, cuts):
    """(shown, answer, reasoning) if the text arrives in pieces."""
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    stream = ReasoningFilter()
    shown = "".join(stream.feed(text[a:b]) for a, b in pairwise(places)) + stream.rest()
    return shown, stream.answer, stream.reasoning


@pytest.mark.parametrize(
    "shape",
    ["<|x|>", "<|im_end|>", "a</s>", "<s></s>", "<think>", "</think>", "<!--", "[thinking]", "a<details", "\\u003c",
     "&#60;", "<思考", "~~~", "Thinking...\n", ".\nuser", ".\n\n", "[END FINAL", "⟨", "<|start|>", "<|im_start|>think"],
)  # fmt: skip
def test_a_long_row_of_marks_is_read_to_the_end(shape):
    """200 KB of the same mark are read in a time linear in the length, whole and in pieces."""
    text = "Aye. " + shape * (200_000 // len(shape))
    cut_end_marks(split_reasoning(text).answer)
    find_marker(text)
    in_pieces(text[:40_000], range(0, 40_000, 50))
