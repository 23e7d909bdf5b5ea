"""The library behind the scripts: topics to a dataset, to a fine-tuned model, to an evaluated and served one.

    core         errors, text, settings, files, JSON lines, conversations, the command line
    llm          calls to any OpenAI-compatible server: client, errors, scheduler, rate limits, budget
    dialect      what makes a text Doric: lexicon, contexts, scores, rendering, highlighting, lint
    quality      gates, near-duplicates, decontamination (prompts that must never be trained on)
    topics       topic lists, and asking a model for more
    dataset      plan, prompts, embedded voice, instructions, generation, one run of it
    evaluation   a model's answers to held-out prompts: metrics with intervals, pairwise judge
    report       HTML pages of a dataset and of a result
    chat         the terminal chat
    data         the language data that a speaker can correct

Imports go down only: `core`; `llm` and `dialect`; `quality`; `topics`, `dataset` and `evaluation`; `report`. `chat`
needs `core` and `llm`. The contracts stand in pyproject.toml and `lint-imports` checks them.
"""
