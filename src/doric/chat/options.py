"""What may be told to a model about sampling, and within which limits. Knows no model."""

# What may be set, and the range it must lie in.
OPTIONS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0, 2),
    "top_p": (float, 0.01, 1),
    "max_tokens": (int, 1, 1_000_000),
    "repetition_penalty": (float, 0.1, 10),
    "seed": (int, 0, 2**31),
}


class BadOption(ValueError):
    """An option that does not exist, or a value out of its range."""


def known(name: str) -> str:
    """The name, if there is such an option. Raises BadOption."""
    if name not in OPTIONS:
        raise BadOption(f"there is no option {name!r}: {', '.join(OPTIONS)}")
    return name


def parse_option(name: str, text: str) -> float:
    """The value of an option. Raises BadOption."""
    kind, low, high = OPTIONS[known(name)]
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        wanted = "a whole number" if kind is int else "a number"
        raise BadOption(f"{name} is {wanted} from {low:g} to {high:g}, not {text!r}")
    return value


def leave_room(max_tokens: float, window: int | None) -> None:
    """Raise BadOption when an answer of that length would leave no room for a question."""
    if window is not None and max_tokens >= window:
        raise BadOption(
            f"max_tokens {max_tokens:,.0f} leaves no room for a question: question and answer share {window:,} tokens"
        )
