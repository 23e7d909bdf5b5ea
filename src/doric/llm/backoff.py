"""How long to wait before a call is tried again. Knows neither calls nor clocks."""

import random

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the first retry at most, and before any; the bound doubles in between."""


def backoff(tries: int, after: float | None, draw: random.Random) -> float:
    """Seconds to wait when a call has failed that was tried `tries` times before; `after` is what the server asked for.

    Drawn from all of the time up to the bound. A server's own word is kept to, but for one that says "at once" again
    and again: half the bound is the least, or its retries would all be used up within a moment.
    """
    bound = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 16))
    if after is None:
        return draw.uniform(0, bound)
    wait = max(after, bound / 2)
    # a little later than asked, each by its own amount, or all come back in the same instant
    return wait + draw.uniform(0, 0.05 + 0.02 * wait)
