"""Errors, text, settings, files, JSON lines, conversations, the command line: what every package needs."""
