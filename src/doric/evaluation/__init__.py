"""How good a model is: its answers to held-out prompts, their metrics with intervals, and a pairwise judge."""
