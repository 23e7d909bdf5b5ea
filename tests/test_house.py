"""Habits of the tree that import-linter cannot check: where files lie, what edits `sys.path`, how tests are named."""

import ast
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "doric"
SCRIPTS = ("dataset_generation", "validation", "modal", "finetune_notebook", "benchmarks")
"""Folders of scripts, the benchmarks last."""
BANNED_NAMES = {"utils", "util", "helpers", "common", "misc", "base"}


def python_files(folder: Path) -> Iterator[Path]:
    """The Python files of a folder and of those below it, but for what tools and environments put there."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__")):
            yield from python_files(path)
        elif path.suffix == ".py":
            yield path


def imported(tree: ast.AST) -> set[str]:
    """The full dotted names that the code imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""}
    return found


@functools.cache
def parsed(path: Path) -> ast.AST:
    """The code of a file, parsed."""
    return ast.parse(path.read_text("utf-8"), str(path))


@pytest.mark.parametrize("path", list(python_files(PACKAGE)), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_has_a_docstring_and_a_name_that_says_something(path):
    """Every module says what it is for, and none is called by a word that means anything."""
    assert path.stem not in BANNED_NAMES
    assert ast.get_docstring(parsed(path))


def test_package_map_names_every_package():
    """The docstring of `doric` is the map: every package in it is named there."""
    text = (PACKAGE / "__init__.py").read_text("utf-8")
    packages = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert [name for name in packages if f"{name}" not in text] == []


def test_scripts_do_not_import_each_other():
    """A script calls the library; only benchmarks import other scripts."""
    scripts = {path.stem for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")}
    for path in [path for folder in SCRIPTS[:-1] for path in sorted((ROOT / folder).glob("*.py"))]:
        tops = {name.split(".")[0] for name in imported(parsed(path))}
        assert tops & scripts <= {path.stem}, path


def notebook_code() -> str:
    """The code of the notebook's cells, without lines that speak to the shell."""
    cells = json.loads((ROOT / "finetune_notebook" / "doric_finetune.ipynb").read_text("utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    return "\n".join("pass" if line.lstrip().startswith(("!", "%")) else line for line in lines)


@pytest.mark.parametrize("folder", ["modal", "datasets"])
def test_folder_never_becomes_a_package(folder):
    """An __init__.py there would shadow the library of the same name."""
    assert list((ROOT / folder).rglob("__init__.py")) == []


def edits_of_the_path(tree: ast.AST) -> Iterator[int]:
    """The lines that change sys.path, in whatever way."""
    for node in ast.walk(tree):
        changed: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            changed = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            changed = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = [node.func.value] if node.func.attr in {"append", "insert", "extend", "remove", "clear"} else []
            if node.func.attr == "addsitedir" or (node.func.attr == "syspath_prepend"):
                yield node.lineno
        for target in changed:
            if ast.unparse(target).partition("[")[0] == "sys.path":
                yield node.lineno


EDITS = """
sys.path.insert(0, 'x')
sys.path.append('x')
sys.path.extend(['x'])
sys.path += ['x']
sys.path = ['x']
sys.path[:0] = ['x']
del sys.path[0]
site.addsitedir('x')
monkeypatch.syspath_prepend('x')
"""


@pytest.mark.parametrize("code", EDITS.strip().splitlines())
def test_an_edit_of_the_path_is_seen(code):
    """Each way to change sys.path is found, and reading it is not."""
    assert list(edits_of_the_path(ast.parse(code))) == [1]
    assert list(edits_of_the_path(ast.parse("paths = os.pathsep.join(sys.path)"))) == []


def test_no_code_edits_the_path():
    """Imports work because of where files lie; nothing edits sys.path, in the notebook neither."""
    edits = {str(path.relative_to(ROOT)): list(edits_of_the_path(parsed(path))) for path in python_files(ROOT)}
    assert {path: lines for path, lines in edits.items() if lines} == {}
    assert list(edits_of_the_path(ast.parse(notebook_code()))) == []


def test_test_files_are_flat():
    """Test files lie directly in tests/: pytest's import mode would plant a false `modal` module otherwise."""
    tests = [path for path in python_files(ROOT) if path.name.startswith("test_")]
    assert {path.parent for path in tests} == {ROOT / "tests"}


def test_notebook_is_committed_without_outputs():
    """Outputs are large, differ from run to run and may hold what a user typed."""
    cells = json.loads((ROOT / "finetune_notebook" / "doric_finetune.ipynb").read_text("utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_every_test_says_what_it_shows():
    """Each test's docstring is one sentence that states the behaviour."""
    for path in python_files(ROOT / "tests"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert (ast.get_docstring(node) or "").rstrip().endswith("."), f"{path.name}: {node.name}"
