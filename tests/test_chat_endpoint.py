"""The models of a server: which one is talked to."""

import pytest

from doric.chat.endpoint import Model, choose
from doric.chat.errors import Refused


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        ([Model("b"), Model("x", parent="b")], "", "x"),
        ([Model("b"), Model("x", parent="b"), Model("doric", parent="b")], "", "doric"),
        ([Model("only"), Model("doric")], "", "only"),
        ([Model("b"), Model("x", parent="b")], "b", "b"),
        ([Model("b"), Model("x", parent="b")], "unlisted", "unlisted"),
    ],
)
def test_choosing_a_model(names, wanted, chosen):
    """The wanted model; else an adapter, doric before others; else the first."""
    assert choose(names, wanted).name == chosen


def test_choosing_among_none():
    """A server that lists nothing is said so."""
    with pytest.raises(Refused, match="lists no model"):
        choose([], "")
