"""docs/pictures.py: pictures of reports for README, which show no path of a machine and no failed call."""

import html
import os
import tempfile
from pathlib import Path

import pytest

from scripts import load_script

pictures = load_script(Path(__file__).parents[1] / "docs" / "pictures.py")


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """The folder "run" with both reports. The browser is a script that writes its last argument into the picture."""
    monkeypatch.chdir(tmp_path)
    for name in pictures.REPORTS:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("<!doctype html><p>210 of 210 turns</p>", "utf-8")
    use_browser(tmp_path, monkeypatch, 'for word; do case $word in --screenshot=*) out=${word#*=};; esac; done\n'
        'printf %s "$word" > "$out"')  # fmt: skip
    return tmp_path / "run"


def use_browser(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a browser that is a shell script on the PATH, in place of every other one."""
    (folder / "bin").mkdir(exist_ok=True)
    browser = folder / "bin" / "chromium"
    browser.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}/bin{os.pathsep}/usr/bin")


def test_each_report_becomes_its_picture(reports):
    """The browser is asked for each report, and what it writes is the picture."""
    assert pictures.main(["--folder", "run", "--out", "out"]) == 0
    shown = {name: Path("out", name).read_text("utf-8") for name in pictures.REPORTS.values()}
    assert shown == {picture: (reports / report).as_uri() for report, picture in pictures.REPORTS.items()}


def test_a_path_is_found_as_html_writes_it(reports, tmp_path, monkeypatch, capsys):
    """A folder with & and quotation marks stands in the report with their names, and is refused all the same."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "nowhere"))
    folder = reports.rename(tmp_path / 'R&D\'s "run"')
    (folder / "tuned.html").write_text(f"<p>{html.escape(str(folder))}/journey/export/merged</p>", "utf-8")
    assert pictures.main(["--folder", str(folder), "--out", "out"]) == 2
    assert f"the report shows the path {folder}" in capsys.readouterr().err


def test_a_report_in_another_encoding_is_checked_and_shown(reports):
    """The browser decides how it shows such a page; the check reads what it can."""
    (reports / "tuned.html").write_bytes(b"<p>\xff\xfe</p>")
    assert pictures.main(["--folder", "run", "--out", "out"]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"<p>{Path.home()}/models/mine</p>", "the report shows the path"),
        (f"<p>{tempfile.gettempdir()}/run/merged</p>", "the report shows the path"),
        ("<p>1 of 211 calls to first/export/merged failed (connection 1).</p>", "the report shows failed calls"),
        ("<p>1,024 of 2,110 calls to a &amp; b failed (timeout 1,024).</p>", "the report shows failed calls"),
        (None, "there is no such file"),
    ],
)
def test_a_report_that_not_everybody_may_see_makes_no_picture(reports, capsys, text, said):
    """One line names the report and the reason, the exit status is 2, and an old picture stays."""
    page = reports / "tuned.html"
    page.unlink() if text is None else page.write_text(text, "utf-8")
    Path("out").mkdir()
    Path("out/dataset.png").write_text("old", "utf-8")
    assert pictures.main(["--folder", "run", "--out", "out"]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "tuned.html" in shown
    assert Path("out/dataset.png").read_text("utf-8") == "old"


def test_a_browser_that_makes_no_picture_is_an_error_with_its_last_words(reports, tmp_path, monkeypatch, capsys):
    """A crash of the browser is one line, without a traceback."""
    use_browser(tmp_path, monkeypatch, "echo 'no display' >&2; exit 1")
    assert pictures.main(["--folder", "run", "--out", "out"]) == 2
    assert "the browser made no picture: no display" in capsys.readouterr().err


def test_without_a_browser_the_error_says_what_to_install(reports, monkeypatch, capsys):
    """The hint names the browsers that are looked for."""
    monkeypatch.setenv("PATH", "")
    assert pictures.main(["--folder", "run", "--out", "out"]) == 2
    assert "Install one of: chromium" in capsys.readouterr().err
