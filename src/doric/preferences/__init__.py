"""Preference pairs: for one prompt, an answer to prefer and an answer that is worse, with the reason."""
