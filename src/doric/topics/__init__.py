"""Topic lists: reading and extending them, filtering suggested topics, and one run that asks a model for more."""
