"""List prices: which models have one, how their table is made, and what is said of a model that its provider ends."""

import asyncio
import datetime
import json
import logging
import tomllib
from pathlib import Path

import pytest

import update_prices
from doric import data
from doric.core.errors import SettingsError
from doric.core.settings import Settings
from doric.llm.client import Client
from doric.llm.price_list import price_table, read_price_list
from doric.llm.prices import Price, check_max_cost, chosen_price, known_price, shutdown_date
from doric.llm.served_models import read_model_list
from mock_server import Behaviour, MockServer

ROOT = Path(__file__).parents[1]
DAY = datetime.date(2026, 11, 28)
CARD = {
    "litellm_provider": "openai",
    "mode": "chat",
    "input_cost_per_token": 1e-07,
    "output_cost_per_token": 5e-07,
    "cache_read_input_token_cost": 1e-08,
    "input_cost_per_token_flex": 5e-08,
    "output_cost_per_token_flex": 2.5e-07,
    "input_cost_per_token_batches": 5e-08,
    "output_cost_per_token_batches": 2.5e-07,
    "supports_reasoning": True,
}
MAX_AGE_DAYS = 120


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("gpt-6-luna", "gpt-6-luna"),
        ("gpt-6-luna-2026-09-22", "gpt-6-luna"),
        ("openai/gpt-6-luna", "gpt-6-luna"),
        ("GPT-6.1-Terra", "gpt-6.1-terra"),
        ("mistral-small-latest", "mistral-small"),
        ("gpt-5.6", "gpt-5.6"),
    ],
)
def test_a_listed_model_has_a_price(model, listed):
    """A listed model has a price, also under a dated name or a router's name, and the price's source has a date."""
    price = known_price(model)
    assert price is not None
    assert price.source.startswith(f"list price of {listed} on 20")
    assert 0 < price.per_million_in < price.per_million_out


@pytest.mark.parametrize(
    "model", ["", "gpt-6-luna-pro", "gpt-6", "gpt-realtime-3", "gpt-5.60", "SmolLM2-135M", "my/gpt"]
)
def test_an_unlisted_model_has_no_price(model):
    """A model has no known price if its name only starts with the name of a listed model."""
    assert known_price(model) is None


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:11434/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://192.168.1.7:8000/v1",
        "http://10.1.2.3/v1", "http://172.16.0.9/v1", "http://100.64.0.9/v1", "http://[fd00::7]:8000/v1", "http://gpu-box/v1",
        "http://ollama:11434/v1", "http://host.docker.internal:11434/v1", "http://nas.local/v1", "http://0.0.0.0:8000/v1",
        "http://LOCALHOST.:8000/v1", "http://[::ffff:192.168.1.7]/v1",
    ],
)  # fmt: skip
def test_a_local_server_is_not_billed_at_a_list_price(address):
    """A local server may use a provider's model name, but only prices given by flags apply to it."""
    assert chosen_price(None, None, "gpt-6-luna", address) is None
    assert chosen_price(1.0, 2.0, "gpt-6-luna", address) == Price(1.0, 2.0, "as given")
    with pytest.raises(SettingsError, match="is a local server without one") as refused:
        check_max_cost(1.0, None, address)
    assert "--price-in and --price-out" in refused.value.hint
    assert "--max-total-tokens" in refused.value.hint


@pytest.mark.parametrize(
    "address", ["", "https://api.openai.com/v1", "https://openrouter.ai/api/v1", "http://8.8.8.8/v1"]
)
def test_a_provider_is_billed_at_the_list_price(address):
    """Any other server has the list price of the model."""
    assert chosen_price(None, None, "gpt-6-luna", address) == known_price("gpt-6-luna")


def test_the_price_table_is_not_old():
    """No row of the table is older than 120 days: `dataset_generation/update_prices.py` renews them."""
    oldest = min(row["date"] for row in data.read_toml("prices.toml")["models"].values())
    age = (datetime.date.today() - oldest).days
    renew = "uv run --with litellm python dataset_generation/update_prices.py"
    assert age <= MAX_AGE_DAYS, f"prices.toml is {age} days old; renew it with: {renew}"


@pytest.mark.parametrize("name", ["README.md", ".env.template", "modal/README.md", "docs/decisions.md"])
def test_no_document_names_a_model_that_ends_soon(name):
    """README, docs and the template of .env name no model that ends within half a year after the table was made."""
    rows = data.read_toml("prices.toml")["models"]
    words = {word.strip("`,.;:()'\"") for word in (ROOT / name).read_text("utf-8").split()}
    ending = {model for model, row in rows.items() if "shutdown" in row and (row["shutdown"] - row["date"]).days < 183}
    assert not words & ending


