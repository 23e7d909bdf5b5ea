"""From topics to rows: the plan and its prompts, the two voices (embedded and model), the generator, and one run."""
