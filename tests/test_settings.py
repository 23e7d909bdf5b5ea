"""The settings: a flag overrides the environment, the environment overrides `.env`, and a key is never shown."""

import json
import traceback
from pathlib import Path

import pytest

from doric.core.errors import SettingsError
from doric.core.settings import (
    Settings,
    choose_backend,
    credentials_hint,
    endpoint,
    key_headers,
    load_settings,
    normalize_url,
)
from doric.llm.errors import ErrorResponse

KEY = "sk-test-5f0c2b7e91d34a68"


def load(tmp_path, environ=None, dotenv="", **flags):
    """Settings from these variables and this `.env`, independent of the machine."""
    path = tmp_path / ".env"
    path.write_bytes(dotenv if isinstance(dotenv, bytes) else dotenv.encode())
    return load_settings(environ=environ or {}, dotenv=path, **flags)


def test_nothing_given(tmp_path):
    """Without a key and a base URL there is no model, and the embedded voice is used."""
    settings = load(tmp_path)
    assert not settings.given
    assert choose_backend("auto", settings) == "heuristic"


def test_a_missing_dotenv(tmp_path):
    """A missing `.env` is not an error."""
    assert not load_settings(environ={}, dotenv=tmp_path / "none").given


def test_dotenv_is_read(tmp_path):
    """A key and a model are read from a `.env` with comments, quotes, `export` and an editor's byte-order mark."""
    text = f'# mine\nexport OPENAI_API_KEY="{KEY}"  # secret\nMODEL=gpt-6-luna\nOPENAI_BASE_URL=\n'
    for raw in (text.encode(), text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()):
        settings = load(tmp_path, dotenv=raw)
        assert (settings.key, settings.model, settings.base_url) == (KEY, "gpt-6-luna", "")
        assert settings.address == "https://api.openai.com/v1"
        assert choose_backend("auto", settings) == "openai"


def test_the_environment_wins_over_dotenv(tmp_path):
    """Each variable in the environment overrides the same variable in `.env`."""
    settings = load(tmp_path, {"MODEL": "from-env"}, f"OPENAI_API_KEY={KEY}\nMODEL=from-file\n")
    assert (settings.key, settings.model) == (KEY, "from-env")


def test_a_flag_wins_over_the_environment(tmp_path):
    """--model and --base-url override MODEL and OPENAI_BASE_URL."""
    environ = {"MODEL": "env", "OPENAI_BASE_URL": "http://env/v1"}
    settings = load(tmp_path, environ, model="flag", base_url="http://flag/v1/")
    assert (settings.model, settings.base_url) == ("flag", "http://flag/v1")


def test_an_unreadable_dotenv(tmp_path):
    """If a `.env` is not UTF-8, the error names the file and does not show its content."""
    with pytest.raises(SettingsError, match=r"\.env:1: not UTF-8 text") as caught:
        load(tmp_path, dotenv=f"OPENAI_API_KEY={KEY}".encode() + b"\xff\xfe")
    assert KEY not in str(caught.value) + caught.value.hint


def test_a_base_url_without_a_key_is_a_local_server(tmp_path):
    """A base URL without a key is enough for the user's own server."""
    settings = load(tmp_path, {"OPENAI_BASE_URL": "http://localhost:11434/v1"})
    assert settings.local
    assert choose_backend("auto", settings) == "openai"
    assert choose_backend("openai", settings) == "openai"


def test_heuristic_can_be_forced(tmp_path):
    """--backend heuristic is used even if a key exists."""
    assert choose_backend("heuristic", load(tmp_path, {"OPENAI_API_KEY": KEY})) == "heuristic"


def test_openai_without_anything_says_how(tmp_path):
    """If --backend openai is used without a key and a base URL, the error says how to set either of them."""
    with pytest.raises(SettingsError, match="no key and no base URL") as caught:
        choose_backend("openai", load(tmp_path))
    assert "OPENAI_API_KEY" in caught.value.hint
    assert "--base-url" in caught.value.hint
    assert "\n" not in caught.value.hint


