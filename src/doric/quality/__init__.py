"""Whether an answer is good enough to keep: the gates, near-duplicates, and prompts that must never be trained on."""
