"""Names are unique, so that a search finds one thing. What shares a name on purpose stands here with its reason."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "operator" / "forebay"

TWIN = "replay has the same thing in simulated time"
PROCESS = "each process has its own; none imports another's"
COMMAND = "every command's folder has the same few rooms"
BUILDER = "a builder is named after the object that it makes"

CLASSES = {
    "Gateway": TWIN,
    "Replica": TWIN,
    "Request": "an HTTP request: the simulator stands for a foreign server and shares no code with the router's",
    "Settings": PROCESS,
}
"""Names of classes that two modules may have."""
MODULES = {
    "answer": COMMAND,
    "command": COMMAND,
    "fleet": BUILDER,
    "gateway": BUILDER,
    "html": COMMAND,
    "metrics": PROCESS,
    "phrases": COMMAND,
    "process": PROCESS,
    "replicas": TWIN,
    "settings": PROCESS,
    "show": COMMAND,
}
"""Names of modules that two folders may have."""


def modules() -> Iterator[Path]:
    return (path for path in sorted(PACKAGE.rglob("*.py")) if path.stem not in ("__init__", "__main__"))


def shared(pairs: Iterator[tuple[str, Path]]) -> dict[str, list[str]]:
    """What two or more files have: the name, and the files."""
    owners = defaultdict(list)
    for name, path in pairs:
        owners[name].append(str(path.relative_to(PACKAGE)))
    return {name: files for name, files in owners.items() if len(files) > 1}


def classes() -> Iterator[tuple[str, Path]]:
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path


def test_no_two_modules_have_a_class_of_the_same_name() -> None:
    found = shared(classes())
    assert not (more := {name: files for name, files in found.items() if name not in CLASSES}), more
    assert not (less := set(CLASSES) - set(found)), f"unique by now, take them off the list: {less}"


def test_no_two_modules_have_the_same_name() -> None:
    found = shared((path.stem, path) for path in modules())
    assert not (more := {name: files for name, files in found.items() if name not in MODULES}), more
    assert not (less := set(MODULES) - set(found)), f"unique by now, take them off the list: {less}"
