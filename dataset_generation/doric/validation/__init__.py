"""Wing: how good a model is, by what it answers to held-out prompts.

`exam` (asking), `marks` (one answer measured), `intervals` (how far a figure may be trusted), `scoreboard` (figures
with intervals), `candidate` (a model and its result), `baseline` (a result saved before), `judge` (pairs, by the word
of a model), `table` and `board` (to look at).
"""