@pytest.mark.parametrize(
    ("provider", "variable", "address"),
    [
        ("openai", "OPENAI_API_KEY", "https://api.openai.com/v1"),
        ("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        ("huggingface", "HF_TOKEN", "https://router.huggingface.co/v1"),
        (" HuggingFace ", "HF_TOKEN", "https://router.huggingface.co/v1"),
    ],
)
def test_a_provider_fills_in_address_and_variable(tmp_path, provider, variable, address):
    """MODEL_PROVIDER decides which variable holds the key, and to which server the key is sent."""
    settings = load(tmp_path, {"MODEL_PROVIDER": provider, variable: KEY, "OPENAI_ORG_ID": "x"})
    assert (settings.key, settings.address) == (KEY, address)
    assert not load(tmp_path, {"MODEL_PROVIDER": provider}).given
    assert variable in credentials_hint(settings)


def test_another_providers_key_is_not_sent(tmp_path):
    """With MODEL_PROVIDER=openrouter, OPENAI_API_KEY is not used."""
    assert not load(tmp_path, {"MODEL_PROVIDER": "openrouter", "OPENAI_API_KEY": KEY}).given


def test_an_unknown_provider(tmp_path):
    """The error for an unknown provider names it and lists the known providers."""
    with pytest.raises(SettingsError, match="MODEL_PROVIDER is 'azure'") as caught:
        load(tmp_path, {"MODEL_PROVIDER": "azure"})
    assert "openrouter" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    ["localhost:11434/v1", "ftp://host/v1", "http://", "http://host:port/v1", "https:///v1", "http://[::1", "https//x"],
)
def test_an_invalid_base_url(tmp_path, url):
    """A base URL that is not a URL is an error."""
    with pytest.raises(SettingsError, match="is not valid") as caught:
        load(tmp_path, base_url=url)
    assert "http://localhost:11434/v1" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/v1", "https://h/v1/", "http://[::1]:8000/v1", "http://h/v1/chat/completions"]
)
def test_a_base_url_is_taken_as_people_write_it(tmp_path, url):
    """A base URL may end with a slash or with the path of chat completions."""
    assert load(tmp_path, base_url=url).base_url.endswith("/v1")


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com/v1?api_key=sk-SECRET",
        "https://u:sk-SECRET@host:x/v1",
        "htps://sk-SECRET@host/v1",
        "https://host/v1?key=sk-SECRET",
        "sk-SECRET",
    ],
)
def test_a_key_in_a_base_url_is_not_shown(tmp_path, url):
    """If a URL is invalid, the error names its flag or variable and does not quote the URL."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, base_url=url)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value)) + caught.value.hint


def test_a_providers_key_goes_to_no_other_host(tmp_path):
    """A provider's key is not sent to another server's base URL, and the hint says what to do."""
    environ = {
        "MODEL_PROVIDER": "openrouter",
        "OPENROUTER_API_KEY": KEY,
        "OPENAI_BASE_URL": "http://localhost:11434/v1",
    }
    with pytest.raises(SettingsError, match="OPENROUTER_API_KEY elsewhere") as caught:
        load(tmp_path, environ)
    assert "MODEL_PROVIDER=openai" in caught.value.hint
    environ["OPENAI_BASE_URL"] = "https://openrouter.ai/api/v1/"
    assert load(tmp_path, environ).address == "https://openrouter.ai/api/v1"
    del environ["OPENROUTER_API_KEY"]
    environ["OPENAI_BASE_URL"] = "http://localhost:11434/v1"
    assert load(tmp_path, environ).local


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://example.org/v1", True),
        ("http://192.168.1.7:8000/v1", True),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("https://example.org/v1", False),
    ],
)
def test_an_unencrypted_key_gives_a_warning(tmp_path, caplog, url, warned):
    """A warning without the key appears only if a key is sent over http to another machine."""
    assert load(tmp_path, {"OPENAI_API_KEY": KEY}, base_url=url).key == KEY
    assert ("unencrypted" in caplog.text) == warned
    assert KEY not in caplog.text
    caplog.clear()
    load(tmp_path, base_url=url)
    assert caplog.text == ""


def test_an_empty_variable_blanks_the_one_in_dotenv(tmp_path):
    """If OPENAI_BASE_URL is empty in the environment, the provider's URL is used, whatever `.env` contains."""
    dotenv = "OPENAI_BASE_URL=http://old/v1\nMODEL_PROVIDER=openrouter\n"
    settings = load(tmp_path, {"OPENAI_BASE_URL": "", "MODEL_PROVIDER": ""}, dotenv)
    assert (settings.address, settings.provider) == ("https://api.openai.com/v1", "openai")


@pytest.mark.parametrize("key", ["sk-“curly”", "sk-with\nbreak", "sk-with space", "sk-é"])
def test_a_key_that_no_header_can_hold(tmp_path, key):
    """If a key has quotation marks or a line break, the error names its variable and does not show the key."""
    with pytest.raises(SettingsError, match="OPENAI_API_KEY contains a character") as caught:
        load(tmp_path, {"OPENAI_API_KEY": key})
    assert key not in "".join(traceback.format_exception(caught.value)) + caught.value.hint


