"""The meaning of an error response for the run, with the wordings of different servers."""

import json

import pytest

from doric.core.errors import FatalServerError, RetryableError, ServerError
from doric.llm.errors import ErrorResponse
from doric.llm.reset_times import read_retry_after


def response(status: int, body: str, after: str = "") -> ErrorResponse:
    return ErrorResponse.read(status, body.encode(), {"retry-after": after} if after else {}, key="")


def error_of(response: ErrorResponse) -> ServerError:
    return response.to_error(address="http://h/v1", model="m", key_variable="K", key_given=True)


def test_a_rate_limit_that_mentions_billing_is_retryable():
    """A rate limit that mentions quota or billing is retried, and only an exhausted quota stops the run."""
    limit = response(429, '{"error": {"code": "rate_limit_exceeded", "message": "see /account/billing"}}')
    minute = response(429, '{"error": {"message": "You exceeded your current quota. Please retry in 23s."}}')
    gone = response(429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}')
    assert isinstance(error_of(limit), RetryableError)
    assert isinstance(error_of(minute), RetryableError)
    assert isinstance(error_of(gone), FatalServerError)


def test_a_403_by_moderation_is_a_filtered_answer():
    """A 403 for a flagged input counts as a filtered answer and not as a rejected key."""
    assert response(403, '{"error": {"message": "requires moderation and your input was flagged"}}').filtered
    assert not response(403, '{"error": {"message": "no access"}}').filtered


def test_a_flagged_account_is_not_a_filtered_answer():
    """A 403 for a flagged account is a rejected key, but with a content filter's code it is a filtered answer."""
    account = response(403, '{"error": {"message": "Your organization has been flagged and API access is disabled"}}')
    coded = response(403, '{"error": {"message": "Not today", "code": "content_filter"}}')
    assert not account.filtered
    assert isinstance(error_of(account), FatalServerError)
    assert coded.filtered


def test_a_key_is_redacted_in_any_json_form():
    """A key is also redacted if JSON escapes the slash in it."""
    found = ErrorResponse.read(400, b'{"error": {"message": "bad key sk\\/abc, or sk/abc"}}', {}, key="sk/abc")
    assert "abc" not in found.message


@pytest.mark.parametrize(
    ("sent", "after"),
    [("86400", 86400.0), ("9" * 400, None), ("Thu, 01 Jan 0001 00:00:00 +2300", 0.0), ("1e999", None)],
)
def test_invalid_retry_after_values(sent, after):
    """A Retry-After that is not a finite number counts as absent, and a date in the past means no wait."""
    assert read_retry_after({"retry-after": sent}) == after


def test_a_long_retry_after_ends_the_run():
    """A Retry-After above ten minutes is a fatal error whose message has the time."""
    day = error_of(response(429, "{}", after="86400"))
    assert isinstance(day, FatalServerError)
    assert "24 h" in day.message
    assert isinstance(error_of(response(429, "{}", after="600")), RetryableError)


def test_a_token_limit_is_lowered_to_what_the_server_accepts():
    """The new limit is the highest lower limit in the message, half if it names no limit, and None otherwise."""
    named = response(400, '{"error": {"message": "max_tokens is too large: 8192. gpt-4o-2024 takes at most 4,096"}}')
    assert named.lower_limit(8192) == 4096
    assert response(400, '{"error": {"message": "max_tokens is too large"}}').lower_limit(800) == 400
    assert response(400, '{"error": {"message": "max_tokens is too large, 4096 is the most"}}').lower_limit(100) is None


# -- the server's own words ------------------------------------------------------------------------------------------

