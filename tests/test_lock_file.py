"""uv.lock: every package for Linux can be installed from a wheel on each Python version that pyproject.toml allows."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import Marker  # packaging is installed together with pytest
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parent.parent
REQUIRED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
"""Linux on x86-64 with glibc 2.35, the version of Ubuntu 22.04 and Colab."""
NEWEST_MINOR = 20
"""If requires-python has no upper bound, versions up to Python 3.20 are tested, so the test fails."""


def test_modal_reads_the_same_groups():
    """Modal reads pyproject.toml with the package `toml`, which refuses or loses names beside an include-group."""
    toml = pytest.importorskip("toml", reason="Modal's parser comes with the group modal")
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    assert toml.loads(text) == tomllib.loads(text)


def minors() -> list[int]:
    """The minor versions of Python 3 that requires-python allows."""
    allowed = SpecifierSet(REQUIRED)
    return [minor for minor in range(NEWEST_MINOR + 1) if f"3.{minor}.99" in allowed]


def tags(minor: int) -> Iterator[Tag]:
    """The wheel tags that CPython 3.minor accepts: its own tags, abi3 of earlier versions, and pure Python."""
    yield from cpython_tags((3, minor), [f"cp3{minor}"], PLATFORMS)
    yield from compatible_tags((3, minor), f"cp3{minor}", PLATFORMS)


def wheel_tags(package: dict) -> set[Tag]:
    """The tags of all locked wheels of a package."""
    names = [wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", [])]
    return {tag for name in names for tag in parse_wheel_filename(name)[3]}


def applies(dependency: dict, minor: int) -> bool:
    """Whether a dependency is needed on Linux with Python 3.minor, by its marker."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
    python = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0"}
    return "marker" not in dependency or Marker(dependency["marker"]).evaluate({**linux, **python})


def installed(minor: int) -> list[dict]:
    """The packages that `uv sync --all-groups` installs on Linux with Python 3.minor: the lock has others too."""
    (root,) = (package for package in LOCK["package"] if package["name"] == "doric")
    waiting = [*root["dependencies"], *(each for group in root["dev-dependencies"].values() for each in group)]
    found, seen = [], set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in seen or not applies(wanted, minor):
            continue
        seen.add(str(wanted))
        for package in LOCK["package"]:
            if package["name"] == wanted["name"] and package["version"] == wanted.get("version", package["version"]):
                found.append(package)
                waiting += package.get("dependencies", [])
                waiting += (
                    each for extra in wanted.get("extra", []) for each in package["optional-dependencies"][extra]
                )
    return found


@pytest.mark.parametrize("minor", minors())
def test_every_installed_package_has_a_wheel(minor):
    """Each package has a wheel for each Python version that requires-python allows, so none has to be compiled."""
    accepted, wanted = set(tags(minor)), installed(minor)
    assert {"vllm", "torch", "modal"} < {package["name"] for package in wanted}
    missing = {f"{package['name']} {package['version']}" for package in wanted if not accepted & wheel_tags(package)}
    assert not missing, f"no wheel for Python 3.{minor}: {', '.join(sorted(missing))}"


def test_the_lock_was_made_for_the_allowed_pythons():
    """uv.lock and pyproject.toml have the same requires-python, because uv removes the wheels of other versions."""
    assert SpecifierSet(LOCK["requires-python"]) == SpecifierSet(REQUIRED)
