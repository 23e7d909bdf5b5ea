"""The checks before the generator starts."""

import argparse

import pytest

from doric.core.errors import SettingsError
from doric.dataset import run
from doric.llm.prices import chosen_price


@pytest.mark.parametrize(
    ("other", "name"), [("report", "x.jsonl"), ("topics", "x.jsonl"), ("topics_json", "x.jsonl.rejected.jsonl")]
)
def test_the_same_file_for_two_purposes_is_an_error(other, name):
    """Output, rejections, plan, report and topics must be different files."""
    names = ("report", "topics", "topics_json", "from_texts", "from_chats")
    args = argparse.Namespace(out="x.jsonl", **dict.fromkeys(names))
    setattr(args, other, name)
    with pytest.raises(SettingsError, match="the same file"):
        run.check_files(args)


def test_one_price_alone_is_an_error():
    """One price without the other price is an error, because half of the cost would be missing."""
    with pytest.raises(SettingsError, match="only one of --price-in and --price-out"):
        chosen_price(1.0, None, "")
