"""Labels and marks around a whole answer are removed; quotations inside an answer stay."""

import pytest

from doric.quality.wrapping import unwrap, without_wrapping

ANSWER = "It's nae bad ava, an the loons' neeps is fine."


@pytest.mark.parametrize(
    "wrapped",
    [
        f'"{ANSWER}"',
        f"“{ANSWER}”",
        f"„{ANSWER}“",
        f"«{ANSWER}»",
        f"'{ANSWER}'",
        f"‘{ANSWER}’",
        f"「{ANSWER}」",
        f"`{ANSWER}`",
        f"**{ANSWER}**",
        f"*{ANSWER}*",
        f"__{ANSWER}__",
        f"Doric: {ANSWER}",
        f"Answer: {ANSWER}",
        f"assistant: {ANSWER}",
        f"**Answer:** {ANSWER}",
        f"**Doric**: {ANSWER}",
        f'Doric: "{ANSWER}"',
        f"“Doric: {ANSWER}”",
        f"In Doric: {ANSWER}",
        f"[Answer]: {ANSWER}",
        f"Response:\n{ANSWER}",
        f'**"{ANSWER}"**',
        f'"{ANSWER}',
        f'{ANSWER}"',
        f"```\n{ANSWER}\n```",
        f"<p>{ANSWER}</p>",
        f" \n{ANSWER}\n",
        f"> {ANSWER}",
        f'{{"answer": "{ANSWER}"}}',
        f"### Response:\n{ANSWER}",
        f"DORIC - {ANSWER}",
        f"Doric:{ANSWER}",
        f"**Doric**\n\n{ANSWER}",
        f"Answer in Doric: {ANSWER}",
        f"🤖: {ANSWER}",
        f'\\"{ANSWER}\\"',
        f'""{ANSWER}""',
        f"'''{ANSWER}'''",
        f'"{ANSWER}".',
        f"“{ANSWER}”.",
        f"“„{ANSWER}“”",
        f"„{ANSWER}",
        f"*{ANSWER}",
        f"｢{ANSWER}｣",
        f"({ANSWER})",
        f"[[{ANSWER}]]",
        f"~~{ANSWER}~~",
        f"$$ {ANSWER} $$",
        f"\\boxed{{{ANSWER}}}",
        f"<!-- {ANSWER} -->",
        f"```text\n{ANSWER}\n```",
        f'```json\n{{"answer": "{ANSWER}"}}\n```',
        f"~~~\n{ANSWER}\n~~~",
        f'["{ANSWER}"]',
        f'{{"doric": "{ANSWER}", "english": "Not bad."}}',
        f'{{"response": "{ANSWER}", "notes": ""}}',
        f"<doric>{ANSWER}</doric>",
        f'<div class="a">{ANSWER}</div>',
        f"<em>{ANSWER}</em>",
        f"---\n{ANSWER}\n---",
        f"[Doric] {ANSWER}",
        f"(In Doric) {ANSWER}",
        f"<bot>: {ANSWER}",
        f"assistant> {ANSWER}",
        f'answer = "{ANSWER}"',
        f'"answer": "{ANSWER}"',
        f"Translation (Doric): {ANSWER}",
    ],
)
def test_only_the_answer_is_left(wrapped):
    """Any of the labels and marks, also several, are removed."""
    assert unwrap(wrapped) == ANSWER


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        '"Aye," she said, "an na."',
        "“Aye,” quo she, “an na.”",
        "'Aye,' she said, 'an na.'",
        "**Twa** neeps is **fine**.",
        "He caas it a 'bothy'.",
        "Mine this: the doric order haes nae fleers.",
        "Aye: it's a gran day.",
        "«Aye», quo she, «na»",
        "“Aye,” said the loon, an gaed hame.",
        "«Aye», quo she.",
        "„Aye“, said he.",
        "He said “aye.”",
        '"Aye," he said.\n"Na," she said.',
        "The answer – as ony fairmer kens – is dung.",
        "(Aye, fairly.) Weel, nae aye.",
        "(a) dee this.",
        "'Twas a cauld nicht.",
        "*Aye* na *so*.",
        "<b>Aye</b> an <b>na</b>.",
        '{"a thing": "Aye.", "anither": "Na."}',
    ],
)
def test_marks_inside_an_answer_stay(text):
    """Quotations, stresses and colons inside an answer are not around it."""
    assert unwrap(text) == without_wrapping(text) == text


def test_an_answer_in_several_quotations_is_unwrapped_line_by_line():
    """If every line is wholly in quotation marks, all of them are removed."""
    assert unwrap('"Nae bad ava."\n\n“Fit like?”') == "Nae bad ava.\nFit like?"


@pytest.mark.parametrize("shape", ["\n", '"', "(", "[", "{", "<a>", "`", "-", "a: ", '"a"\n', "> ", "“", "*", "= "])
def test_a_long_answer_is_read_to_the_end(shape):
    """20 KB of the same marks are read in a time linear in the length."""
    assert isinstance(unwrap(shape * (20_000 // len(shape))), str)
