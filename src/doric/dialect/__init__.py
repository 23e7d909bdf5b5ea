"""Measures how Doric a text is. Also: word lists, rendering of English phrases, highlighting, checks of the data."""
