"""Which tokens of a chat are trained: exactly the answers, each to the token that ends it."""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from doric.core.errors import CheckError, InputError
from doric.finetune.chat_template import render
from doric.finetune.split import check_buckets
from doric.finetune.weighting import parse_weights, weighted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from doric.finetune.data import Example
    from doric.finetune.foreign_types import Messages, Tokenizer
    from doric.finetune.plan import Plan

IGNORED = -100
"""The label of a token that is not trained."""


MOST_ASKED = 200
"""The number of rows of each part whose prompts are written again as a server does."""


@dataclass(frozen=True)
class Encoded:
    """The token ids of a chat, for each the label (the same id if it is trained, else -100), and the bucket."""

    ids: list[int]
    labels: list[int]
    bucket: str = ""

    @property
    def trained(self) -> int:
        """The number of trained tokens."""
        return sum(label != IGNORED for label in self.labels)


def encode(tokenizer: Tokenizer, messages: Messages, ends: Sequence[int], untrained: Collection[int] = ()) -> Encoded:
    """The tokens of a chat; only the answers are trained, each from its first token to its end token.

    `untrained` are the positions of turns that are not trained.

    To find an answer, the chat is rendered again with another answer; the tokens that differ are the answer. This also
    works for templates that move text to another turn, as Mistral's does with the system message.
    """
    ids = render(tokenizer, messages)
    labels = [IGNORED] * len(ids)
    for at, turn in enumerate(messages):
        if turn["role"] != "assistant" or at in untrained:
            continue
        other = next(mark for mark in "0x?" if mark not in (turn["content"][:1], turn["content"][-1:]))
        changed = render(tokenizer, [*messages[:at], {**turn, "content": other}, *messages[at + 1 :]])
        start = common_length(ids, changed)
        stop = max(start, len(ids) - common_length(ids[::-1], changed[::-1]))
        last = next((spot for spot in range(stop, len(ids)) if ids[spot] in ends), stop - 1)
        labels[start : last + 1] = ids[start : last + 1]
    return Encoded(ids, labels)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the common prefix.

    >>> common_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(first), len(second)))


def encode_all(tokenizer: Tokenizer, part: Sequence[Example], ends: Sequence[int]) -> list[Encoded]:
    """The encoded examples. Raises `CheckError` if one of them fails a check.

    Prints a note if a server would write another prompt than the one before the trained answer.
    """
    coded = []
    for example in part:
        row = encode(tokenizer, example.messages, ends, example.untrained)
        check_row_tokens(tokenizer, example.messages, row, ends, example.untrained)
        coded.append(replace(row, bucket=example.bucket))
    looked = list(zip(part, coded, strict=True))[:MOST_ASKED]
    if other := sum(asked_otherwise(tokenizer, example.messages, row) for example, row in looked):
        print(
            f"In {other} of {len(looked)} rows, the chat template writes another prompt for the question than before "
            "the trained answer: the served model may answer worse than the held-out loss says."
        )
    return coded


def asked_otherwise(tokenizer: Tokenizer, messages: Messages, row: Encoded) -> bool:
    """Whether a server asks for the last answer with other tokens than those before it in the row.

    So do templates that open a thought before an answer, but leave it out of the chats that they write.
    """
    asked = render(tokenizer, messages[:-1], ask=True)
    return row.ids[: len(asked)] != asked


def fitting_rows(coded: Mapping[str, Sequence[Encoded]], plan: Plan) -> dict[str, list[Encoded]]:
    """The rows that are not too long for the plan; the training rows repeated until its bucket weights hold.

    Raises `InputError` if too few are left, and `SettingsError` if a weight names a bucket that does not exist.
    """
    fitting = {name: [row for row in part if len(row.ids) <= plan.length] for name, part in coded.items()}
    if len(fitting["train"]) < 3 or not fitting["test"]:
        raise InputError(f"Too few rows have at most {plan.length} tokens.", hint="Raise MAX_LENGTH in section 3.")
    rows = [(row.bucket, row) for row in fitting["train"]]
    weights = parse_weights(plan.weights)
    check_buckets("BUCKET_WEIGHTS", weights, {bucket for bucket, _ in rows})
    return fitting | {"train": weighted(rows, weights, plan.seed)}


# --- checks ---------------------------------------------------------------------------------------------------------