def test_white_space_around_a_key_is_removed(tmp_path):
    """White space around a key is removed."""
    assert load(tmp_path, {"OPENAI_API_KEY": f" {KEY}\n"}).key == KEY


def test_the_key_is_not_in_the_repr():
    """The settings can be logged, because their text does not contain the key."""
    assert KEY not in repr(Settings("openai", "", "m", "OPENAI_API_KEY", KEY))


def test_a_second_servers_key_has_a_variable_of_its_own(tmp_path):
    """With key_variable no other key is read for any provider, and the variable may be in `.env`."""
    (tmp_path / ".env").write_text("JUDGE_API_KEY=sk-judge\n")
    given = {"MODEL_PROVIDER": "openrouter", "OPENROUTER_API_KEY": "sk-or", "OPENAI_API_KEY": "sk-own"}
    found = [
        load_settings(base_url="https://h/v1", key_variable=name, environ=given, dotenv=tmp_path / ".env")
        for name in ("JUDGE_API_KEY", "BASELINE_API_KEY")
    ]
    assert [one.key for one in found] == ["sk-judge", ""]
    assert [one.provider for one in found] == ["openai", "openai"]


@pytest.mark.parametrize("url", ["http://bob:secret@h/v1", "http://h/v1?api-key=zzz", "http://h/v1#x"])
def test_an_address_may_carry_no_key(url):
    """A base URL with a user name, a key or a query is refused and not quoted."""
    with pytest.raises(SettingsError) as caught:
        load_settings(base_url=url, environ={})
    assert url not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".org", "[::1]:0", "h:99999"])
def test_a_host_that_no_connection_can_be_made_to(host):
    """If a host has empty or overlong labels, or the port is 0 or above 65535, the error names the variable."""
    with pytest.raises(SettingsError, match="the URL in VLLM_URL is not valid"):
        normalize_url(f"http://{host}/v1", source="VLLM_URL")


def test_a_path_may_contain_an_at_sign():
    """Only an @ before the host is a sign of a user name."""
    assert normalize_url("http://h/@team/v1", source="VLLM_URL") == "http://h/@team/v1"


@pytest.mark.parametrize("source", ["OPENAI_BASE_URL", "--base-url", "VLLM_URL"])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://.../v1", "a part of the host name is empty or longer than 63 letters"),
        ("http://" + "a" * 64 + ".org/v1", "a part of the host name is empty or longer than 63 letters"),
        ("http://h..i/v1", "a part of the host name is empty or longer than 63 letters"),
        ("http://h:99999/v1", "the port must be a number from 1 to 65535"),
        ("http://h:0/v1", "the port must be a number from 1 to 65535"),
        ("http://h:-1/v1", "the port must be a number from 1 to 65535"),
        ("http://h:http/v1", "the port must be a number from 1 to 65535"),
        ("http://::1:8000/v1", "an IPv6 address must be in brackets"),
        ("http://fe80::1/v1", "an IPv6 address must be in brackets"),
        ("http://my host/v1", "it contains a space"),
        ("http://h/v1\n", "it contains the invisible character U+000A"),
        ("http://lo\u200bcalhost/v1", "it contains the invisible character U+200B"),
        ("http://h/v1\ufeff", "it contains the invisible character U+FEFF"),
        ("http://h\u00a0/v1", "it contains the invisible character U+00A0"),
        ("http://h\u202e/v1", "it contains the invisible character U+202E"),
        ("'http://h/v1'", "it contains the character '"),
        ('http://h/v1"', 'it contains the character "'),
        ("<http://h/v1>", "it contains the character <"),
        ("http://{host}:8000/v1", "it contains the character {"),
        ("http://h\\v1", "it contains the character \\"),
        ("http://h/v1…", "it contains the character …"),
        ("http://h/v1,", "it contains the character , at its end"),
        ("http://h/v1.", "it contains the character . at its end"),
        ("http://h/v1,http://i/v1", "it contains a second URL"),
        ("http://[::1]x/v1", "a host name consists of letters, digits, dots and hyphens"),
        *((f"http://h/v1{char}", f"it contains the character {char} at its end") for char in ")]!*"),
        ("http://h/v1>", "it contains the character >"),
        ("[docs](http://h/v1)", "it contains the character ) at its end"),
        *(
            (slip + "h.org/v1", f"it begins with {slip} instead of {right}")
            for slip, right in (
                ("http//", "http://"),
                ("http:/", "http://"),
                ("https:", "https://"),
                ("htp://", "http://"),
                ("hxxps://", "https://"),
                ("HTTPS//", "https://"),
                ("https;//", "https://"),
            )
        ),
        *(
            (url, "it is an example with a placeholder")
            for url in (
                "http://YOUR_HOST:8000/v1",
                "https://YOUR-RESOURCE.openai.azure.com/openai/v1",
                "http://localhost:PORT/v1",
                "https://your-resource.openai.azure.com/openai/v1",
                "https://yourdomain.org/v1",
                "http://HOST:8000/v1",
                "https://api.example.com/v1",
                "https://xxxx.openai.azure.com/openai/v1",
                "https://replace-me/v1",
                "https://x.openai.azure.com/openai/deployments/NAME?api-version=2024-10-21",
                "https://x.openai.azure.com/openai/deployments/gpt?api-version=VERSION",
                "https://WORKSPACE--vllm.modal.run",
            )
        ),
        ("http://$HOST:8000/v1", "a host name consists of letters, digits, dots and hyphens"),
        ("http://h,i:8000/v1", "a host name consists of letters, digits, dots and hyphens"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url, reason, source):
    """The error for a URL says what is wrong with it and where it was given, on one line, and does not quote it."""
    with pytest.raises(SettingsError) as caught:
        normalize_url(url, source=source)
    assert caught.value.message == f"the URL in {source} is not valid: {reason}"
    assert url not in caught.value.hint


