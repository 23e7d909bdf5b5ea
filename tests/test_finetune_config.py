"""The settings of a run: names, types and menus are the same in the notebook and without a browser."""

import json

import pytest

from doric.core.errors import SettingsError
from doric.finetune.config import OVERRIDES, Settings, from_forms, with_values


def test_unknown_setting_is_refused_with_a_similar_one_as_the_hint(monkeypatch):
    """An unknown setting stops the run, and the hint names the most similar setting."""
    monkeypatch.setenv(OVERRIDES, '{"MAX_STEP": 3}')
    with pytest.raises(SettingsError, match="no setting MAX_STEP") as caught:
        from_forms({})
    assert "MAX_STEPS" in caught.value.hint


def test_setting_keeps_its_type():
    """A float setting accepts an integer but not a string, and a boolean setting accepts no number."""
    assert with_values(Settings(), {"WARMUP": 0}).warmup == 0.0
    assert type(with_values(Settings(), {"WARMUP": 0}).warmup) is float
    with pytest.raises(SettingsError, match="WARMUP is 'none'"):
        with_values(Settings(), {"WARMUP": "none"})
    with pytest.raises(SettingsError, match="RESUME is 1"):
        with_values(Settings(), {"RESUME": 1})


def test_menus_apply_without_a_browser_too():
    """Only the values in a menu are accepted, and the error for another value lists them."""
    assert with_values(Settings(), {"schedule": "linear"}).schedule == "linear"
    with pytest.raises(SettingsError, match="SCHEDULE cannot be 'steep'") as caught:
        with_values(Settings(), {"SCHEDULE": "steep"})
    assert "cosine, linear, constant" in caught.value.hint


def test_settings_of_a_headless_run_replace_those_of_the_forms(monkeypatch):
    """The variable DORIC_NB_OVERRIDES replaces the values of the forms; other forms keep theirs."""
    monkeypatch.setenv(OVERRIDES, json.dumps({"MAX_STEPS": 3}))
    settings = from_forms({"MAX_STEPS": 9, "SEED": 5, "other": None})
    assert (settings.max_steps, settings.seed, settings.epochs) == (3, 5, 2.0)


def test_buckets_are_a_list():
    """The buckets are separated by commas, and blanks do not count."""
    assert with_values(Settings(), {"BUCKETS": "core, adv,"}).bucket_names == ["core", "adv"]
