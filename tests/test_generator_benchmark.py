"""The benchmark of the generator with the embedded voice."""

from pathlib import Path

from scripts import load_script

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "generator.py"


def test_a_run_without_rejections_is_measured(tmp_path):
    """The run of one row, which measures the start, writes no file of rejections: it counts as none."""
    (tmp_path / "one.json").write_text('["keeping hens warm in winter"]', "utf-8")
    run = load_script(BENCHMARK).generate(tmp_path / "one.jsonl", 1, tmp_path / "one.json")
    assert (run.rows, run.rejected) == (1, 0)
    assert run.megabytes > 0
