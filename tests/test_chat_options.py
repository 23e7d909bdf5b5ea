"""What may be set, and within which limits."""

import pytest

from chat_options import BadOption, parse_option


@pytest.mark.parametrize(("name", "text"), [("seed", "1.5"), ("seed", "x"), ("top_p", "nan"), ("heat", "1")])
def test_an_option_out_of_range_is_refused(name, text):
    """Numbers of the wrong kind, not-a-numbers and unknown names are refused."""
    with pytest.raises(BadOption):
        parse_option(name, text)
