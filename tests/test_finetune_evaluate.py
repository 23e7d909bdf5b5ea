"""Answers before and after training are measured as the scoreboard measures them."""

from doric.finetune.evaluate import Reply, choose_prompts, measure
from doric.quality.decontamination import held_out_prompts


def test_scores_separate_doric_from_english():
    """Doric answers get high scores and pass the gates, and English answers do not."""
    prompts = [one for one in held_out_prompts() if one.bucket == "core"][:1]
    doric = (
        "Tak the jar an haud it aneth het watter for a file, bit dinna burn yersel. Syne gie the lid a chap wi a "
        "speen, an it'll come lowse gey quick. Gin it's still ticht, eese a cloot tae get a better grip o't."
    )
    good = measure(prompts, [Reply(doric, stopped=True)])
    english = "You should hold the jar under hot water for a while and then tap the lid with a spoon until it opens."
    bad = measure(prompts, [Reply(english, stopped=False)])
    assert good["substrate"] > 0.25
    assert good["north_east"] > 0.02
    assert good["pass the gates"] == good["stop by themselves"] == 1
    assert bad["substrate"] < 0.02
    assert bad["pass the gates"] == bad["stop by themselves"] == 0


def test_repeated_word_counts_once():
    """An answer that only repeats one Scots word does not count as Scots."""
    prompts = [one for one in held_out_prompts() if one.bucket == "core"][:2]
    english = (
        "You should hold the jar under hot water for a while and then tap the lid with a spoon until it opens. " * 5
    )
    replies = [Reply("Aye, aye, aye! " * 60, stopped=False), Reply(english, stopped=True)]
    assert measure(prompts, replies)["substrate"] < 0.02


def test_prompts_cover_every_bucket():
    """Each bucket gives the same number of prompts, and harmless prompts are included beside harmful prompts."""
    chosen = choose_prompts(3, ["core", "multi", "adv", "safety"])
    assert [(one.bucket, one.benign) for one in chosen[::3]] == [
        ("core", False), ("multi", False), ("adv", False), ("safety", False), ("safety", True),
    ]  # fmt: skip
    assert chosen == choose_prompts(3, ["core", "multi", "adv", "safety"])
