"""The longest stall of the loop by reading one body: `python -m bench.stall [--seed N] [--tries N]`.

Bodies are made of the patterns that were the worst, each as often as the bounds allow, and of random mixes of them.
Processor time of `parse`, and of the model's name put in, in milliseconds; refused ones count as well.
"""

import argparse
import gc
import random
import time

from forebay.router.process import GARBAGE
from forebay.rules.dialect import body_size as bounds
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.model_name import with_model
from forebay.rules.dialect.parse import parse
from forebay.rules.endpoints import CHAT

HEAD, TAIL = b'{"model":"auto","messages":[{"role":"user","content":"', b'"}],"x":"model"}'
MEBI = 1024 * 1024
NEAR = 0.98
PATTERNS = {
    "lists": (b"[],", int(bounds.MOST_CONTAINERS * NEAR)),
    "messages": (b'{"role":"assistant","content":[{"type":"text","text":"a"}]},', int(bounds.MOST_STRINGS * NEAR) // 7),
    "deep parts": (b'{"content":[{"content":[{"content":[{"type":"hologram"}]}]}]},', bounds.MOST_CONTAINERS // 8),
    "objects": (b'{"a":1},', int(bounds.MOST_CONTAINERS * NEAR)),
    "token ids": (b"15339,", int(bounds.MOST_VALUES * NEAR)),
    "floats": (b"1.5e-3,", int(bounds.MOST_VALUES * NEAR)),
    "strings": (b'"aa",', int(bounds.MOST_STRINGS * NEAR)),
    "over": (b"[],", 5 * MEBI),
}


def worst(rng: random.Random, tries: int) -> dict[str, bytes]:
    """Bodies by name."""
    size = bounds.MOST_BYTES - 200
    made = {
        "text": HEAD + b"a" * size + TAIL,
        "escapes": HEAD + b"\\u00e9" * int(bounds.MOST_ESCAPES * NEAR) + b"a" * (8 * MEBI) + TAIL,
        "beyond ASCII": HEAD + "\u00e9".encode() * (bounds.MOST_BYTES_NOT_ASCII // 2 - 100) + TAIL,
        "marks in text": HEAD + b"[{," * (size // 3) + TAIL,
        "spaces": b'{"messages":[],"x":' + b" " * size + b"1}",
        "keys": b'{"messages":[],"x":{' + b",".join(b'"%d":1' % i for i in range(60_000)) + b"}}",
        "small lists": b'{"messages":[' + b"[]," * 21_000 + b"[]]}",
        "small objects": b'{"messages":[' + b"{}," * 21_000 + b"{}]}",
        "small keys": b"{" + b",".join(b'"%d":1' % i for i in range(6_000)) + b"}",
        "small keys, escaped": b'{"\\u0061":1,' + b",".join(b'"%d":1' % i for i in range(6_000)) + b"}",
    }
    for name, (piece, times) in PATTERNS.items():
        for field in ("messages", "input", "tools", "x"):
            made[f"{name} in {field}"] = b'{"model":"auto","%b":[%b0]}' % (field.encode(), piece * times)
    for number in range(tries):
        parts = [piece * rng.randint(0, times // 3) for piece, times in rng.choices([*PATTERNS.values()][:-1], k=3)]
        text = HEAD + rng.choice((b"a", b"\\n", b'\\"', b"[")) * rng.randint(0, 4 * MEBI) + b'"},'
        made[f"mix {number}"] = text + b"".join(parts) + b"0]}"
    return made


def seconds(body: bytes) -> tuple[float, str]:
    """Processor time of the best of three runs, and what became of it."""
    best, word = float("inf"), ""
    for _ in range(3):
        began = time.process_time()
        try:
            with_model(body, parse(CHAT, {}, body), "tiny")
            word = "read"
        except BadRequestError as problem:
            word = str(problem)[:60]
        best = min(best, time.process_time() - began)
    return best, word


def main() -> None:
    """Print the table, the longest first."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--tries", type=int, default=20)
    chosen = options.parse_args()
    parse(CHAT, {}, b'{"messages":"warm"}')
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    rows = [(*seconds(body), name, len(body)) for name, body in worst(random.Random(chosen.seed), chosen.tries).items()]
    print("| body | bytes | ms | |\n| --- | --- | --- | --- |")
    for spent, word, name, length in sorted(rows, reverse=True)[:25]:
        print(f"| {name} | {length:,} | {spent * 1000:.1f} | {word} |")


if __name__ == "__main__":
    main()
