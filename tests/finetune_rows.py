"""Rows for the tests of fine-tuning."""


def sharegpt(*turns: tuple[str, str], **meta: str) -> dict:
    """A ShareGPT row of (role, text) turns."""
    return {"conversations": [{"from": role, "value": text} for role, text in turns], "meta": meta}
