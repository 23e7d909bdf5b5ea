"""Measure the search for held-out prompts: its time, and whether it matches prompts of the generator by mistake.

    uv run python benchmarks/heldout.py

The exit status is 1 if a prompt of the generator matches.
"""

import time
from pathlib import Path

from doric.dataset.plan import Mix, Plan
from doric.dialect.render import render
from doric.quality.decontamination import find_match, held_out_prompts
from doric.topics.lists import read_topics

TOPICS = Path(__file__).parents[1] / "topics.txt"
SEEDS = 4


def main() -> int:
    """Make prompts of every kind from topics.txt and search each prompt."""
    topics = read_topics(TOPICS)
    mix = Mix(n_per_topic=24, adv=0.25, safety=0.15, multi=0.35)
    asked = [job.prompt.text for seed in range(SEEDS) for job in Plan(topics, mix, seed=seed)]
    find_match("warm up the caches")
    began = time.process_time()
    wrong = [text for text in asked if find_match(text)]
    each = (time.process_time() - began) / len(asked)
    print(f"{len(asked):,} prompts of the generator, {len(wrong)} matches, {1e6 * each:.1f} us per prompt")
    found = sum(find_match(held.prompt) == held for held in held_out_prompts())
    doric = sum(find_match(render(held.about or held.prompt)) is not None for held in held_out_prompts())
    print(
        f"{len(held_out_prompts())} held-out prompts, {found} found as they are, {doric} found when rendered in Doric"
    )
    for text in wrong[:10]:
        print(f"  {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