def check_row_tokens(
    tokenizer: Tokenizer, messages: Messages, row: Encoded, ends: Sequence[int], untrained: Collection[int] = ()
) -> None:
    """Raise `CheckError` unless just the answers are trained, each with its end, and the tokens are the template's."""
    _check_end(tokenizer, row, ends)
    trained = [
        turn["content"] for at, turn in enumerate(messages) if turn["role"] == "assistant" and at not in untrained
    ]
    _check_answers(tokenizer, trained, row, ends)
    if row.ids != render(tokenizer, messages):
        hint = "Encode the rows with encode()."
        raise CheckError("The tokens of a row differ from the tokenizer's chat template.", hint=hint)
    begin = tokenizer.bos_token_id
    if begin is not None and any(one == two == begin for one, two in itertools.pairwise(row.ids)):
        raise CheckError(
            f"A row starts with {tokenizer.bos_token!r} twice: the template writes it and the tokenizer adds it again.",
            hint="Render and tokenize in one step, with apply_chat_template(tokenize=True).",
        )


def _check_end(tokenizer: Tokenizer, row: Encoded, ends: Sequence[int]) -> None:
    trained = [label for label in row.labels if label != IGNORED]
    if not trained:
        hint = "Its answer is empty, or the template leaves it out: look at the row."
        raise CheckError("A row has no trained token.", hint=hint)
    if trained[-1] not in ends:
        raise CheckError(
            f"The last trained token is {tokenizer.decode([trained[-1]])!r} and not an end token: "
            "the chat template does not end its answers, so the model would never stop.",
            hint="Use the -Instruct version of the model, or set tokenizer.chat_template to a template that ends each "
            f"turn with {tokenizer.eos_token!r}.",
        )


def _check_answers(tokenizer: Tokenizer, answers: Sequence[str], row: Encoded, ends: Sequence[int]) -> None:
    pairs = itertools.zip_longest(trained_texts(tokenizer, row, ends), map(bare, answers), fillvalue="")
    for found, wanted in pairs:
        if found != wanted:
            more = "more than the answer" if len(found) > len(wanted) else "not the whole answer"
            raise CheckError(
                f"The trained text is {more}: {found[:80]!r}, not {wanted[:80]!r} (white space removed).",
                hint="Look at the coloured row: the questions must be grey. Use another chat template or model.",
            )


def trained_texts(tokenizer: Tokenizer, row: Encoded, ends: Sequence[int]) -> list[str]:
    """The trained text: one string per continuous stretch of trained tokens, without special tokens."""
    found: list[str] = []
    waiting: list[int] = []
    for token, label in zip([*row.ids, 0], [*row.labels, IGNORED], strict=True):
        if label != IGNORED and token not in ends:
            waiting.append(token)
        elif waiting:
            found.append(bare(tokenizer.decode(waiting, skip_special_tokens=True)))
            waiting = []
    return found


def bare(text: str) -> str:
    """A text without white space and in Unicode form NFKC: tokenizers differ in both."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def pieces(tokenizer: Tokenizer, row: Encoded) -> Iterator[tuple[str, bool]]:
    """The row's text in pieces, and whether each is trained. A character of several tokens is not split."""
    waiting: list[int] = []
    for token, label in zip(row.ids, row.labels, strict=True):
        waiting.append(token)
        text = tokenizer.decode(waiting)
        if "\ufffd" not in text:
            yield text, label != IGNORED
            waiting = []


def check_results(
    tokenizer: Tokenizer,
    coded: Mapping[str, Sequence[Encoded]],
    fitting: Mapping[str, Sequence[Encoded]],
    ends: Sequence[int],
    length: int,
) -> dict[str, str]:
    """What every row has passed -> its figure, for a table."""
    rows = [row for part in coded.values() for row in part]
    share = sum(row.trained for row in rows) / sum(len(row.ids) for row in rows)
    return {
        "has trained tokens": f"{share:.0%} of all tokens are trained",
        "trains exactly its answers": "the decoded trained tokens are the answers",
        "ends its last answer with an end token": tokenizer.decode(list(ends)),
        "has a padding token that is not the end token": str(tokenizer.pad_token),
        "has the tokens of the tokenizer's chat template": f"{len(rows):,} rows",
        "has only one start token": str(tokenizer.bos_token),
        f"has at most {length} tokens": f"{sum(len(row.ids) > length for row in rows)} longer rows dropped",
    }
