"""Wing: what a Doric word, phrase and verdict is made of. `lexicon` and `gates` stand on it.

`vocabulary` (the word lists), `contexts` (words that are Doric only in the right place), `phrases` (authored
sentences), `dorise` (a phrase of English rendered), `marking` (a text with its Doric words marked), `verdict` and
`duties` (what gates share, and those that need the question), `slips` and `proofs` (proofreading the data).
"""
