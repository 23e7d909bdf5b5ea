"""What may be set, and within which limits."""

import pytest

from doric.chat.options import BadOption, leave_room, parse_option


@pytest.mark.parametrize(("name", "text"), [("seed", "1.5"), ("seed", "x"), ("top_p", "nan"), ("heat", "1")])
def test_an_option_out_of_range_is_refused(name, text):
    """Numbers of the wrong kind, not-a-numbers and unknown names are refused."""
    with pytest.raises(BadOption):
        parse_option(name, text)


def test_a_limit_as_large_as_the_window_is_refused():
    """max_tokens must leave room for a question; the refusal holds both figures, and an unknown window refuses none."""
    leave_room(3999, 4000)
    leave_room(10**6, None)
    for limit in (4000, 5000):
        with pytest.raises(BadOption, match=rf"max_tokens {limit:,} .* share 4,000 tokens"):
            leave_room(limit, 4000)
