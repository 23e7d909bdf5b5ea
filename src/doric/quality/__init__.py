"""Whether an answer is good enough to keep: gates, near-duplicates, decontamination (evaluation prompts)."""