SAID = "Input should be at most 64"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "m is rate-limited"}}}',
         "Provider returned error: m is rate-limited"),
        ('{"error": {"message": "Provider error", "raw": "{\\"error\\":{\\"message\\":\\"at most 5\\"}}"}}',
         "Provider error: at most 5"),
        ('{"error": "model requires more system memory (5.3 GiB)"}', "model requires more system memory (5.3 GiB)"),
        ('{"error": ["Error in `inputs`", "too few"], "error_type": "validation"}', "Error in `inputs`; too few"),
        ('{"detail": "Not Found"}', "Not Found"),
        (f'{{"detail": [{{"loc": ["body", "max_tokens"], "msg": "{SAID}", "input": 600}}]}}', f"max_tokens: {SAID}"),
        ('{"detail": {"error": {"message": "busy"}}}', "busy"),
        ('{"message": "No route"}', "No route"),
        ('{"Message": "Forbidden"}', "Forbidden"),
        ('{"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400}',
         "System role not supported"),
        ('{"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}}', "n: too many"),
        ('[{"error": {"code": 400, "message": "Key not valid.", "status": "INVALID_ARGUMENT"}}]', "Key not valid"),
        ('{"success": false, "errors": [{"code": 7003, "message": "no such route"}], "messages": []}', "no such route"),
        ('{"errors": ["one", "two"]}', "one; two"),
        ('{"error": {"code": 400, "message": "", "details": [{"@type": "x", "reason": "EXPIRED"}]}}', "EXPIRED"),
        ('{"error": {"code": "model_overloaded", "message": null}}', "model_overloaded"),
        ('{"error": {"message": "{\\"detail\\": \\"inner\\"}"}}', "inner"),
        ('{"title": "Bad Request", "detail": "n is missing", "status": 400}', "Bad Request: n is missing"),
        ('"just a text"', '"just a text"'),
        ("upstream connect error", "upstream connect error"),
        ("<!DOCTYPE html>\n<html><head><title>502 Bad\n Gateway</title></head><body>secret stack</body></html>",
         "502 Bad Gateway"),
        ("<html><body><h1>Service &amp; more</h1><p>x</p></body></html>", "Service & more"),
        ("<?xml version='1.0'?><Error><Code>Denied</Code><Message>Access Denied</Message></Error>", "Access Denied"),
        ("<html></html>", "a page without a title"),
        ("<html><style>b {}</style><body>Error: can&#39;t <b>allocate</b></body>", "Error: can't allocate"),
        ('{"error": {"message": "a\\u001b[31mb\\u202e\\nc\\u0007"}}', "ab c"),
        ('{"error": {"message": "cut of', '{"error": {"message": "cut of'),
        ('{"foo": 1}', '{"foo": 1}'),
        ("", ""),
        ("[" * 5000, "[" * 300 + "…"),
    ],
)  # fmt: skip
def test_the_words_of_a_server_are_found_in_every_shape(body, words):
    """The message has the words for people from any shape of error body, on one line, without control characters."""
    assert response(500, body).message == words


def test_a_long_message_is_shortened():
    """At most 300 characters of a server's message are quoted."""
    message = response(500, "x" * 10_000).message
    assert len(message) == 301
    assert message.endswith("…")


@pytest.mark.parametrize("status", [400, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529])
def test_the_words_are_in_every_error(status):
    """Whatever the status is, the error says what the server said."""
    assert "the reason is here" in error_of(response(status, '{"detail": "the reason is here"}')).message


def test_a_quoted_key_is_removed_from_a_rejection():
    """The error for a rejected key has the server's words without the parts of the key that the server shows."""
    key = "sk-proj-4f7a91c2d88e"
    for shown in (key, "sk-pro***************d88e", "sk-proj-4f7a...", "...d88e"):
        body = f'{{"error": {{"message": "Incorrect API key provided: {shown}. Look it up."}}}}'
        error = error_of(ErrorResponse.read(401, body.encode(), {}, key=key))
        assert "Incorrect API key provided: …" in error.message
        assert not any(part in error.message for part in ("sk-pro", "4f7a", "d88e"))


@pytest.mark.parametrize(
    "quoted",
    [
        "How do I keep the temperature of my fridge low?",
        "How do I keep the temperature of m…",
        "q: How do I keep the temperature of",
    ],
)
def test_a_quoted_prompt_is_removed(quoted):
    """A prompt is also redacted where the server quotes only its beginning."""
    prompt = "How do I keep the temperature of my fridge low?"
    body = f'{{"error": {{"message": "cannot parse: {quoted}"}}}}'.encode()
    found = ErrorResponse.read(400, body, {}, key="", prompts=[prompt])
    assert "keep" not in found.message
    assert found.refused_parameters(["temperature"]) == []


