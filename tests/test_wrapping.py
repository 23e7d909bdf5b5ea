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
    ],
)
def test_marks_inside_an_answer_stay(text):
    """Quotations, stresses and colons inside an answer are not around it."""
    assert unwrap(text) == without_wrapping(text) == text
