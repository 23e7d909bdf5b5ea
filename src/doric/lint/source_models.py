"""The keys and types of the TOML files for rows from texts and chats, as pydantic models."""

from typing import Annotated

from pydantic import BaseModel, Field

from doric.lint.models import Count, Strict, Text, Texts


class QuestionLanguages(Strict):
    en: Text
    sco: Text


class QuestionWords(Strict):
    least: Count
    most: Count


class QuestionMeta(Strict):
    patterns: Annotated[Texts, Field(min_length=1)]


class Questions(Strict):
    system: Text
    again: Text
    language: QuestionLanguages
    words: QuestionWords
    meta: QuestionMeta


class Rewrite(Strict):
    beside: Text


SOURCE_MODELS: dict[str, type[BaseModel]] = {
    "sources/questions.toml": Questions,
    "sources/rewrite.toml": Rewrite,
}
"""File -> its model."""
