"""The items of a list in a model's answer, for every form that models use."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doric.core.characters import tidy
from doric.llm.response import read_completion
from doric.topics.parse import read_list

ITEMS = ["mending a kettle that leaks", "keeping bees in a small garden", "why bread goes stale so fast"]
ARRAY = json.dumps(ITEMS)
WAYS = {
    "an array": ARRAY,
    "an object": json.dumps({"topics": ITEMS}),
    "an object within an object": json.dumps({"result": {"group": "home", "topics": ITEMS}}),
    "objects": json.dumps([{"topic": item, "why": "it is useful"} for item in ITEMS]),
    "a fenced block": f"Here are some ideas:\n```json\n{ARRAY}\n```\nI hope they help!",
    "a fence that does not end": f"```json\n{ARRAY}",
    "an array in talk": f"Sure! {ARRAY} Let me know if you want [more].",
    "a note in brackets first": f"[three topics] as you asked: {ARRAY}",
    "an array that was cut off": json.dumps({"topics": [*ITEMS, "cut"]})[:-5],
    "objects that were cut off": json.dumps([{"topic": item} for item in ITEMS])[:-1] + ', {"topic": "cut',
    "a trailing comma": f'["{ITEMS[0]}", "{ITEMS[1]}", "{ITEMS[2]}",]',
    "bullets": "Here are three:\n\n" + "".join(f"- {item}\n" for item in ITEMS) + "\nAnything else?",
    "stars and bold": "".join(f"* **{item}**\n" for item in ITEMS),
    "numbers": "".join(f"{number}. {item}.\n" for number, item in enumerate(ITEMS, 1)),
    "numbers in brackets": "".join(f"({number}) {item}\n" for number, item in enumerate(ITEMS, 1)),
    "numbers within an array": json.dumps([f"{number}. {item}" for number, item in enumerate(ITEMS, 1)]),
    "letters": "".join(f"{letter}) {item}\n" for letter, item in zip("abc", ITEMS, strict=True)),
    "quoted bullets": "".join(f'• "{item}",\n' for item in ITEMS),
    "plain lines": "New topics:\n" + "\n".join(ITEMS),
    "a Python list": repr(ITEMS),
    "a Python list in talk": f"Sure: {ITEMS!r}. Let me know if you want [more].",
    "a Python list that was cut off": repr([*ITEMS, "cut"])[:-3],
    "two fenced blocks": f"```json\n{json.dumps(ITEMS[:2])}\n```\nand one more:\n```json\n{json.dumps(ITEMS[2:])}\n```",
    "an example and bullets": f"{json.dumps(ITEMS[:1])}\n\n- {ITEMS[1]}\n- {ITEMS[2]}\n",
    "a fenced example and bullets": f"```json\n{json.dumps(ITEMS[:1])}\n```\n\n- {ITEMS[1]}\n- {ITEMS[2]}\n",
    "JSON lines": "\n".join(json.dumps({"topic": item}) for item in ITEMS),
    "fenced JSON lines": "```jsonl\n"
    + "\n".join(json.dumps({"topic": item, "group": "x"}) for item in ITEMS)
    + "\n```",
    "a numbered object": json.dumps({str(number): item for number, item in enumerate(ITEMS, 1)}),
    "a numbered object within": json.dumps(
        {"topics": {f"topic_{number}": item for number, item in enumerate(ITEMS, 1)}}
    ),
    "numbered objects": json.dumps({str(number): {"topic": item} for number, item in enumerate(ITEMS, 1)}),
    "wrapped bullets": "".join(f"- {item.replace(' a', chr(10) + '  a')}\n" for item in ITEMS),
    "wrapped bullets on the margin": "".join(f"- {item.replace(' so', chr(10) + 'so')}\n" for item in ITEMS),
    "bullets with a note under each": "".join(f"1. **{item}**\n   A useful thing to know about\n" for item in ITEMS),
    "Windows lines": "\r\n".join(f"- {item}" for item in ITEMS),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_list_is_read_in_every_form(way):
    """Arrays, code fences, cut-off arrays, bullets and numbers give the same items in the same order."""
    assert read_list(WAYS[way]) == ITEMS


@pytest.mark.parametrize("text", ["", "   \n", "[]", '{"topics": []}', "```json\n```", "[[[[", "null", '{"a": 1}'])
def test_an_empty_answer_has_no_topic(text):
    """An answer without a list gives no item of several words."""
    assert all(" " not in item for item in read_list(text))


PROSE = [
    "Sorry, but that is not something this assistant can do",
    "There was an error while processing your request",
    "Sorry, but that is not something this assistant can do\nPlease ask for something else instead",
    "I would be glad to help.\nWhat kind of topics would you like\nTell me a little more about the group",
    json.dumps({"error": {"message": "The server had some trouble", "kind": "unknown"}}, indent=2),
    "Let me think about it\nSome ideas come to mind\nWhat shall they be about?",
]


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_not_a_list(text):
    """Lines without bullets are a list only if there are at least three and none of them ends like a sentence."""
    assert read_list(text) == []


CUT = {
    "bullets": "".join(f"- {item}\n" for item in ITEMS) + "- how to fold",
    "numbers": "".join(f"{number}. {item}\n" for number, item in enumerate(ITEMS, 1)) + "4. how to fold a",
    "plain lines": "\n".join([*ITEMS, "how to fold a"]),
    "an array": json.dumps([*ITEMS, "how to fold a sheet"])[:-7],
    "an array between two items": json.dumps([*ITEMS, "how to fold a sheet"])[:-22],
    "a Python list": repr([*ITEMS, "how to fold a sheet"])[:-7],
}


@pytest.mark.parametrize("way", CUT)
def test_a_cut_off_list_gives_its_complete_items(way):
    """If a list is cut off, its last line is dropped, and every complete string of an array is kept."""
    assert read_list(CUT[way], cut=True) == ITEMS


def test_an_apostrophe_in_a_word_does_not_end_a_python_string():
    """A Python list can be read even if its strings have single quotes and contain apostrophes."""
    assert read_list("['why a cat's fur stands up', 'mending the dog\\\\'s bed']".replace("\\\\", "\\")) == [
        "why a cat's fur stands up", "mending the dog's bed",
    ]  # fmt: skip


def test_a_line_break_within_an_item_stays():
    """An item with a line break is returned unchanged, and the filters reject it later."""
    assert read_list('["one line\\nand another"]') == ["one line\nand another"]


@given(st.text())
def test_any_text_gives_non_empty_strings(text):
    """For any text of a model, the result is a list of strings that are not empty."""
    assert all(isinstance(item, str) and item for item in read_list(text))


@given(st.lists(st.text(st.characters(categories=["Ll"]), min_size=3), min_size=1, max_size=9), st.integers(0, 400))
def test_an_array_cut_anywhere_gives_its_first_items(items, at):
    """If an array is cut off anywhere, the result is its first complete items."""
    found = read_list(json.dumps(items, ensure_ascii=False)[:at])
    assert at <= 1 or found == [tidy(item) for item in items[: len(found)]]


PLAN = (
    "Okay, new topics.\nPlan:\n1. avoid repeating the frost topic\n2. keep each topic under ten words\n3. mix seasons"
)


@pytest.mark.parametrize("begin", ["<think>", "[THINK]", "<thought>", "<|channel|>analysis<|message|>"])
@pytest.mark.parametrize("way", ["an array", "an object", "numbers", "bullets"])
def test_a_plan_in_the_reasoning_is_no_list(begin, way):
    """Numbered plans between marks of reasoning are not topics, also if the marks have no end."""
    end = (
        "<|end|><|start|>assistant<|channel|>final<|message|>"
        if "|" in begin
        else begin.replace("<", "</").replace("[", "[/")
    )
    message = {"content": f"{begin}{PLAN}{end}\n{WAYS[way]}"}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    assert read_list(read_completion(json.dumps(body).encode(), "application/json").text) == ITEMS
    message["content"] = f"{begin}{PLAN}"
    assert read_list(read_completion(json.dumps(body).encode(), "application/json").text) == []


@pytest.mark.parametrize(
    "shape",
    ["[", "{", '{"a":', '["a', '["a",', "[1,[", "[(", "- ", "['a", "'", '"', "`", "```\n", "\n", "1. ", "- a\n"],
)
def test_a_long_damaged_list_is_read_to_the_end(shape):
    """200 KB of brackets, quotation marks or bullets are read in a time linear in the length."""
    assert isinstance(read_list(shape * (200_000 // len(shape))), list)


@pytest.mark.parametrize("bullet", ["1.", "✅ ", "10️⃣ ", "① ", "=> ", "(3) ", "Topic 3: ", "№ 3 ", "- [ ] "])
def test_the_bullets_of_topic_files_are_bullets_in_answers(bullet):
    """The two items after a sentence are found with each bullet that a topic file may have."""
    assert read_list(f"Here are two.\n{bullet}{ITEMS[0]}\n{bullet}{ITEMS[1]}") == ITEMS[:2]
