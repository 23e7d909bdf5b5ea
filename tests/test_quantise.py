"""Quantised copies of a merged model: what is checked before loading, and what llm-compressor is asked for."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from doric.finetune import quantise


@pytest.fixture
def merged(tmp_path):
    """The folder of a merged model."""
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged/config.json").write_text("{}")
    return tmp_path / "merged"


def error(capsys, *args):
    """The exit status and what standard error says."""
    return quantise.main([str(each) for each in args]), capsys.readouterr().err


def test_what_would_fail_is_refused_before_loading(merged, tmp_path, capsys):
    """A folder without a model, a folder that exists and awq without data are one error each."""
    status, said = error(capsys, tmp_path / "nothing", tmp_path / "out")
    assert (status, "is not a merged model" in said) == (2, True)
    status, said = error(capsys, merged, merged)
    assert (status, "exists" in said) == (2, True)
    status, said = error(capsys, merged, tmp_path / "out", "--scheme", "awq")
    assert (status, "--data" in said) == (2, True)


@pytest.mark.skipif(importlib.util.find_spec("llmcompressor") is not None, reason="llm-compressor is installed here")
def test_missing_package_is_one_error_with_the_command(merged, tmp_path, capsys):
    """Without llm-compressor, the error says how to start the command with it."""
    status, said = error(capsys, merged, tmp_path / "out")
    assert status == 2
    assert "--with llmcompressor==" in said


def test_layers_that_read_images_stay_in_16_bits(monkeypatch):
    """The output layer and the vision tower are not quantised; awq scales the weights before they are rounded."""
    made = lambda kind: lambda **options: (kind, options)  # noqa: E731
    quantization = SimpleNamespace(QuantizationModifier=made("round"))
    awq = SimpleNamespace(AWQModifier=made("scale"))
    for name, module in (
        ("quantization", quantization),
        ("transform", SimpleNamespace(awq=awq)),
        ("transform.awq", awq),
    ):
        monkeypatch.setitem(sys.modules, f"llmcompressor.modifiers.{name}", module)
    ((kind, options),) = quantise.recipe("fp8")
    assert (kind, options["scheme"]) == ("round", "FP8_DYNAMIC")
    assert "lm_head" in options["ignore"]
    assert any("vision" in layer for layer in options["ignore"])
    assert [kind for kind, _ in quantise.recipe("awq")] == ["scale", "round"]
