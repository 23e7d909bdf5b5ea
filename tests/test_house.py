"""The house: which room may import which, and the habits that keep the tree as it is."""

import ast
import functools
import graphlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ROOT / "dataset_generation" / "doric"
OPEN = {"errors": "", "files": "errors", "codec": "errors"}
"""Rooms that every room may import, and what they import themselves."""
FLOORS: tuple[dict[str, str], ...] = (
    {
        "text": "", "vocabulary": "", "settings": "", "jsonl": "", "rows": "", "spend": "", "progress": "",
        "patience": "", "interrupts": "", "lock": "", "document": "",
        "rota": "", "secrets": "", "intervals": "", "table": "", "charts": "",
    },
    {
        "contexts": "vocabulary",
        "terminal": "text",
        "lexicon": "text contexts vocabulary",
        "pages": "vocabulary",
        "marking": "lexicon text vocabulary",
        "slips": "vocabulary",
        "proofs": "lexicon slips text vocabulary",
        "phrases": "text vocabulary",
        "dorise": "vocabulary",
        "neardup": "text",
        "suggestions": "text",
        "topics": "document text",
        "additions": "document lock text topics",
        "orders": "topics",
        "pool": "patience",
        "heldout": "dorise",
        "completions": "",
        "faults": "secrets",
        "backends": "settings faults completions secrets",
        "stream": "backends faults",
    },
    {
        "verdict": "text lexicon vocabulary",
        "duties": "text verdict",
        "gates": "text lexicon duties verdict vocabulary",
        "prompts": "phrases dorise text rota vocabulary",
        "heuristic": "phrases prompts rota text vocabulary",
        "topic_rules": "gates heldout neardup text vocabulary",
        "census": "gates lexicon neardup rows vocabulary",
        "marks": "gates heldout dorise text",
        "scoreboard": "marks intervals",
    },
    {
        "plan": "topics prompts rows rota",
        "instructions": "plan prompts phrases vocabulary",
        "generation": "gates heldout jsonl neardup plan rows spend text",
        "speakers": "backends generation heuristic instructions",
        "preflight": "completions heldout instructions pages plan settings spend topics",
        "session": "backends generation interrupts jsonl plan pool preflight progress settings speakers spend",
        "exam": "backends heldout jsonl marks pool rows stream",
        "candidate": "exam heldout jsonl marks scoreboard settings stream",
        "baseline": "candidate exam heldout marks",
        "judge": "backends candidate intervals jsonl pool rows settings vocabulary",
        "report": "census charts gates intervals jsonl marking pages",
        "board": "charts heldout marking pages table",
        "widener": "backends gates spend suggestions topic_rules",
        "account": "spend widener",
        "widening": "account additions backends heldout interrupts orders patience settings spend text widener",
    },
)  # fmt: skip
"""Room -> the rooms it may import, floor by floor: an arrow goes down or along its floor, never up."""
NOTEBOOK = {"text", "lexicon", "gates", "rows", "heldout", "errors"}
"""What the notebook may import: rooms that need nothing but the standard library, so that Colab needs no install."""
OPTIONAL = {"orjson", "rapidfuzz", "tqdm"}
"""Libraries that a room may use where they are there."""
SCRIPTS = ("dataset_generation", "validation", "modal", "finetune_notebook", "benchmarks")
"""Where scripts lie, the benchmarks last."""
WINGS = ("language", "ground", "collection", "voices", "validation", "reporting")
"""Folders of the package: each holds the rooms that one flat room or script stands on."""
MOST_FLAT_ROOMS = 20
LONGEST_ROOM = 200
"""Lines."""
LONG_ROOMS = {
    "backends": "one client: what it sends next depends on what the server refused before",
    "gates": "one short function a gate, side by side so that they can be read as a list",
    "generation": "a slot's way from question to row is one story; its parts share the writer's state",
    "jsonl": "lines read and lines appended share what a whole, a torn and a foreign line is",
    "judge": "two orders of one question: asking, reading and tallying are of no use apart",
    "pool": "one queue, one clock: retries, limits and stopping change the same few fields",
    "session": "where the generator's rooms meet: wiring, in the order of a run",
}
"""Rooms that are longer, and why they are one room all the same."""
OTHER_TESTS = {
    "house": "this file",
    "readme": "what README.md promises",
    "lock_file": "uv.lock",
    "help": "the --help of every script",
    "optional": "the scripts without the optional libraries",
    "notebook": "finetune_notebook/doric_finetune.ipynb",
    "generate_llm": "generate_doric_dataset.py with a model",
}
"""Test files that are named after neither a room nor a script, and what they test."""
BANNED_NAMES = {"utils", "util", "helpers", "common", "misc", "base"}