def test_a_row_of_the_table():
    """A row has the prices per million tokens, those of cached input, flex and batches, and the day of the list."""
    table = tomllib.loads(price_table({"new-model": CARD}, "a list", DAY))
    assert table["models"] == {
        "new-model": {
            "input": 0.1, "cached": 0.01, "output": 0.5, "flex": [0.05, 0.25], "batch": [0.05, 0.25], "reasoning": True,
            "date": DAY,
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("new-model", {"deprecation_date": "2026-11-27"}),
        ("new-model", {"mode": "embedding"}),
        ("new-model", {"litellm_provider": "a_reseller"}),
        ("new-model", {"input_cost_per_token": 0}),
        ("new-model", {"output_cost_per_token": None}),
        ("new-model-2026-09-22", {}),
        ("new-model-audio", {}),
        ("ft:new-model", {}),
    ],
)
def test_what_the_table_leaves_out(name, changed):
    """Models that are no longer served, that do not chat, that a reseller sells or that have no price are left out."""
    assert tomllib.loads(price_table({name: CARD | changed}, "a list", DAY))["models"] == {}


def test_a_model_that_will_end_keeps_its_row():
    """A model that the provider still serves is in the table, with the day on which it ends."""
    table = price_table({"new-model": CARD | {"deprecation_date": "2026-12-11"}}, "a list", DAY)
    assert tomllib.loads(table)["models"]["new-model"]["shutdown"] == datetime.date(2026, 12, 11)


def test_the_script_writes_the_table_from_a_file(tmp_path):
    """The script writes a table that can be read, and refuses to replace a file of another kind."""
    source, out = tmp_path / "list.json", tmp_path / "prices.toml"
    source.write_text(json.dumps({"new-model": CARD}), "utf-8")
    assert update_prices.main(["--source", str(source), "--out", str(out)]) == 0
    assert tomllib.loads(out.read_text("utf-8"))["models"]["new-model"]["input"] == 0.1
    out.write_text("my notes", "utf-8")
    assert update_prices.main(["--source", str(source), "--out", str(out)]) == 2
    assert out.read_text("utf-8") == "my notes"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"a": 1}', '{"a": {"input_cost_per_token": "x"}}'])
def test_a_list_that_is_none(tmp_path, content):
    """A file that is not LiteLLM's list of prices is refused with one line."""
    path = tmp_path / "list.json"
    path.write_text(content, "utf-8")
    with pytest.raises(SettingsError, match=r"list\.json"):
        read_price_list(path)


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2026-12-11", datetime.date(2026, 12, 11)),
        ("2026-12-11T00:00:00Z", datetime.date(2026, 12, 11)),
        (1797033600, datetime.date(2026, 12, 12)),
        (None, None),
        ("soon", None),
        (True, None),
        (1e300, None),
        (float("inf"), None),
        ([], None),
    ],
)
def test_the_shutdown_date_in_a_list_of_models(value, day):
    """`shutdown_date` is read as a day, a time or seconds since 1970; anything else counts as none."""
    content = json.dumps({"data": [{"id": "m", "shutdown_date": value}]}).encode()
    assert [model.shutdown for model in read_model_list(content)] == [day]


def test_a_model_that_ends_is_a_warning(caplog):
    """The client says at its start when the provider ends the model, as the server's list says."""
    server = MockServer(Behaviour(models=("doric",), shutdown={"doric": "2026-12-11"}), answer=lambda call: "Aye.")

    async def connect() -> None:
        async with server, Client(Settings("openai", server.url, "doric", "OPENAI_API_KEY", "sk-1234567890abcdef")):
            pass

    with caplog.at_level(logging.WARNING, "doric"):
        asyncio.run(connect())
    assert [record.message for record in caplog.records] == [
        "The provider ends the model doric on 2026-12-11: finish this run before, or start it with another model."
    ]


def test_the_table_knows_when_a_model_ends():
    """The day on which a model ends is known from the table, too, also for a dated version; usually there is none."""
    rows = data.read_toml("prices.toml")["models"]
    ending = next(name for name, row in rows.items() if "shutdown" in row)
    assert shutdown_date(f"{ending}-2026-01-31") == rows[ending]["shutdown"]
    assert shutdown_date("SmolLM2-135M") is None
