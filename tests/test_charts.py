"""Charts in SVG."""

import re

from doric.report.charts import Line, histogram, lines


def test_a_histogram_puts_every_value_in_a_bar():
    """The counts of the bars add up, and values above `top` are in the last bar."""
    chart = histogram([0, 0.1, 0.5, 0.99, 1.0, 7.0], "six", top=1.0, bins=10)
    counts = [int(found) for found in re.findall(r"<title>[^<]*: (\d+)</title>", chart)]
    assert sum(counts) == 6
    assert counts[-1] == 3


def test_charts_without_values_are_drawn():
    """A chart without values or without steps is drawn without an error."""
    assert "<svg" in histogram([], "none", top=1.0)
    assert lines([Line("a", "ours", [])], [], "none") == ""


def test_a_chart_has_a_text_alternative():
    """Special characters of HTML in a label are escaped."""
    assert 'aria-label="a &lt;b&gt;"' in histogram([1], "a <b>", top=2.0)