def test_a_missing_scheme_is_suggested():
    """The example for a URL without its scheme is the user's own host, else one with the port of that program."""
    for source, url, example in (
        ("OPENAI_BASE_URL", "localhost:8123", "http://localhost:8123."),
        ("VLLM_URL", "gpu-box:8000/v1", "http://gpu-box:8000/v1."),
        ("VLLM_URL", "https//x", "http://localhost:8000."),
        ("--base-url", "https//x", "http://localhost:11434/v1."),
        ("--base-url", "api.example.org/v1", "https://api.example.org/v1."),
        ("--base-url", "//localhost/v1", "http://localhost/v1."),
        ("--base-url", "Zm9v/YmFyYmF6", "http://localhost:11434/v1."),
    ):
        with pytest.raises(SettingsError) as caught:
            normalize_url(url, source=source)
        assert caught.value.hint.endswith(f"for instance {example}")


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1]", "http://[::1]:8000", "http://host:8000/v1", "http://GPU-BOX:8000/v1", "https://yourmate.org/v1",
        "https://my-resource.openai.azure.com/openai/v1", "http://model/v1", "http://names.org/v1", "http://h/(a)/v1",
    ],
)  # fmt: skip
def test_a_name_that_looks_like_a_placeholder_is_none(url):
    """Hosts and paths that may be real are taken."""
    assert normalize_url(url, source="--base-url") == url


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://bücher.example/v1", "xn--bcher-kva.example"),
        ("https://straße.example:8443/v1", "xn--strae-oqa.example:8443"),
        ("https://☃.example/v1", "xn--n3h.example"),
        ("http://h_x:8000/v1", "h_x:8000"),
        ("http://10.0.0.7:8000/v1", "10.0.0.7:8000"),
    ],
)
def test_a_host_in_any_script(url, host):
    """A host name in another script is used in its ASCII form, so that every library asks the same host."""
    try:
        assert normalize_url(url, source="--base-url").split("/")[2] == host
    except SettingsError:  # the rules of 2008 have no symbols
        assert "☃" in url


@pytest.mark.parametrize("page", ["/chat/completions", "/completions", "/models", "/responses", "/chat/completions/"])
def test_a_page_of_the_api_is_no_part_of_its_url(page):
    """The URL of a page of the API can be given instead of the base URL."""
    assert normalize_url(f"http://h:8000/v1{page}", source="--base-url") == "http://h:8000/v1"


