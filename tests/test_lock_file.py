"""uv.lock: every locked package can be installed from a wheel on each Python version that pyproject.toml allows."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet  # packaging is installed together with pytest
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parent.parent
REQUIRED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
PACKAGES = [package for package in LOCK["package"] if "registry" in package["source"]]
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
"""Linux on x86-64 with glibc 2.35, the version of Ubuntu 22.04 and Colab."""
WITHOUT_WHEEL = {
    "mlx-metal": "installed on macOS only",
    "pywin32": "installed on Windows only",
    "triton-windows": "installed on Windows only",
}
"""Package without a wheel for Linux -> why it needs none: it is for another system, or its source is pure Python."""
NEWEST_MINOR = 20
"""If requires-python has no upper bound, versions up to Python 3.20 are tested, so the test fails."""


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


@pytest.mark.parametrize("minor", minors())
def test_every_locked_package_has_a_wheel(minor):
    """Each package has a wheel for each Python version that requires-python allows, so none has to be compiled."""
    accepted = set(tags(minor))
    wanted = [package for package in PACKAGES if package["name"] not in WITHOUT_WHEEL]
    missing = [f"{package['name']} {package['version']}" for package in wanted if not accepted & wheel_tags(package)]
    assert not missing, f"no wheel for Python 3.{minor}: {', '.join(missing)}"


def test_every_exception_is_needed():
    """A package is listed as an exception only if it is locked and has no wheel for Linux."""
    linux = {tag for minor in minors() for tag in tags(minor)}
    assert {package["name"] for package in PACKAGES if not linux & wheel_tags(package)} == set(WITHOUT_WHEEL)


def test_the_lock_was_made_for_the_allowed_pythons():
    """uv.lock and pyproject.toml have the same requires-python, because uv removes the wheels of other versions."""
    assert SpecifierSet(LOCK["requires-python"]) == SpecifierSet(REQUIRED)
