"""What is told of a run of the topic widener: what it would ask, what came of it. Knows no files and no network."""

from collections.abc import Sequence
from pathlib import Path

from doric.llm.budget import Budget, Price
from doric.topics.widener import Group, Widener, expected

SHOWN = 80
"""Characters of a refused topic that are shown."""


def forecast(groups: Sequence[Group], output: Path, price: Price | None) -> str:
    """What would be asked, as lines for people."""
    calls, into, out = expected(groups)
    cost = f", about ${price.cost(into, out):.2f} ({price.source})" if price else ""
    return "\n".join(
        [
            f"{sum(group.wanted for group in groups):,} new topics in {len(groups)} groups, written to {output}",
            *(f"  {group.name}: {len(group.had)} there, {group.wanted} more wanted" for group in groups),
            f"about {calls:,} calls, {into:,} tokens in and {out:,} out{cost}",
        ]
    )


def came_of(groups: Sequence[Group], output: Path) -> list[str]:
    """What is in the file now, and what each group has of what it wanted."""
    written = sum(group.written for group in groups)
    lines = [f"{written:,} new topics" + (f" in {output}" if written else ": nothing is written")]
    for group in groups:
        why = f", then it ended: {group.ended}" if group.ended and group.missing > 0 else ""
        lines.append(f"  {group.name}: {group.written} of {group.wanted} in {group.calls} calls{why}")
    return lines


def left_over(groups: Sequence[Group], aside: Path | None) -> list[str]:
    """The topics that were found and could not be written: where they are, else the topics themselves."""
    topics = [topic for group in groups for topic in group.unwritten]
    if not topics:
        return []
    if aside:
        return [f"  not written there: {len(topics):,} new topics; they are in {aside}"]
    return [f"  not written anywhere: {len(topics):,} new topics; copy them from here", *topics]


def refusals(widener: Widener) -> list[str]:
    """What was refused, with an example of each kind, and which faults the server had."""
    refused, faults = widener.refused, widener.faults
    lines = [f"  refused: {refused.counts.total():,}"] if refused.counts else []
    for gate, count in refused.counts.most_common():
        text, reason = (" ".join(one.split()) for one in refused.examples[gate])  # a line break would forge a line
        lines.append(f"    {gate} {count:,}, as '{text[:SHOWN]}': {reason}")
    if faults:
        lines.append("  faults: " + ", ".join(f"{name} {count:,}" for name, count in faults.most_common()))
    return lines


def spent(spend: Budget) -> list[str]:
    """The tokens and what they cost, if there were any."""
    return [f"  spent: {spend}"] if spend.calls else []
