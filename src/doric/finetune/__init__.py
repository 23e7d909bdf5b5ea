"""Fine-tuning, from rows to a checked model: the notebook, `finetune.py` and the Modal job call these functions.

Nothing here imports torch or another package of the group `finetune` before it is used, because Unsloth must be
imported before the libraries that it patches; see `versions.start_packages`.
"""