TABLE = OPEN | {room: allowed for floor in FLOORS for room, allowed in floor.items()}


def modules(folder: Path) -> Iterator[Path]:
    """The Python files of a folder and of those below it, but for what tools and environments put there."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__")):
            yield from modules(path)
        elif path.suffix == ".py":
            yield path


def imported(tree: ast.AST) -> set[str]:
    """The full dotted names that the code imports, wherever in it; `from a import b` gives both a and a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(tree: ast.AST) -> set[str]:
    """The rooms that the code imports."""
    return {DOTTED[name] for name in imported(tree) if name in DOTTED}


@functools.cache
def parsed(path: Path) -> ast.AST:
    """The code of a file, parsed."""
    return ast.parse(path.read_text("utf-8"), str(path))


PATHS = {path.stem: path for path in modules(ROOMS) if path.stem != "__init__"}
"""Room -> its file, on the ground of the package or in a wing."""
DOTTED = {".".join(path.relative_to(ROOMS.parent).with_suffix("").parts): room for room, path in PATHS.items()}
"""The full dotted name of each room -> the room."""
ARROWS = {room: rooms_of(parsed(path)) for room, path in PATHS.items()}


def test_every_room_stands_in_the_table_and_every_entry_is_a_room():
    """A new room gets a line in the table; a line whose room is gone goes too."""
    assert set(ARROWS) == set(TABLE)


@pytest.mark.parametrize("room", ARROWS)
def test_room_imports_only_what_the_table_allows(room):
    """A room imports the rooms its line names and those that are open to all, and no other."""
    allowed = set(TABLE.get(room, "").split()) | (set(OPEN) if room not in OPEN else set())
    assert ARROWS[room] - allowed == set()


@pytest.mark.parametrize("room", ARROWS)
def test_every_arrow_of_the_table_is_used(room):
    """A line names no room that its own does not import: what is allowed and unused is soon misused."""
    assert set(TABLE.get(room, "").split()) - ARROWS[room] == set()


def test_rooms_are_short():
    """A room of more lines than the limit is two rooms, unless its reason stands in the list; nor is a reason kept."""
    lengths = {room: len(path.read_text("utf-8").splitlines()) for room, path in PATHS.items()}
    assert {room for room, length in lengths.items() if length > LONGEST_ROOM} == set(LONG_ROOMS)


def test_the_parts_of_the_chat_are_short():
    """Each part of the chat keeps to the limit of a room."""
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "modal").glob("chat_*.py")}
    assert {name for name, length in lengths.items() if length > LONGEST_ROOM} == set()


def test_no_arrow_of_the_table_points_up():
    """A room's line names only rooms of its own floor and of those below, and there is no way round in a circle."""
    floor_of = {room: number for number, floor in enumerate(FLOORS, 1) for room in floor} | dict.fromkeys(OPEN, 0)
    up = [(room, other) for room, line in TABLE.items() for other in line.split() if floor_of[other] > floor_of[room]]
    assert up == []
    assert sum(map(len, FLOORS)) + len(OPEN) == len(TABLE), "a room stands on two floors"
    graphlib.TopologicalSorter({room: line.split() for room, line in TABLE.items()}).prepare()


def test_first_floor_imports_no_other_room():
    """A room of the first floor stands on the open rooms alone."""
    assert [room for room in FLOORS[0] if ARROWS[room] - set(OPEN)] == []