@pytest.mark.parametrize(
    "url",
    [
        "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        "https://x.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
    ],
)
def test_a_deployment_of_azure(tmp_path, url):
    """A URL of Azure keeps its api-version, its deployment is the model, and the key has Azure's own header."""
    settings = load(tmp_path, {"OPENAI_API_KEY": KEY}, base_url=url)
    assert settings.model == "gpt"
    assert endpoint(settings.address, "models") == (
        "https://x.openai.azure.com/openai/deployments/gpt/models?api-version=2024-10-21"
    )
    assert key_headers(settings.address, KEY) == {"api-key": KEY}
    assert key_headers(settings.address, "eyJ0oken") == {"Authorization": "Bearer eyJ0oken"}
    assert key_headers("https://x.openai.azure.com/openai/v1", KEY) == {"Authorization": f"Bearer {KEY}"}
    assert key_headers("https://azure.com.example/v1?api-version=1", KEY) == {"Authorization": f"Bearer {KEY}"}


def test_the_models_page_of_azure_is_a_base_url():
    """The path /models of Azure's model service is kept, and the escapes in the name of a deployment are decoded."""
    url = "https://x.services.ai.azure.com/models"
    assert normalize_url(f"{url}/chat/completions?api-version=1", source="S") == f"{url}?api-version=1"
    assert normalize_url(f"{url}?api-version=1", source="S") == f"{url}?api-version=1"
    deployment = "https://x.openai.azure.com/openai/deployments/my%20gpt?api-version=1"
    assert load_settings(base_url=deployment, environ={}, dotenv=Path("none/.env")).model == "my gpt"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("https://x.openai.azure.com", True),
        ("https://x.openai.azure.com/openai?api-version=1", True),
        ("https://x.openai.azure.com/openai/deployments/d", True),
        ("https://x.openai.azure.com/openai/deployments/d?api-version=1", False),
        ("https://x.services.ai.azure.com/models?api-version=1", False),
        ("https://x.openai.azure.com/openai/v1", False),
        ("https://api.example.org", False),
    ],
)
def test_the_form_of_azures_urls_is_explained(url, hint):
    """If a page of Azure is missing, the hint shows how its URLs end, unless they end so already."""
    missing = ErrorResponse.read(404, b'{"error": {"message": "Resource not found"}}', {}, key="")
    error = missing.to_error(address=url, model="m", key_variable="K", key_given=True)
    assert ("/openai/deployments/NAME?api-version=" in error.hint) == hint


@pytest.mark.parametrize("query", ["?key=1", "?api-version=1&key=2", "?", "?api-version="])
def test_another_query_is_refused(query):
    """A query other than an api-version may be a key, so the URL is refused."""
    with pytest.raises(SettingsError, match="a query"):
        normalize_url(f"https://h/v1{query}", source="--base-url")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('{"enable_thinking": false}', {"enable_thinking": False}),
        (
            ' {"chat_template_kwargs": {"enable_thinking": false}} ',
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ('{"reasoning_effort": "low", "service_tier": "flex"}', {"reasoning_effort": "low", "service_tier": "flex"}),
        ("", {}),
        ("{}", {}),
        ("\ufeff{}\n", {}),
        (
            '{"prompt_cache_key": "a", "max_thinking_tokens": null}',
            {"prompt_cache_key": "a", "max_thinking_tokens": None},
        ),
        ('{"seed": 123456789012345678901234567890}', {"seed": 123456789012345678901234567890}),
        *(
            (json.dumps(fields), fields)
            for fields in (
                {"stop_token_ids": [1], "skip_special_tokens": False, "min_tokens": 3, "tokens": 5},
                {"guided_json": {"type": "object"}, "json_schema": {}, "author": "me", "stop": ["Bearer"]},
                {
                    "user": "3f2b8c9d0e1f4a5b6c7d8e9f0a1b2c3d",
                    "safety_identifier": "b9c2d8f0-1111-4222-8333-4444",
                },
                {"lora_path": "/models/Qwen3-8B-Instruct-2507-Doric-LoRA-r16-v2", "session": "s", "key": "v"},
                {"metadata": {"run": "doric-2026-11-28", "url": "https://host.example:8000/x@y"}},
            )
        ),
    ],
)
def test_an_extra_body_is_read(tmp_path, text, fields):
    """--extra-body adds fields to every request. Without the flag they are read from EXTRA_BODY."""
    assert load(tmp_path, extra_body=text).extra_body == fields
    assert load(tmp_path, {"EXTRA_BODY": text}).extra_body == fields
    assert load(tmp_path, {"EXTRA_BODY": '{"top_k": 1}'}, extra_body=text).extra_body == fields


