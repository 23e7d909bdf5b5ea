"""What is wrong with a run is told before it begins."""

import argparse

import pytest

from doric.core.errors import SettingsError
from doric.dataset import run
from doric.llm.budget import chosen_price


@pytest.mark.parametrize(
    ("other", "name"), [("report", "x.jsonl"), ("topics", "x.jsonl"), ("topics_json", "x.jsonl.rejected.jsonl")]
)
def test_a_file_is_not_written_over_another(other, name):
    """The output, its companions, the report and the topic files must all be different files."""
    args = argparse.Namespace(out="x.jsonl", report=None, topics=None, topics_json=None)
    setattr(args, other, name)
    with pytest.raises(SettingsError, match="the same file"):
        run.check_files(args)


def test_one_price_alone_is_refused():
    """A price for prompts without one for answers would make half of the cost invisible."""
    with pytest.raises(SettingsError, match="only one of --price-in and --price-out"):
        chosen_price(1.0, None, "")
