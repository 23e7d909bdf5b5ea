"""The HTML page of a fine-tuning run: loss, scores and answers before and after, and the saved files."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from doric.finetune.export import verdicts
from doric.finetune.plots import Picture, curve_picture, probe_picture, score_picture
from doric.report.html import page


def finetune_page(metrics: Mapping[str, Any]) -> str:
    """The page of the metrics of `doric.finetune.run`. Needs matplotlib."""
    scores = metrics["scores"]
    return page(
        "finetune.html",
        metrics=metrics,
        model=metrics["plan"]["base"].rstrip("/").rpartition("/")[2],
        cards=list(_cards(metrics)),
        curves=_markup(curve_picture(metrics["history"], metrics["seconds"], metrics["tokens_a_step"])),
        scores=_markup(score_picture(scores["before"], scores["after"], scores["data"])),
        probes=_markup(probe_picture(metrics["probes"])) if metrics["probes"] else "",
        exports=verdicts(metrics["exports"], metrics["plan"]["four_bit"]),
    )


def _cards(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    loss, after = metrics["held_out_loss"], metrics["scores"]["after"]
    yield f"{loss['before']:.2f} → {loss['after']:.2f}", f"held-out loss ({loss['rows']} rows)"
    yield f"{metrics['steps']:,}", "training steps"
    yield f"{metrics['minutes']:.1f}", "minutes of training in this session"
    if metrics["tokens_per_second"]:
        yield f"{metrics['tokens_per_second']:,.0f}", "tokens per second"
    yield f"{metrics['peak_memory_gb']:.1f} GB", "peak memory"
    yield f"{after['pass the gates']:.0%}", "of the answers pass the gates"


def _markup(picture: Picture) -> Markup:
    return Markup(picture._repr_html_())
