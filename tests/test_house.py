"""The rules of the house: layers, no stray words, no package where none may be, commands of the docs exist."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
# In pieces, so that this file does not contain what it looks for.
STRAY = re.compile("|".join(("index" + "-url", "GO" + "PROXY=", "/ro" + "ot/")), re.I)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [REPO / name for name in listed.stdout.splitlines() if (REPO / name).is_file()]


def test_operator_is_a_folder_and_not_a_package() -> None:
    assert not (REPO / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator"


def test_no_index_and_no_machine_path() -> None:
    for path in tracked():
        found = STRAY.search(path.read_text(errors="replace"))
        assert not found, f"{path.relative_to(REPO)}: {found[0] if found else ''}"


def test_lock_files_are_hashed() -> None:
    for path in [*REPO.glob("requirements*.lock"), *(REPO / "testing" / "engine").glob("*.lock")]:
        name, text = path.name, path.read_text()
        assert "://" not in text, f"{name} names a host"
        pins = re.findall(r"^[a-z0-9][^\s]*==", text, re.M)
        assert pins
        assert len(re.findall(r"^[a-z0-9][^\n]*\\\n    --hash=sha256:", text, re.M)) == len(pins)


def test_modules_stay_small() -> None:
    for path in (REPO / "operator").rglob("*.py"):
        lines = len(path.read_text().splitlines())
        assert lines <= 480, f"{path.relative_to(REPO)} has {lines} lines: what is it hiding?"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_and_files_in_the_docs_exist(document: str) -> None:
    text = (REPO / document).read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPO / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", text, re.M)) <= targets
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (REPO / link).exists(), f"{document} links to {link}"
    for path in re.findall(r"(?:charts|examples|docs)/[\w./-]+", text):
        assert (REPO / path.rstrip(".")).exists(), f"{document} names {path}"


def test_a_packages_own_map_names_modules_that_are_there() -> None:
    for init in (REPO / "operator" / "forebay").rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(init.read_text())) or ""
        rows = re.findall(r"^ *((?:\w+, )*\w+)  +\S", text, re.M)
        for name in [*", ".join(rows).split(", "), *re.findall(r"`(\w+)`", text)]:
            places = (init.parent / name, init.parent / f"{name}.py", init.parent.parent / name)
            assert any(place.exists() for place in places), f"{init.relative_to(REPO)}: there is no {name}"


def test_paths_of_the_map_for_contributors_exist() -> None:
    names = ["/" + str(path.relative_to(REPO)) for path in tracked()]
    for cell in re.findall(r"`([\w./?*-]+)`", (REPO / "CONTRIBUTING.md").read_text()):
        if "/" in cell or cell.endswith(".py"):
            pattern = re.escape("/" + cell.removeprefix(".venv/")).replace(r"\?", ".").replace(r"\*", ".*")
            assert any(re.search(pattern, name) for name in names), f"CONTRIBUTING.md names {cell}"


def test_code_that_the_glossary_names_exists() -> None:
    code = "\n".join(path.read_text() for path in tracked() if path.suffix == ".py")
    for word in set(re.findall(r"`([A-Za-z_]+)`", (REPO / "docs/glossary.md").read_text())):
        assert re.search(rf"\b{word}\b", code), f"the glossary names {word}"


def test_every_list_of_words_hashes_as_its_words() -> None:
    for path in (REPO / "operator" / "forebay").rglob("*.py"):
        assert path.name == "word_enum.py" or "StrEnum" not in path.read_text(), f"{path}: take WordEnum"
