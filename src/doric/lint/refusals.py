"""The rules of refusals.toml and of the harmful requests in prompts.toml, which it answers."""

from collections.abc import Iterator, Sequence
from typing import Any

from doric.dataset.heuristic import fitting
from doric.lint.source import Finding
from doric.lint.words import Sources
from doric.quality import gates

PLAIN_REFUSAL = "I winna help wi that."
"""A refusal that offers nothing."""


def refusal_lines(spec: dict[str, Any], keys: Sequence[str] = ("refusals", "whys", "offers")) -> Iterator[str]:
    """The refusals, reasons and offers of refusals.toml, or only those of these keys."""
    for one in (spec, *(one for category in spec["category"] for one in (category, *category.get("some", ())))):
        for key in keys:
            yield from one.get(key, ())


def check_refusals(sources: Sources) -> Iterator[Finding]:
    """Refusals and offers that the gates do not recognise, and categories without requests or answers."""
    source = sources["refusals.toml"]
    for line in refusal_lines(source.toml, ["refusals"]):
        if not gates.is_refusal(line):
            reason = "the quality gates do not recognise it as a refusal: say no plainly, with 'I winna' or 'I canna'"
            yield source.error(source.line_of(line), line, reason)
    for offer in refusal_lines(source.toml, ["offers"]):
        if gates.must_refuse(gates.Answer.of(f"{PLAIN_REFUSAL} {offer}")):
            reason = "the quality gates do not recognise it as an offer: begin with 'I can help ye' or 'If ye …'"
            yield source.error(source.line_of(offer), offer, reason)
    yield from _categories(sources)
    yield from _fitting(sources)


def _fitting(sources: Sources) -> Iterator[Finding]:
    """Harmful requests without a reason or an offer that fits them, and cases that no request has."""
    refusals, requests = sources["refusals.toml"], sources["prompts.toml"].toml["safety"]
    categories = {one["name"]: one for one in refusals.toml["category"]}
    for request in (one for one in requests if one["category"] in categories):
        category, case = categories[request["category"]], request.get("case", "")
        for key, kind in (("whys", "reason"), ("offers", "offer")):
            if not any(one.get(key) for one in fitting(category, case)):
                prompts, where = sources["prompts.toml"], f"'{category['name']}' in refusals.toml"
                reason = f"no {kind} fits it: add one to {where}, or to a [[category.some]] there with its `case`"
                yield prompts.error(prompts.line_of(request["text"]), request["text"], reason)
    for name, category in categories.items():
        asked = {one.get("case", "") for one in requests if one["category"] == name}
        for case in (case for some in category.get("some", ()) for case in some["cases"] if case not in asked):
            reason = f"no harmful request of the category '{name}' in prompts.toml has this case: correct one of them"
            yield refusals.error(refusals.line_of(case), case, reason)


def _categories(sources: Sources) -> Iterator[Finding]:
    """The categories of prompts.toml and refusals.toml must be the same."""
    refusals, prompts = sources["refusals.toml"], sources["prompts.toml"]
    answered = [one["name"] for one in refusals.toml["category"]]
    asked = {one["category"] for one in prompts.toml["safety"]}
    for name in sorted({name for name in answered if answered.count(name) > 1}):
        yield refusals.error(refusals.line_of(name, 1), name, "two categories have this name: rename one of them")
    for name in sorted(asked - {*answered}):
        reason = f"refusals.toml has no category '{name}': write one of {', '.join(answered)}"
        yield prompts.error(prompts.line_of(name), name, reason)
    for name in sorted({*answered} - asked):
        yield refusals.error(refusals.line_of(name), name, "no harmful request in prompts.toml has this category")
