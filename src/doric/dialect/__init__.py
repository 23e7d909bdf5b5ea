"""Scores how Doric a text is. Also holds the word lists, renders English phrases, marks words, checks the data files."""
