"""Wing: what a model server is told and what it says. The voices themselves are `backends` and `heuristic`.

`instructions` (what a model is told), `faults` (what a refusal of the server means), `stream` (an answer as it comes
in).
"""
