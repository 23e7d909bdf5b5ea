"""Topic lists: reading and extending them, and asking a model for more topics."""
