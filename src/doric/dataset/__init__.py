"""From topics to rows: the plan and its prompts, two voices (embedded and model), the generator, one run of it."""