KEY_NAMES = (
    "bearer", "token", "credentials", "private_key", "subscription-key", "Ocp-Apim-Subscription-Key", "passphrase",
    "Cookie", "api key", "authToken", "x-goog-api-key", "hf_access_token", "id_token", "pwd", "jwt",
    "Proxy-Authorization",
)  # fmt: skip
KEYS = (
    "sk-proj-4f7aAbCd90", "hf_AbCdEfGhIjKl", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "Bearer abcdef123456",
    "AIzaSyA1234567890abcdefghijk", "ghp_abcdefghijklmnopqrst", "gsk_abcdefghijklmnop", "Basic dXNlcjpwYXNz",
    "https://me:pass@host.example/x", "-----BEGIN RSA PRIVATE KEY-----", "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF",
)  # fmt: skip
LEVELS = ("Extra_Body", "extra-body", "extraBody", "body", "json", "payload")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{enable_thinking: false}", "is not JSON: "),
        ("{'a': 1}", "is not JSON: "),
        ('{"a": NaN}', "is not JSON: NaN is no JSON number"),
        ('{"a": 1, "a": 2}', "the field 'a' is in it twice"),
        ('{"a": {"b": 1, "b": 2}}', "the field 'b' is in it twice"),
        ("[1]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ('"x"', "is not a JSON object"),
        ("[" * 100_000, "is not JSON: "),
        ('{"messages": []}', "may not set 'messages'"),
        ('{"model": "m"}', "may not set 'model'"),
        ('{"stream": true}', "may not set 'stream'"),
        ('{"n": 5}', "may not set 'n'"),
        ('{"max_tokens": 5}', "may not set 'max_tokens'"),
        ('{"Model ": "m"}', "may not set 'Model '"),
        ('{"extra_body": {"enable_thinking": false}}', "has the field 'extra_body'"),
        ('{"temperature": 1e999}', "the number 1e999 is too large"),
        ('{"stop": "\\ud800"}', "surrogates not allowed"),
        ('{"a":' + "[" * 300 + "]" * 300 + "}", "Recursion limit"),
        ('{"api_key": "sk-1"}', "may not contain a key: 'api_key'"),
        ('{"extra_headers": {"Authorization": "Bearer sk-1"}}', "may not contain a key: 'Authorization'"),
        ('{"tools": [{"x-api-key": "sk-1"}]}', "may not contain a key: 'x-api-key'"),
        ('{"provider": {"client_secret": "sk-1"}}', "may not contain a key: 'client_secret'"),
        *((f'{{"a": [{{"{name}": "x"}}]}}', f"may not contain a key: '{name}'") for name in KEY_NAMES),
        *((f'{{"a": [{{"b": "x {value}"}}]}}', "a key: the value of 'b' looks like one") for value in KEYS),
        (f'{{"{KEYS[0]}": 1}}', "may not contain a key: the name of a field looks like one"),
        *((f'{{"{name}": {{"top_k": 1}}}}', f"has the field '{name}'") for name in LEVELS),
    ],
)
def test_a_wrong_extra_body(tmp_path, text, said):
    """An --extra-body that is no JSON object, or that sets a field of the program, is an error of one line."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, extra_body=text)
    assert caught.value.message.startswith("--extra-body ")
    assert said in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert not any(key in caught.value.message + caught.value.hint for key in KEYS)


def test_the_key_in_use_may_not_be_in_the_extra_body(tmp_path):
    """A key of any form is refused among the fields, which are stored in files, without being shown."""
    with pytest.raises(SettingsError, match="the value of 'a' looks like one") as caught:
        load(tmp_path, {"OPENAI_API_KEY": "quine-loon"}, extra_body='{"a": "quine-loon"}')
    assert "quine" not in caught.value.message


@pytest.mark.parametrize(
    ("key", "named"), [("sk-“x”", "U+201C"), ("sk-\u200bx", "U+200B"), ("sk x", "a space"), ("sk\nx", "a line break")]
)
def test_the_wrong_character_of_a_key_is_named(tmp_path, key, named):
    """The error for a key names the character that no key has."""
    with pytest.raises(SettingsError, match="OPENAI_API_KEY contains a character that no key has") as caught:
        load(tmp_path, {"OPENAI_API_KEY": key})
    assert named in caught.value.message


def test_a_provider_without_its_key_is_an_error(tmp_path):
    """If MODEL_PROVIDER names a provider whose key is missing, the embedded voice does not take its place unasked."""
    settings = load(tmp_path, {"MODEL_PROVIDER": "openrouter", "OPENAI_API_KEY": "x"})
    with pytest.raises(SettingsError, match="OPENROUTER_API_KEY is not set"):
        choose_backend("auto", settings)
    assert choose_backend("heuristic", settings) == "heuristic"
