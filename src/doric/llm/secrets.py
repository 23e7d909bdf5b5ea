"""The user's key cut out of what a server says, for some quote it. Knows nothing of where the text goes."""

LEAST_CUT = 6
"""Characters of what is cut out of a complaint, at least: "x" is a dummy key, and a letter of most words."""
LEAST_SECRET, LONGEST_WORD = 8, 20
"""Characters: a shorter key is no secret, and one so long is no word, be there a figure in it or not."""


def without(text: str, quoted: str) -> str:
    """`text` with what a server quotes cut out of it: the user's key, or what was asked."""
    return text.replace(quoted, "…") if len(quoted) >= LEAST_CUT else text


def is_secret(key: str) -> bool:
    """Whether a key may be cut out of prose: it is no word that stands for none, as local servers want.

    >>> is_secret("sk-proj-4f7a"), is_secret("ollama"), is_secret("not-needed"), is_secret("")
    (True, False, False, False)
    """
    return len(key) >= LONGEST_WORD or (len(key) >= LEAST_SECRET and any(char.isdigit() for char in key))
