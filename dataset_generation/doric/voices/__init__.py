"""Wing: what a model server is told and what it says. The voices themselves are `backends` and `heuristic`.

`instructions` (what a model is told), `completions` (its answer read), `faults` (what a refusal of the server means),
`stream` (an answer as it comes in), `secrets` (a key cut out of it), `speakers` (both voices as the
generator hears them).
"""
