"""Topics to rows: the plan, prompts, the embedded voice, what a model is told, generation, and one run of it."""
