"""The rooms behind the Doric scripts, one plain noun each.

Flat in this folder lie the rooms that scripts speak of by name. Floor 1, which imports no other room: `text` (words
and sentences), `settings` (.env to one frozen value), `jsonl` (a journal that survives a crash), `rows` (row shapes),
`pool` (bounded workers), `spend` (tokens and money). Floor 2: `lexicon` (which words are Doric, and two scores),
`neardup` (is this answer nearly another one), `topics` (reading topic lists), `heldout` (prompts that must never be
trained on), `backends` (any OpenAI-compatible API). Floor 3: `gates` (why an answer is refused), `heuristic` (the
embedded voice), `prompts` (what users ask). Floor 4: `plan` (topics to jobs), `generation` (jobs to rows), `preflight`
(what is wrong with a run, and what it will take), `session` (one run of the generator), `report` (a dataset as a page).
`errors` is open to all.

What they stand on lies in wings: `language` (words, phrases, verdicts), `ground` (what every run needs and knows no
Doric), `voices` (what a model server is told and says), `collection` (widening topics), `validation` (how good a
model is), `reporting` (what a page is made of). Data runs one way: topics, plan, generation, journal, rows.
"""