@pytest.mark.parametrize("wing", ["", *WINGS])
def test_package_exports_nothing(wing):
    """The package and each wing is a docstring: no re-exports, so that importing one room loads no other."""
    body = ast.parse((ROOMS / wing / "__init__.py").read_text("utf-8")).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


def test_the_flat_rooms_are_few_and_the_wings_are_named():
    """The rooms that scripts speak of by name lie flat, about twenty; what they stand on lies in the wings."""
    homes = [path.parent.name if path.parent != ROOMS else "" for path in PATHS.values()]
    assert set(homes) == {"", *WINGS}
    assert homes.count("") <= MOST_FLAT_ROOMS


def test_each_wing_names_its_rooms():
    """A wing's docstring is its map: every room in it is named there."""
    for room, path in PATHS.items():
        if path.parent != ROOMS:
            assert f"`{room}`" in (path.parent / "__init__.py").read_text("utf-8"), room


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_room_is_a_noun_with_a_docstring(room):
    """Every room says what it is, and none is called by a word that means anything."""
    assert room not in BANNED_NAMES
    assert ast.get_docstring(parsed(PATHS[room]))


def test_scripts_do_not_import_each_other():
    """A script uses rooms; only the parts of the chat use one another, and only benchmarks use what they measure."""
    scripts = {path.stem for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")}
    chat = {name for name in scripts if name.startswith("chat_")}
    for path in [path for folder in SCRIPTS[:-1] for path in sorted((ROOT / folder).glob("*.py"))]:
        tops = {name.split(".")[0] for name in imported(parsed(path))}
        assert tops & (scripts - (chat if path.stem in chat else set())) - {path.stem} <= set(), path


def test_no_room_imports_a_script():
    """Arrows go from scripts to rooms."""
    scripts = {path.stem for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")}
    for path in modules(ROOMS):
        assert {name.split(".")[0] for name in imported(parsed(path))} & scripts == set(), path


def test_modal_imports_no_room():
    """The app and the chat are self-contained: nothing in modal/ needs the package."""
    for path in modules(ROOT / "modal"):
        assert {name for name in imported(parsed(path)) if name.split(".")[0] == "doric"} == set(), path


def notebook_code() -> str:
    """The code of the notebook's cells, without lines that speak to the shell."""
    cells = json.loads((ROOT / "finetune_notebook" / "doric_finetune.ipynb").read_text("utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    return "\n".join("pass" if line.lstrip().startswith(("!", "%")) else line for line in lines)


def test_notebook_imports_only_its_rooms():
    """The notebook uses the rooms that Colab can load."""
    assert rooms_of(ast.parse(notebook_code())) <= NOTEBOOK


def test_notebooks_rooms_need_only_the_standard_library():
    """What the notebook imports, and all that this imports in turn, needs nothing installed."""
    wanted, needed = set(NOTEBOOK), set()
    while wanted - needed:
        needed |= wanted
        wanted = set().union(*(ARROWS[room] for room in needed))
    for room in needed:
        tops = {name.split(".")[0] for name in imported(parsed(PATHS[room]))}
        assert tops <= sys.stdlib_module_names | {"doric"} | OPTIONAL, room


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
    edits = {str(path.relative_to(ROOT)): list(edits_of_the_path(parsed(path))) for path in modules(ROOT)}
    assert {path: lines for path, lines in edits.items() if lines} == {}
    assert list(edits_of_the_path(ast.parse(notebook_code()))) == []


def test_test_files_are_flat_and_named_after_what_they_test():
    """A test file is named after a room, a script or one of the few other things that are tested."""
    scripts = {path.stem for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")}
    tests = [path for path in modules(ROOT / "tests") if path.name.startswith("test_")]
    assert {path.parent for path in tests} == {ROOT / "tests"}
    astray = {path.stem.removeprefix("test_") for path in tests} - set(ARROWS) - scripts - set(OTHER_TESTS)
    assert astray == set()


def test_every_test_says_what_it_shows():
    """Each test's docstring is one sentence that states the behaviour."""
    for path in modules(ROOT / "tests"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert (ast.get_docstring(node) or "").rstrip().endswith("."), f"{path.name}: {node.name}"