@pytest.mark.parametrize(
    "said",
    [
        "System role not supported",
        "Jinja Exception: System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Only user and assistant roles are supported!",
        "Only user, assistant and tool roles are supported, got system.",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Developer instruction is not enabled for models/gemma-3-1b-it",
        "System messages are not supported by this model",
        "This model doesn't support system instructions.",
        "Invalid role: system",
        "Unexpected role 'system' after role 'user'",
        "messages.0.role: Input should be 'user' or 'assistant'",
    ],
)
def test_a_model_without_a_system_role_is_recognised(said):
    """Every usual wording of a refused system role is recognised, whatever the status is."""
    for status in (400, 422, 500):
        assert response(status, json.dumps({"error": {"message": said}})).refuses_system_role


@pytest.mark.parametrize(
    "said", ["the system is overloaded", "not enough system memory", "max_tokens must be at most 5"]
)
def test_other_errors_about_a_system_are_no_refused_role(said):
    """An error about the server's machine is not taken for a refused system role."""
    assert not response(500, f'{{"error": "{said}"}}').refuses_system_role


def test_a_field_to_send_is_suggested():
    """If the server wants a field that has no flag of its own, the hint shows --extra-body with it."""
    said = '{"error": {"message": "parameter.enable_thinking must be set to false for non-streaming calls"}}'
    assert """--extra-body '{"enable_thinking": false}'""" in error_of(response(400, said)).hint


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_context_that_is_too_small_is_not_retried(status):
    """A request that exceeds the context fails at once, also if the server reports it as its own error."""
    error = error_of(response(status, '{"error": {"message": "Context size has been exceeded."}}'))
    assert type(error) is ServerError


def test_a_limit_in_other_words_is_a_limit_of_tokens():
    """A limit of output tokens is lowered although the message does not name the parameter."""
    said = response(400, '{"error": {"message": "Model m supports at most 512 output tokens per request."}}')
    assert said.refused_parameters(["temperature", "max_tokens"]) == ["max_tokens"]
    assert said.lower_limit(900) == 512


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_set_is_no_rejected_key(status):
    """If no key is set, a 401 or 403 says so, and the hint names the variable to set."""
    refusal = response(status, '{"error": "no credentials"}')
    error = refusal.to_error(address="http://h/v1", model="m", key_variable="JUDGE_API_KEY", key_given=False)
    assert f"http://h/v1 refuses requests without a key, and none is set ({status}): no credentials" == error.message
    assert error.hint == "Set JUDGE_API_KEY in the environment or in .env."


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("model requires more system memory (5.3 GiB) than is available (3.1 GiB)", False),
        ("llama runner process has terminated: cudaMalloc failed: out of memory", False),
        ("CUDA error: out of memory", True),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("failed to allocate buffer for kv cache", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)", True),
        ("vk::Device::allocateMemory: ErrorOutOfDeviceMemory", True),
        ("No available memory for the cache blocks", True),
        ("<html><body>DefaultCPUAllocator: can't allocate memory</body></html>", True),
        ("Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", True),
        ("cudaMalloc failed", False),
        ("llama runner process has terminated: exit status 2", False),
        ("llama_kv_cache_init() failed for self-attention cache", True),
        ("model requires 12.1 GiB, but only 7.2 GiB of VRAM is available", True),
        ("std::bad_alloc", True),
        ("metal::malloc: Attempting to allocate 9663676416 bytes", True),
        ("OOM when allocating tensor", True),
        ("Free memory on device cuda:0 (1.2/23.6 GiB) on startup is less than desired", True),
    ],
)
def test_too_little_memory_has_a_hint_that_helps(words, fits):
    """A model that does not fit ends the run; other requests may fit later. The hint says what helps."""
    refusal = response(500, json.dumps({"error": words}))
    error = error_of(refusal)
    assert isinstance(error, RetryableError if fits else FatalServerError)
    assert words.rstrip(".").removeprefix("<html><body>").removesuffix("</body></html>") in error.message
    assert "smaller model" in error.hint
    later = refusal.to_error(address="http://h/v1", model="m", key_variable="K", key_given=True, answered=True)
    assert isinstance(later, RetryableError)
    assert later.hint == error.hint


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Model loading was stopped due to insufficient system resources."), (400, "CUDA out of memory"),
        (400, "requires 12 GiB of VRAM"), (404, "cudaMalloc failed"), (507, "Insufficient Storage"), (507, ""),
    ],
)  # fmt: skip
def test_too_little_memory_has_the_same_hint_with_any_status(status, words):
    """Some servers report too little memory as a bad request or as 507; the hint is not to change flags."""
    assert "smaller model" in error_of(response(status, json.dumps({"error": words}))).hint


