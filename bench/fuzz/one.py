"""The process that fuzzes one target: `python -m bench.fuzz.one TARGET [libFuzzer's arguments]`."""

import sys

import atheris

with atheris.instrument_imports(include=["forebay.router", "forebay.rules"]):
    from bench.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()
