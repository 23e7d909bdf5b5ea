"""The committed notebook: its sections, its forms, and the cell that finds the project."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from doric.finetune.config import MENUS, Settings
from scripts import load_script

FOLDER = Path(__file__).parents[1] / "finetune_notebook"
CELLS = json.loads((FOLDER / "doric_finetune.ipynb").read_text("utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
TEXT = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown"]
FORMS = [line for source in CODE for line in source.splitlines() if "# @param " in line]
NOT_SETTINGS = {"REPOSITORY", "QUESTION"}
"""Forms that no run can override: the address of the project, and a question to the model."""
MARK = "src/doric/finetune/config.py"


def test_notebook_carries_no_outputs():
    """The committed notebook has no outputs and no execution counts."""
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in CELLS)


def test_notebook_has_its_thirteen_sections():
    """The notebook has a title and thirteen numbered sections in the right order."""
    heads = [line for text in TEXT for line in text.splitlines() if line.startswith("#")]
    assert heads[0].startswith("# ")
    assert [int(head.split()[1]) for head in heads[1:]] == list(range(1, 14))


def test_every_code_cell_begins_with_a_sentence():
    """The first line of each code cell is a sentence that describes the cell."""
    firsts = [source.partition("\n")[0] for source in CODE]
    assert [first for first in firsts if not re.fullmatch(r"# (@title )?[A-Z].+\.( \{ run: \"auto\" \})?", first)] == []


def test_cells_are_short():
    """The notebook has at most 40 code cells, most of them below 15 lines: functions are in doric.finetune."""
    lengths = [len(source.splitlines()) for source in CODE]
    assert len(lengths) <= 40
    assert sum(length < 15 for length in lengths) > 0.75 * len(lengths)
    assert sum(lengths) < 320


def test_every_form_field_can_be_read_by_colab():
    """Each `@param` follows a literal that is assigned to an upper-case name, and is a list or a JavaScript object."""
    assert len(FORMS) > 30
    for field in FORMS:
        name, value, kind = re.fullmatch(r"([A-Z_0-9]+) = (.+?)  # @param (\[.+\]|\{.+\})", field).groups()
        assert isinstance(ast.literal_eval(value), str | int | float | bool), name
        if kind.startswith("["):
            assert ast.literal_eval(value) in json.loads(kind), name


def test_forms_are_the_settings():
    """Every setting has a form with the same default and the same menu, and every form is a setting."""
    values, menus = {}, {}
    for field in FORMS:
        name, value, kind = re.fullmatch(r"([A-Z_0-9]+) = (.+?)  # @param (.+)", field).groups()
        values[name] = ast.literal_eval(value)
        if kind.startswith("["):
            menus[name.lower()] = tuple(json.loads(kind))
    defaults = {name.upper(): value for name, value in asdict(Settings()).items()}
    assert {name: value for name, value in values.items() if name not in NOT_SETTINGS} == defaults
    assert menus == MENUS


def test_nothing_is_uploaded_unless_it_is_ticked():
    """In the committed notebook, both upload boxes are off and the Hub repository is private."""
    source = "\n".join(CODE)
    for line in ("UPLOAD_MODEL = False  #", "UPLOAD_DATASET = False  #", "HUB_PRIVATE = True  #"):
        assert line in source


def test_badge_is_shown_only_for_a_known_repository(capsys):
    """There is no link to Colab with a placeholder: it appears when REPOSITORY is set to an address on GitHub."""
    pytest.importorskip("IPython")
    from doric.finetune import notebook

    assert not any("colab.research.google.com" in text for text in TEXT)
    notebook.badge("")
    assert capsys.readouterr().out == ""
    notebook.badge("https://github.com/me/doric")
    assert "Markdown" in capsys.readouterr().out


# ---- the cell that finds the project, run in another folder


def find_project(folder, added="/kaggle/input", repository=""):
    """Run the first code cell in `folder`. Returns the finished process."""
    source = CODE[0].replace('"/kaggle/input"', repr(str(added)))
    source = source.replace('REPOSITORY = ""', f"REPOSITORY = {repository!r}")
    return subprocess.run([sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, check=False)


def made_project(folder):
    """A folder with only the file by which the project is known."""
    (folder / MARK).parent.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


def test_an_uploaded_zip_of_the_project_is_enough(tmp_path):
    """An uploaded zip file of the project is unpacked and used instead of a clone of the repository."""
    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:
        archive.writestr(f"project/{MARK}", "")
    assert find_project(tmp_path).stdout == f"The project is in {tmp_path / 'project'}\n"


def test_project_added_on_kaggle_is_copied_to_a_writable_folder(tmp_path):
    """The project is copied out of Kaggle's folder for added files, because that folder is read-only."""
    made_project(tmp_path / "input/my-upload/doric")
    (tmp_path / "working").mkdir()
    found = find_project(tmp_path / "working", tmp_path / "input")
    assert found.stdout == f"The project is in {tmp_path / 'working/doric'}\n"
    assert (tmp_path / "working/doric" / MARK).is_file()


def test_project_is_cloned_from_the_repository(tmp_path):
    """Without a zip file, the project is cloned from REPOSITORY."""
    origin = made_project(tmp_path / "origin")
    as_me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for command in (["init", "-q"], ["add", "."], [*as_me, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=origin, check=True)
    (tmp_path / "here").mkdir()
    found = find_project(tmp_path / "here", repository=origin.as_uri())
    assert found.stdout == f"The project is in {tmp_path / 'here/doric'}\n"


def test_missing_project_says_what_to_do(tmp_path):
    """Without a project, the last line of the error says to set REPOSITORY or to upload a zip file."""
    found = find_project(tmp_path)
    assert found.returncode == 1
    assert "Set REPOSITORY, or upload a zip file" in found.stderr.splitlines()[-1]


# ---- the packages of a hosted machine


@pytest.fixture
def installer():
    """The script that installs the packages, as a module."""
    return load_script(FOLDER / "install_packages.py")


def test_hosted_machine_gets_packages_into_its_own_python(installer, monkeypatch):
    """The project and its group are installed into the Python of the notebook, with constraints."""
    calls = []
    monkeypatch.setattr(installer.shutil, "which", lambda name: name)
    run = lambda command, **more: (calls.append(command), SimpleNamespace(returncode=0))[1]  # noqa: E731
    monkeypatch.setattr(installer.subprocess, "run", run)
    assert installer.install() == 0
    (call,) = calls
    assert call[:5] == ["uv", "pip", "install", "--python", sys.executable]
    assert "--constraint" in call
    assert str(FOLDER.parent) in call
    assert call[-1] == f"{FOLDER.parent / 'pyproject.toml'}:finetune"


def test_installed_versions_are_pinned_without_local_labels(installer, monkeypatch):
    """Packages that must not change on a hosted machine are pinned without local version labels, as uv requires."""
    monkeypatch.setattr(installer.importlib.metadata, "version", lambda name: "2.11.0+cu128")
    assert "torch==2.11.0" in installer.pins()
    assert all(re.fullmatch(r"[a-z]+==[\d.]+\w*", pin) for pin in installer.pins())