@pytest.mark.parametrize("status", [304, 305, 399])
def test_a_status_of_no_model_server_is_no_matter_of_flags(status):
    """A status that says neither yes nor no has a hint about the URL."""
    assert "check the base URL" in error_of(response(status, "")).hint


@pytest.mark.parametrize(
    "words",
    [
        "API key missing. Please pass a valid API key", "You didn't provide an API key", "invalid x-api-key",
        "Missing Authentication header", "Please provide an API key", "Header 'Authorization' missing",
        "No API key provided",
    ],
)  # fmt: skip
def test_a_missing_key_is_named_with_any_status(words):
    """A server that answers 400 to a request without a key is told to the user as a key that is not set."""
    refusal = response(400, json.dumps({"error": {"message": words}}))
    error = refusal.to_error(address="http://h/v1", model="m", key_variable="K", key_given=False)
    assert isinstance(error, FatalServerError)
    assert (error.hint, "none is set" in error.message) == ("Set K in the environment or in .env.", True)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "API key not valid. Please pass a valid API key."), (498, "Invalid token"), (401, "no"), (403, "no"),
        (502, "Incorrect API key provided"), (422, "invalid_api_key"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_known_by_its_words_too(status, words):
    """Whatever the status is, a refused key is named as such, with the variable that holds it."""
    error = error_of(response(status, json.dumps({"error": {"message": words}})))
    assert isinstance(error, FatalServerError)
    assert error.message.startswith(f"the server rejected the key ({status})")
    assert "is set" in error.hint


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "Country, region, or territory not supported"), (403, "Project does not have access to model x"),
        (400, "User location is not supported for the API use."), (403, "Access to model x is gated"),
    ],
)  # fmt: skip
def test_a_model_or_a_region_without_access_is_no_wrong_key(status, words):
    """A refusal of the model or of the region does not say that the key was rejected."""
    error = error_of(response(status, json.dumps({"error": {"message": words}})))
    assert isinstance(error, FatalServerError)
    assert error.message == f"http://h/v1 gives no access ({status}): {words.removesuffix('.')}"
    assert "not at fault" in error.hint


@pytest.mark.parametrize("key", ["-", "none", "EMPTY", "ollama", "lm-studio", "not-needed", "placeholder", "no-key"])
@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_placeholder_key_is_not_redacted(key, status):
    """A word that stands for no key is left in the server's words, which would be unreadable without it."""
    words = f"pull it first with {key} run, in an {key} folder; it is {key}"
    assert ErrorResponse.read(status, json.dumps({"error": words}).encode(), {}, key=key).message == words


@pytest.mark.parametrize("key", ["correct-horse", "letmein", "doric-secret", "4f7a91"])
def test_a_short_key_that_is_no_placeholder_is_redacted(key):
    """A password that the user has chosen is not shown, however short it is."""
    assert key not in ErrorResponse.read(400, f'{{"error": "unknown key {key}"}}'.encode(), {}, key=key).message


NO_MODEL = {"error": {"message": "The model `gtp-5` does not exist", "code": "model_not_found"}}


@pytest.mark.parametrize(
    ("address", "listed", "hint"),
    [
        ("https://h/v1", ["whisper-1", "gpt-5"], "Check the name: the server lists gpt-5, whisper-1."),
        ("https://h/v1", [*"1234567890"], "Check the name: the server lists 5, 1, 2, 3, 4, 6, 7, 8 and 2 more."),
        ("https://h/v1", [], "Check the name against the provider's list of models: the server lists no other one."),
        ("https://h/v1", ["gtp-5"], "the server lists no other one."),
        ("https://me.openai.azure.com/openai/v1", ["gpt-5"], "the name of the model is that of your deployment."),
    ],
)
def test_an_unknown_model_is_followed_by_those_of_the_server(address, listed, hint):
    """The names most like the given one come first. No flag is named: it may be the model of a judge or a baseline."""
    refusal = ErrorResponse.read(404, json.dumps(NO_MODEL).encode(), {}, key="")
    error = refusal.to_error(address=address, model="gtp-5", key_variable="K", key_given=True, listed=listed)
    assert f"{address} has no model 'gtp-5' (404)" in error.message
    assert error.hint.endswith(hint)
    assert "--model" not in error.hint
