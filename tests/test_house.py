"""Rules of the repository that import-linter cannot check, for places of files, `sys.path` and docstrings of tests."""

import ast
import functools
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "doric"
SCRIPTS = ("dataset_generation", "validation", "modal", "finetune_notebook", "benchmarks")
"""Folders of scripts. The benchmarks must be last."""
BANNED_NAMES = {"utils", "util", "helpers", "common", "misc", "base"}


def python_files(folder: Path) -> Iterator[Path]:
    """The Python files of a folder and its subfolders, without hidden folders and caches."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__")):
            yield from python_files(path)
        elif path.suffix == ".py":
            yield path


def imported(tree: ast.AST) -> set[str]:
    """The full dotted names of all imports in the code, including imports inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""}
    return found


@functools.cache
def parsed(path: Path) -> ast.AST:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), str(path))


@pytest.mark.parametrize("path", list(python_files(PACKAGE)), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_has_a_docstring_and_a_name_that_says_something(path):
    """Every module has a docstring, and its name is not a word that fits any module."""
    assert path.stem not in BANNED_NAMES
    assert ast.get_docstring(parsed(path))


def test_package_map_names_every_package():
    """The docstring of `doric` names every package in it."""
    text = (PACKAGE / "__init__.py").read_text("utf-8")
    packages = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert [name for name in packages if f"{name}" not in text] == []


def test_scripts_do_not_import_each_other():
    """Scripts do not import other scripts, except the benchmarks and a Modal app, which is sent with the other one."""
    shared = {"teacher_app": {"vllm_doric"}}
    scripts = {path.stem for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")}
    for path in [path for folder in SCRIPTS[:-1] for path in sorted((ROOT / folder).glob("*.py"))]:
        tops = {name.split(".")[0] for name in imported(parsed(path))}
        assert tops & scripts <= {path.stem} | shared.get(path.stem, set()), path


def notebook_code() -> str:
    """The code of the notebook's cells, without the lines for the shell."""
    cells = json.loads((ROOT / "finetune_notebook" / "doric_finetune.ipynb").read_text("utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    return "\n".join("pass" if line.lstrip().startswith(("!", "%")) else line for line in lines)


@pytest.mark.parametrize("folder", ["modal", "datasets"])
def test_folder_never_becomes_a_package(folder):
    """A folder with the name of a library has no __init__.py, which would hide that library."""
    assert list((ROOT / folder).rglob("__init__.py")) == []


def edits_of_the_path(tree: ast.AST) -> Iterator[int]:
    """The numbers of the lines that change sys.path in any way."""
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
    """Every way to change sys.path is found, and code that only reads sys.path is not reported."""
    assert list(edits_of_the_path(ast.parse(code))) == [1]
    assert list(edits_of_the_path(ast.parse("paths = os.pathsep.join(sys.path)"))) == []


def test_no_code_edits_the_path():
    """No Python file and no cell of the notebook edits sys.path."""
    edits = {str(path.relative_to(ROOT)): list(edits_of_the_path(parsed(path))) for path in python_files(ROOT)}
    assert {path: lines for path, lines in edits.items() if lines} == {}
    assert list(edits_of_the_path(ast.parse(notebook_code()))) == []


def test_test_files_are_flat():
    """All test files are directly in tests/, because pytest could otherwise create a wrong module named `modal`."""
    tests = [path for path in python_files(ROOT) if path.name.startswith("test_")]
    assert {path.parent for path in tests} == {ROOT / "tests"}


def test_notebook_is_committed_without_outputs():
    """The committed notebook has no outputs, which are large, change in each run and may contain text of the user."""
    cells = json.loads((ROOT / "finetune_notebook" / "doric_finetune.ipynb").read_text("utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


def test_the_type_checker_knows_which_files_import_a_model_library():
    """A plain `uv sync` has no torch, and ty reports its imports except in the files that pyproject.toml lists."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ty"]["overrides"]
    listed = [pattern.removesuffix("/**") for override in settings for pattern in override["include"]]
    libraries = {"datasets", "peft", "torch", "transformers", "trl", "unsloth"}
    for path in [*python_files(PACKAGE), *(path for name in SCRIPTS[:-1] for path in python_files(ROOT / name))]:
        if libraries & {name.partition(".")[0] for name in imported(parsed(path))}:
            place = path.relative_to(ROOT)
            assert {str(place), *map(str, place.parents)} & set(listed), f"{place} is missing in [[tool.ty.overrides]]"


def test_every_test_says_what_it_shows():
    """Each test's docstring is one sentence that describes the behaviour."""
    for path in python_files(ROOT / "tests"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert (ast.get_docstring(node) or "").rstrip().endswith("."), f"{path.name}: {node.name}"


def test_the_site_lists_each_page_and_each_package():
    """The navigation of the site has every page of docs/ and every package of the library."""
    pages = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    packages = {f"api/{path.parent.name}.md" for path in (ROOT / "src/doric").glob("*/__init__.py")}
    assert pages >= packages | {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if page.startswith("api/")} == packages
