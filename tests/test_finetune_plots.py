"""Pictures and tables of the notebook: text alternatives, the page's own colours, narrow screens."""

import re

import pytest

from doric.finetune.config import Settings
from doric.finetune.data import as_example
from doric.finetune.plots import (
    curve_picture,
    group_picture,
    memory_picture,
    probe_picture,
    score_picture,
    size_picture,
)

pytest.importorskip("matplotlib", reason="the pictures need `uv sync --group finetune`")
PARTS = {"model weights": 0.25, "LoRA": 0.04, "optimiser": 0.11, "activations": 1.68, "libraries": 0.88}
BEFORE = {"substrate": 0.01, "north_east": 0.0, "pass the gates": 0.0, "stop by themselves": 0.4}
AFTER = {"substrate": 0.31, "north_east": 0.04, "pass the gates": 0.5, "stop by themselves": 0.9}
LOG = [{"step": 0, "eval_loss": 5.8}, {"step": 1, "loss": 5.7, "learning_rate": 1e-3}, {"step": 1, "eval_loss": 4.9}]
ROW = {"conversations": [{"from": "human", "value": "Fit like?"}, {"from": "gpt", "value": "Nae bad."}]}
PICTURES = {
    "memory": (memory_picture(PARTS, 4.0, "Memory", measured=2.8), "estimate 3.0 GB"),
    "groups": (group_picture([as_example({**ROW, "meta": {"group": "sea", "kind": "adv"}}, "x:1")]), "adv 1"),
    "curves": (curve_picture(LOG, [0.5], 100.0), "held-out rows 5.80 to 4.90"),
    "curves before the first step": (curve_picture([], [], 100.0), "no step yet"),
    "scores": (score_picture(BEFORE, AFTER, {"substrate": 0.33, "north_east": 0.05}), "after 31.0%, data 33.0%"),
    "probes": (probe_picture([{"probe": "harmful", "prompts": 6, "before": 0.0, "after": 0.5}]), "50% after"),
    "sizes": (size_picture({"adapter": 40.0}), "adapter 40 MB"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_has_a_text_alternative_with_its_figures(name):
    """Each picture is an image with a label that has the figures, for readers who cannot see it."""
    picture, figures = PICTURES[name]
    assert figures in picture.alt
    assert f'role="img" aria-label="{picture.alt}"' in picture._repr_html_().replace("&gt;", ">")


@pytest.mark.parametrize("name", PICTURES)
def test_picture_takes_the_colours_of_the_page_and_fits_a_narrow_screen(name):
    """Text has the colour of the page, the ground is transparent, and no size is fixed in the SVG."""
    markup = PICTURES[name][0]._repr_html_()
    assert "currentColor" in markup
    assert "fill: #ffffff" not in markup
    assert "fill: #000000" not in markup
    heads = re.findall(r"<svg[^>]*>", markup)
    assert heads
    assert all("viewBox" in head and " width=" not in head and "max-width" in head for head in heads)


def test_table_is_escaped_and_names_its_columns_on_a_narrow_screen(monkeypatch):
    """Text of the user cannot be markup, and each cell carries the name of its column."""
    pytest.importorskip("IPython")
    from doric.finetune import notebook

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda each, **more: shown.append(each.data))
    notebook.table([{"answer": "<script>", "": "pass"}])
    assert "&lt;script&gt;" in shown[0]
    assert 'data-name="answer"' in shown[0]
    assert "max-width:640px" in shown[0]
    assert "<script>" not in shown[0]


def test_settings_have_help():
    """Every setting has a description."""
    assert all(each.metadata["help"] for each in Settings.__dataclass_fields__.values())
