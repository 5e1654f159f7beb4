"""The longest stall of the loop by reading one body: `python -m bench.stall [--seed N] [--tries N]`.

Bodies are made of the patterns that were the worst, each as often as the bounds allow, and of random mixes of them.
Processor time of the longest step of reading it, and of the model's name put in; refused ones count as well.
"""

import argparse
import gc
import random
import time
from collections.abc import Iterator

from forebay.router.process import GARBAGE
from forebay.rules.dialect import body_size as bounds
from forebay.rules.dialect.errors import BadRequestError
from forebay.rules.dialect.model_name import with_model
from forebay.rules.dialect.parse import parse, parse_steps
from forebay.rules.endpoints import CHAT

HEAD, TAIL = b'{"model":"auto","messages":[{"role":"user","content":"', b'"}],"x":"model"}'
MEBI = 1024 * 1024
NEAR = 0.98
PATTERNS = {
    "lists": (b"[],", int(bounds.MOST_CONTAINERS * NEAR)),
    "messages": (
        b'{"role":"assistant","content":[{"type":"text","text":"a"}]},',
        int(bounds.MOST_CONTAINERS * NEAR) // 3,
    ),
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
        "image": HEAD + b"a" * size + TAIL,
        "text": HEAD + b"a" * 60_000 + (b"\\n" + b"a" * 120) * 68_000 + TAIL,
        "escapes": HEAD
        + b"\\u00e9" * int(bounds.MOST_ESCAPES * NEAR)
        + b"a" * (bounds.MOST_TEXT_NOT_ASCII // 4 - 999)
        + TAIL,
        "one escape": HEAD + b"a" * (bounds.MOST_TEXT_NOT_ASCII - 999) + b"\\ud83d\\ude00" + TAIL,
        "beyond ASCII": HEAD + "\u4e16".encode() * (bounds.MOST_TEXT_NOT_ASCII // 3 - 99) + TAIL,
        "images and words": HEAD + "\u4e16\\n".encode() * 200_000 + b'","image_url":"' + b"a" * (14 * MEBI) + TAIL,
        "marks in text": HEAD + b"[{," * int(bounds.MOST_MARKS * NEAR / 3) + TAIL,
        "quotes in text": HEAD + b'\\"' * int(bounds.MOST_ESCAPES * NEAR) + TAIL,
        "spaces": b'{"messages":[],"x":' + b" " * (bounds.MOST_OUTSIDE - 99) + b"1}",
        "spaces before": b" " * (bounds.MOST_OUTSIDE - 99) + b'{"messages":[]}',
        "too many spaces": b'{"messages":[],"x":' + b" " * size + b"1}",
        "number": b'{"messages":[],"x":0.' + b"1" * (bounds.MOST_OUTSIDE - 99) + b"}",
        "text in tools": b'{"messages":[],"tools":["' + b"a" * size + b'"]}',
        "text in arguments": b'{"messages":[{"arguments":["' + b"a" * size + b'"]}]}',
        "keys": b'{"messages":[],"x":{' + b",".join(b'"%d":1' % i for i in range(60_000)) + b"}}",
        "keys of a part": b'{"messages":[{' + b",".join(b'"%d":"a"' % i for i in range(30_000)) + b"}]}",
        "long key": b'{"' + b"a" * size + b'":1}',
        "escaped keys": b"{" + b",".join(b'"' + b"\\n" * 250 + b'%d":1' % i for i in range(200)) + b"}",
        "metadata": b'{"metadata":{"a":"' + b"a" * size + b'"},"messages":[]}',
        "small lists": b'{"messages":[' + b"[]," * 10_900 + b"[]]}",
        "small objects": b'{"messages":[' + b"{}," * 10_900 + b"{}]}",
        "small keys": b"{" + b",".join(b'"%d":1' % i for i in range(3_500)) + b"}",
        "small keys, escaped": b'{"\\u0061":1,' + b",".join(b'"%d":1' % i for i in range(3_500)) + b"}",
    }
    for name, (piece, times) in PATTERNS.items():
        for field in ("messages", "input", "prompt", "tools", "x"):
            made[f"{name} in {field}"] = b'{"model":"auto","%b":[%b0]}' % (field.encode(), piece * times)
    for number in range(tries):
        parts = [piece * rng.randint(0, times // 3) for piece, times in rng.choices([*PATTERNS.values()][:-1], k=3)]
        text = HEAD + rng.choice((b"a", b"\\n", b'\\"', b"[")) * rng.randint(0, 4 * MEBI) + b'"},'
        made[f"mix {number}"] = text + b"".join(parts) + b"0]}"
    return made


def seconds(body: bytes) -> tuple[float, float, str]:
    """Processor time of the longest step and of all, the best of three runs, and what became of it."""
    best, total, word = float("inf"), 0.0, ""
    for _ in range(3):
        steps, word = [0.0], ""
        reading = read(body)
        while not word:
            began = time.process_time()
            try:
                next(reading)
            except StopIteration:
                word = "read"
            except BadRequestError as problem:
                word = str(problem)[:60]
            steps.append(time.process_time() - began)
        if max(steps) < best:
            best, total = max(steps), sum(steps)
    return best, total, word


def read(body: bytes) -> Iterator[None]:
    """What a gateway does with it."""
    if len(body) <= bounds.SMALL_BYTES:
        parsed = parse(CHAT, {}, body)
    else:
        parsed = yield from parse_steps(CHAT, {}, body, "anonymous")
        yield
    with_model(body, parsed, "tiny")


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
    print("| body | bytes | longest step, ms | all steps, ms | |\n| --- | --- | --- | --- | --- |")
    for step, total, word, name, length in sorted(rows, reverse=True)[:25]:
        print(f"| {name} | {length:,} | {step * 1000:.1f} | {total * 1000:.1f} | {word} |")


if __name__ == "__main__":
    main()
