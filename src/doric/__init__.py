"""The library behind the scripts, from topics and datasets to a model that is evaluated and answers in a chat.

    core         errors, text, settings, files, JSON Lines, conversations, the command line
    llm          calls to any OpenAI-compatible server: client, errors, scheduler, rate limits, budget
    dialect      what makes a text Doric: lexicon, contexts, scores, rendering, highlighting, lint
    quality      gates, near-duplicates, decontamination (prompts that must never be trained on)
    topics       topic lists, and asking a model for more topics
    dataset      plan, prompts, embedded voice, instructions, generation, one run of the generator
    evaluation   a model's answers to held-out prompts: metrics with intervals, pairwise judge
    preferences  pairs of a better and a worse answer, from accepted rows and refused answers
    finetune     fine-tuning of a model: settings, data, masking, packing, training, evaluation, export
    report       HTML pages of a dataset and of a result
    review       a page on which speakers check the Doric, and what their answers change
    chat         the terminal chat
    teacher      an open model on rented GPUs that writes a dataset: checks, start and stop
    data         the language data that a speaker can correct

Packages import only from lower layers. From low to high: `data`; `core`; `llm` and `dialect`; `quality`; `topics`;
`dataset`, `evaluation` and `preferences`; `finetune`; `report`; `review`. `chat` imports only `core` and `llm`,
`teacher` only `core`. `lint-imports` checks these rules, which are in pyproject.toml.
"""
