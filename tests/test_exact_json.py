"""One JSON object per line, read exactly: what cannot be written again is refused, and each error has a place."""

import pytest

from doric.core.errors import InputError
from doric.core.files import encode_json, parse_object

KEPT = [
    b'{"id":340282366920938463463374607431768211455,"ts":18446744073709551616}',
    b'{"low":-9223372036854775809,"list":[[99999999999999999999]]}',
    b'{"zero":-0.0}',
    b'{"text":"NaN, Infinity, 1e400 and \\\\ud83d"}',
    b'{"nul":"\\u0000"}',
]


@pytest.mark.usefixtures("either_codec")
@pytest.mark.parametrize("line", KEPT, ids=lambda line: line[:20].decode())
def test_an_object_is_written_again_as_it_was_read(line):
    """Integers beyond 64 bits, -0.0, NUL escapes, and texts that look like numbers do not change."""
    assert encode_json(parse_object(line)) == line


@pytest.mark.usefixtures("either_codec")
def test_a_float_with_more_digits_than_a_double_keeps_its_value():
    """A number with too many digits is written as the shortest text of the same double."""
    line = encode_json(parse_object(b'{"share": 0.1000000000000000055, "big": 12345678901234567890.0}'))
    assert line == encode_json({"share": 0.1, "big": 12345678901234567890.0})


REFUSED = {
    b'{"score": NaN}': "not JSON: NaN (column 11)",
    b'{"a": "NaN", "b": [1, -Infinity]}': "not JSON: -Infinity (column 23)",
    b'{"a": "1e400", "b": 1e400}': "the number 1e400 is too large (column 21)",
    b'{"a": -1e999}': "the number -1e999 is too large (column 7)",
    b'{"a": ' + b"1" * 5000 + b"}": "a number of 5,000 digits",
    b'{"a": 1, "a": 2}': "duplicate key 'a'",
    b'{"m": [{"role": "user", "\\u0072ole": "user"}]}': "duplicate key 'role'",
    b'{"a": "\\ud83d"}': "half a character: \\ud83d (a lone surrogate) (column 8)",
    b'{"a": "\\ud83d\\ude00 \\uDE00"}': "half a character: \\uDE00 (a lone surrogate) (column 21)",
    b'{"a": "\\ud83d\\ud83d\\ude00"}': "half a character: \\ud83d (a lone surrogate) (column 8)",
    b'{"a": "caf\xe9"}': "not UTF-8 text (byte 0xe9 at column 11)",
    b'{"a": "\0"}': 'not JSON: \'{"a": "\\x00"}\' (column 8)',
    b"\0" * 40: "not JSON: ",
    b'{"a": ' + b"[" * 100_000: "nested too deeply",
}


@pytest.mark.usefixtures("either_codec")
@pytest.mark.parametrize("line", REFUSED, ids=lambda line: line[:20].decode(errors="replace"))
def test_what_would_be_lost_is_an_error_with_its_column(line):
    """NaN, numbers too large, duplicate keys, half characters and other encodings are refused with file and line."""
    with pytest.raises(InputError) as caught:
        parse_object(line, file="rows.jsonl", number=7)
    assert caught.value.message.startswith(f"rows.jsonl:7: {REFUSED[line]}")
    assert caught.value.hint
    assert "\n" not in caught.value.message


HINTS = {
    b'{"a": 1},': "Remove the comma at the end of the line",
    b'{"a": 1}{"b": 2}': "Put the second one on its own line",
    b'[{"a": 1}]': "jq -c '.[]'",
    b"[": "jq -c '.[]'",
    b"{": "jq -c . FILE",
    b'{"messages": [': "jq -c . FILE",
    b"{'messages': []}": "looks like Python",
    b"hallo": "Each line must hold one JSON object",
}


@pytest.mark.parametrize("line", HINTS, ids=bytes.decode)
def test_the_hint_names_a_common_mistake(line):
    """A comma after the object, a JSON array, an object over several lines and Python each have their own hint."""
    with pytest.raises(InputError) as caught:
        parse_object(line, file="rows.jsonl", number=1)
    assert HINTS[line] in caught.value.hint
