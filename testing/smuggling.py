"""Requests that two readers could read in two ways, as bytes, and what a router must make of each.

`statuses` are the answers in order. `stays` tells whether the connection goes on: if not, nothing follows the last
answer. `reached` are the bodies that the engine gets, in order; a refused request reaches nobody.
"""

from dataclasses import dataclass
from typing import Final

BODY: Final = b'{"model":"chat-model","messages":[]}'
CHUNKS: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
PATH: Final = b"/v1/chat/completions"
NO_AUTHORITIES: Final = (
    b"a:abc", b"a:-1", b"a:1:2", b"a:65536", b"a:123456789012", b"a:+1", b"::1", b"[::1", b"::1]", b"[]", b"[a]", b"[::1]a",
    b"[::1]:x", b"[1.2.3.4]", b"[::1::2]", b"[v1]", b"a[::1]", b"a%4", b"a%zz", b"[[::1]]",
)  # fmt: skip
"""What is no host with an optional port."""
HIDDEN: Final = b"POST /pause HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
"""What a smuggler would like the engine to read."""


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    statuses: tuple[int, ...]
    stays: bool = False
    reached: tuple[bytes, ...] = ()
    pieces: int = 1
    methods: tuple[str, ...] = ()  # of the answers, where it matters to their reader
    roles: tuple[str, ...] = ("sidecar", "gateway")


def head(*lines: bytes, method: bytes = b"POST", path: bytes = PATH, version: bytes = b"HTTP/1.1") -> bytes:
    """A head with a Host line and these lines."""
    return b"\r\n".join((method + b" " + path + b" " + version, b"Host: x", *lines, b"", b""))


def post(*lines: bytes, body: bytes = BODY, path: bytes = PATH, version: bytes = b"HTTP/1.1") -> bytes:
    """A whole request with Content-Length."""
    return head(*lines, b"Content-Length: %d" % len(body), path=path, version=version) + body


def chunked(*lines: bytes, chunks: bytes = CHUNKS) -> bytes:
    """A whole request in chunks."""
    return head(*lines, b"Transfer-Encoding: chunked") + chunks


GOOD: Final = post()
LENGTH: Final = b"Content-Length: %d" % len(BODY)


def _refused(status: int, *cases: tuple[str, bytes]) -> list[Case]:
    return [Case(name, data, (status,)) for name, data in cases]


def _taken(*cases: tuple[str, bytes]) -> list[Case]:
    return [Case(name, data, (200,), stays=True, reached=(BODY,)) for name, data in cases]


def _lines(prefix: str, *lines: bytes) -> list[tuple[str, bytes]]:
    """A POST with one odd line in place of its framing."""
    return [(f"{prefix} {line.decode('latin-1')!r}", head(line) + BODY) for line in lines]


FRAMING: Final = [
    *_refused(
        400,
        ("length and chunks", head(LENGTH, b"Transfer-Encoding: chunked") + CHUNKS + HIDDEN),
        ("chunks and length", head(b"Transfer-Encoding: chunked", LENGTH) + CHUNKS + HIDDEN),
        ("length 0 and chunks", head(b"Content-Length: 0", b"Transfer-Encoding: chunked") + CHUNKS),
        ("two equal lengths", head(LENGTH, LENGTH) + BODY),
        ("two lengths", head(LENGTH, b"Content-Length: 0") + BODY + HIDDEN),
        ("two lengths in two cases", head(LENGTH, b"content-length: 0") + BODY + HIDDEN),
        *_lines(
            "length", b"Content-Length: +36", b"Content-Length: -36", b"Content-Length: 0x24", b"Content-Length: 36, 36",
            b"Content-Length: 3 6", b"Content-Length: 36;", b"Content-Length: 3_6", b"Content-Length: 36.0",
            b"Content-Length:", b"Content-Length:  ", b"Content-Length: \x0b36", b"Content-Length: 99999999999999999999",
            b"Content-Length: " + b"9" * 5000, b"Content-Length: \xd9\xa3\xd9\xa6", b'Content-Length: "36"',
            b"Content-Length : 36", b"Content-Length\t: 36", b" Content-Length: 36", b"Content-Length\x00: 36",
        ),
        *_lines(
            "coding", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding : chunked", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chun\r\n ked",
            b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"\tTransfer-Encoding: chunked",
            b"Transfer-Encoding\x00: chunked", b"Transfer\x00Encoding: chunked", b"Transfer-Encoding: chunked\x00",
            b"Transfer-Encoding:",
        ),
        ("chunks in HTTP/1.0", head(b"Transfer-Encoding: chunked", version=b"HTTP/1.0") + CHUNKS),
    ),
    *_refused(
        501,
        *_lines(
            "coding", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip",
            b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: ,chunked",
            b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunke",
            b"Transfer-Encoding: \x80chunked",
        ),
    ),
    *_refused(411, ("no length", head()), *_lines("no length but", b"Transfer_Encoding: chunked", b"Content_Length: 36")),
    *_taken(
        ("length", GOOD),
        ("length with zeros before", head(b"Content-Length: 00%d" % len(BODY)) + BODY),
        ("length between blanks", head(b"Content-Length: \t %d \t" % len(BODY)) + BODY),
        ("chunks", chunked()),
        ("coding in another case", head(b"tRANSFER-eNCODING: CHUNKED") + CHUNKS),
        ("coding after a tab", head(b"Transfer-Encoding:\tchunked") + CHUNKS),
    ),
]  # fmt: skip

CHUNKED: Final = [
    *_refused(
        400,
        *[
            (f"chunk {chunks[:24]!r}", chunked(chunks=chunks + HIDDEN))
            for chunks in (
                b"-3\r\nabc\r\n", b"+3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3_\r\nabc\r\n", b" 3\r\nabc\r\n", b"3 \r\nabc\r\n",
                b"\r\n3\r\nabc\r\n", b"g\r\n", b";a\r\n", b"3\nabc\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n",
                b"3\r\nabcd\r\n0\r\n\r\n", b"2\r\nabc\r\n0\r\n\r\n", b"3\rabc\r\n", b"3;\nabc\r\n", b"3;a\nb\r\nabc\r\n",
                b"3;a=\"\r\n\"\r\nabc\r\n", b"3;\x00\r\nabc\r\n", b"0\n\r\n", b"0\r\n\n", b"0\n\n",
                b"FFFFFFFFFFFFFFFFF\r\nabc", b"10000000000000003\r\nabc\r\n", b"\xef\xbc\x93\r\nabc\r\n",
            )
        ],
        ("trailer that is a length", chunked(chunks=CHUNKS[:-2] + b"Content-Length: 3\r\n\r\n" + HIDDEN)),
        ("trailer that is a coding", chunked(chunks=CHUNKS[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + HIDDEN)),
        ("trailer with a fold", chunked(chunks=CHUNKS[:-2] + b"X: a\r\n b\r\n\r\n")),
        ("trailer with a bare LF", chunked(chunks=CHUNKS[:-2] + b"X: a\nY: b\r\n\r\n")),
    ),
    *_taken(
        ("chunk extension", chunked(chunks=b"%x;a=b;c=\"d\"\r\n%b\r\n0;e\r\n\r\n" % (len(BODY), BODY))),
        ("chunk size with zeros", chunked(chunks=b"000000000000000000000%x\r\n%b\r\n000\r\n\r\n" % (len(BODY), BODY))),
        ("chunk per byte", chunked(chunks=b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n")),
        ("forged trailers", chunked(b"Trailer: x-forebay-priority", chunks=CHUNKS[:-2]
            + b"x-forebay-priority: High\r\nx-forebay-hop: 1\r\nHost: y\r\nAuthorization: Bearer z\r\n\r\n")),
    ),
]  # fmt: skip

HEADERS: Final = [
    *_refused(
        400,
        *[
            (f"line {line.decode('latin-1')!r}", head(line, LENGTH) + BODY)
            for line in (
                b"X: a\r\n b", b"X: a\r\n\tb", b" X: a", b"X : a", b"X\t: a", b": a", b"X", b"X: a\nY: b", b"X: a\rY: b",
                b"X: \x00", b"X: a\x01", b"X: a\x7f", b"X\x00: a", b"X\x01: a", b"X\xe9: a", b"X(: a", b"X: a\r\r",
                b"Host: y", b"host: x", b"Authorization: a\r\nauthorization: b", b"Content-Type: a\r\nContent-Type: b",
                b"x-forebay-priority: High\r\nX-Forebay-Priority: Low",
            )
        ],
        ("no host", b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (PATH, LENGTH, BODY)),
        *[
            (f"host {host!r}", b"POST %b HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n%b" % (PATH, host, LENGTH, BODY))
            for host in (b"a b", b"a/b", b"a@b", b"a\\b", b"a?b", b"a#b", b"a\tb", b"a\xe9", *NO_AUTHORITIES)
        ],
        ("bare LF all over", GOOD.replace(b"\r\n", b"\n")),
        ("bare LF after the request line", GOOD.replace(b"\r\n", b"\n", 1)),
        ("bare LF at the head's end", head(LENGTH)[:-2] + b"\n" + BODY),
        ("bare CR at the head's end", head(LENGTH)[:-2] + b"\r" + BODY),
        ("bare CR after the request line", GOOD.replace(b"\r\n", b"\r", 1)),
        ("not HTTP", b"nonsense\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9),
        ("method in lower case", GOOD.replace(b"POST", b"post")),
        ("unknown method", GOOD.replace(b"POST", b"SMUGGLE")),
        ("tab after the method", GOOD.replace(b"POST ", b"POST\t")),
        ("blank after the version", GOOD.replace(b"1.1\r\n", b"1.1 \r\n")),
        ("two versions", GOOD.replace(b"1.1\r\n", b"1.1 HTTP/1.1\r\n")),
        ("HTTP/1.2", GOOD.replace(b"1.1\r\n", b"1.2\r\n")),
        ("HTTP/11", GOOD.replace(b"1.1\r\n", b"11\r\n")),
        ("http/1.1", GOOD.replace(b"HTTP/1.1", b"http/1.1")),
    ),
    *_refused(505, ("HTTP/2.0", GOOD.replace(b"1.1\r\n", b"2.0\r\n")), ("HTTP/0.9", b"GET /v1/models\r\n\r\n")),
    *_refused(
        431,
        ("huge head", head(b"X: " + b"y" * 70_000, LENGTH) + BODY),
        ("endless head", head(LENGTH)[:-2] + b"X: " + b"y" * 400_000),
        ("many lines", head(*[b"X: y"] * 12_000, LENGTH) + BODY),
        ("endless trailer", chunked(chunks=CHUNKS[:-2] + b"X: " + b"y" * 1_000_000)),
        ("many trailers", chunked(chunks=CHUNKS[:-2] + b"X: y\r\n" * 200_000)),
        ("endless chunk extension", chunked(chunks=b"3;" + b"y" * 1_000_000)),
    ),
    *_refused(417, ("unknown expectation", post(b"Expect: 200-ok")), ("two expectations", post(b"Expect: 100-continue, x"))),
    *_refused(413, ("length over the limit", head(b"Content-Length: 33554433") + b"{")),
    *_refused(414, ("long target", post(path=PATH + b"?" + b"q" * 8200)), ("endless target", b"GET /" + b"a" * 100_000)),
    *_taken(
        ("empty lines before", b"\r\n\r\n" + GOOD),
        ("odd but legal values", post(b"X-Utf8: h\xc3\xa9", b"X-Empty:", b"X-Tab: a\tb", b"!#$%&'*+-.^_`|~9: v", b"x:y:z")),
        ("HTTP/1.1 with close in a list", post(b"Connection: x, keep-alive")),
        ("upgrade that is not taken", post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA")),
        ("upgrade to lines", post(b"Connection: upgrade", b"Upgrade: forebay-lines")),
        *[(f"host {host!r}", GOOD.replace(b"Host: x", b"Host: " + host))
          for host in (b"", b"a.b:80", b"a:", b"[::1]", b"[::1]:8000", b"[fe80::1%25e0]", b"[v1.x]:1", b"a_b", b"h%41", b"a,b")],
    ),
]  # fmt: skip

TARGETS: Final = [
    *[
        Case(f"target {path.decode('latin-1')!r}", post(path=path), (404,), stays=True)
        for path in (
            b"/v1/../pause", b"/v1/chat/completions/../../../pause", b"/v1/%2e%2e/pause", b"/pause", b"/./v1/chat/completions",
            b"//v1/chat/completions", b"/v1//chat/completions", b"/v1/chat/completions/", b"/v1/chat/completions;x",
            b"/v1/chat/completions\\", b"/v1\\chat\\completions", b"/v1/chat%2fcompletions", b"/v1/chat/completions%00",
            b"/v1/chat/completions#x", b"/V1/chat/completions", b"/v1/chat/completion%73", b"/", b"*", b"//x/v1/chat/completions",
            b"http://x//v1/chat/completions", b"http://x/v1/../pause", b"http://x", b"http://x?/v1/chat/completions",
            b"ftp://x/v1/chat/completions",
            b"/v1/load_lora_adapter", b"/metrics", b"/health", b"/version", b"/invocations", b"/forebay/report", b"/sleep",
        )
    ],
    *_refused(400, ("no slash", post(path=b"v1/chat/completions")), ("blank in the target", post(path=b"/v1/chat completions")),
              ("UTF-8 in the target", post(path=b"/v1/ch\xc3\xa4t")), ("NUL in the target", post(path=b"/v1/\x00")),
              ("authority form", post(path=b"x:80")), ("query alone", post(path=b"?/v1/chat/completions")),
              ("fragment in place of a path", post(path=b"http://x#/v1/chat/completions")),
              *[(f"authority {text!r}", post(path=b"http://" + text + PATH)) for text in (b"x@y", *NO_AUTHORITIES)]),
    *_taken(
        ("query", post(path=PATH + b"?x=/../pause&y=%0d%0a")),
        ("query with a second mark", post(path=PATH + b"?x?y#z")),
        ("absolute form", post(path=b"http://x" + PATH)),
        ("absolute form with a query", post(path=b"https://a:1" + PATH + b"?q")),
        ("absolute form in another case", post(path=b"HTTP://X" + PATH)),
    ),
]  # fmt: skip

METHODS: Final = [
    *[
        Case(f"{m.decode()} {where.decode()}", head(method=m, path=where), (404,), stays=True, methods=(m.decode(),))
        for m, where in ((b"GET", PATH), (b"HEAD", PATH), (b"OPTIONS", PATH), (b"OPTIONS", b"*"), (b"TRACE", PATH),
                         (b"DELETE", b"/v1/models"), (b"HEAD", b"/pause"), (b"GET", b"/pause"))
    ],
    *_refused(501, ("CONNECT", b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN)),
    *_refused(411, ("PUT without a length", head(method=b"PUT"))),
    *[
        Case(f"{name} of the models hides a request", framed, (200,), stays=True, methods=(name,))
        for name, framed in (
            ("GET", head(b"Content-Length: %d" % len(HIDDEN), method=b"GET", path=b"/v1/models") + HIDDEN),
            ("HEAD", head(b"Content-Length: %d" % len(HIDDEN), method=b"HEAD", path=b"/v1/models") + HIDDEN),
            ("GET", head(b"Transfer-Encoding: chunked", method=b"GET", path=b"/v1/models")
                + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)),
        )
    ],
]  # fmt: skip

CONTINUE: Final = [
    Case("expect 100", post(b"Expect: 100-continue"), (100, 200), stays=True, reached=(BODY,)),
    Case("expect 100 in another case", post(b"Expect: 100-Continue"), (100, 200), stays=True, reached=(BODY,)),
    Case("expect 100 in HTTP/1.0", post(b"Expect: 100-continue", version=b"HTTP/1.0"), (200,), reached=(BODY,)),
    Case("expect 100 and too long", head(b"Expect: 100-continue", b"Content-Length: 99999999"), (413,)),
]

PIPELINED: Final = [
    Case("three in one write", GOOD * 3, (200,) * 3, stays=True, reached=(BODY,) * 3),
    Case("ten in one write", (GOOD + chunked()) * 5, (200,) * 10, stays=True, reached=(BODY,) * 10),
    Case("three, byte by byte", GOOD * 3, (200,) * 3, stays=True, reached=(BODY,) * 3, pieces=10_000),
    Case("chunks, byte by byte", chunked(), (200,), stays=True, reached=(BODY,), pieces=10_000),
    Case("after a 404", post(path=b"/pause") + GOOD, (404, 200), stays=True, reached=(BODY,)),
    Case("after a bad body", post(body=b"{") + GOOD, (400, 200), stays=True, reached=(BODY,)),
    Case("after a refused head", head(LENGTH, LENGTH) + BODY + GOOD, (400,)),
    Case("after a refused length", head(b"Content-Length: x") + GOOD, (400,)),
    Case("good, then a refused one, then a good one", GOOD + head(LENGTH, LENGTH) + BODY + GOOD, (200, 400), reached=(BODY,)),
    Case("good, then nonsense", GOOD + b"nonsense\r\n\r\n" + GOOD, (200, 400), reached=(BODY,)),
    Case("good, then a head too large", GOOD + head(b"X: " + b"y" * 300_000), (200, 431), reached=(BODY,)),
    Case("after one that closes", post(b"Connection: close") + GOOD, (200,), reached=(BODY,)),
    Case("line ends after one that closes", post(b"Connection: close") + b"\r\n", (200,), reached=(BODY,)),
    Case("after one of HTTP/1.0", post(version=b"HTTP/1.0") + GOOD, (200,), reached=(BODY,)),
    Case("a body that looks like a request", post(body=HIDDEN) + GOOD, (400, 200), stays=True, reached=(BODY,)),
    Case("large bodies", post(body=BODY + b" " * 150_000) * 4, (200,) * 4, stays=True, reached=(BODY + b" " * 150_000,) * 4),
    Case("after an upgrade that is not taken", post(b"Connection: upgrade", b"Upgrade: h2c") + GOOD, (200, 200), stays=True,
         reached=(BODY, BODY)),
    Case("upgrade without a body", head(b"Connection: upgrade", b"Upgrade: x", method=b"GET") + GOOD, (404, 200), stays=True,
         methods=("GET", "POST"), reached=(BODY,)),
    Case("after a HEAD", head(method=b"HEAD", path=b"/v1/models") + GOOD, (200, 200), stays=True, methods=("HEAD", "POST"),
         reached=(BODY,)),
]  # fmt: skip


def _json(*bodies: bytes) -> list[Case]:
    return [Case(f"body {body[:48]!r}", post(body=body), (400,), stays=True) for body in bodies]


_TWICE = (b"model", b"max_tokens", b"max_completion_tokens", b"max_output_tokens", b"stream", b"service_tier", b"messages",
          b"previous_response_id", b"metadata", b"prompt_cache_key", b"prompt", b"input", b"instructions", b"documents",
          b"context")  # fmt: skip

JSON: Final = [
    *_json(
        b"", b" ", b"[]", b"null", b'"x"', b"1", b"{", b"{}{}", b'{"a":1}x', b"{'a':1}", b'{"a":1,}', b'{"a":NaN}',
        b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":01}', b'{"a":+1}', b'{"a":1E400}', b'{"a":1} //c', b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"), BODY.decode().encode("utf-32-le"), b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}', b'{"a":"\\udc00x"}', b'{"a":"\x00"}', b'{"a":"\n"}', b'{"a":"\xc0\xaf"}', b'{"a":"\\x41"}',
        b'{"max_tokens":1e3}', b'{"max_tokens":"5"}', b'{"max_tokens":-1}', b'{"max_tokens":true}',
        b'{"max_tokens":123456789012345678901234567890}',
        b'{"metadata":{"complexity_score":1' + b"0" * 400 + b"}}",
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 100_000,
        *[b'{"%b":null,"%b":1}' % (key, key) for key in _TWICE],
        b'{"model":"a","mod\\u0065l":"b"}', b'{"\\u006dodel":"a","mod\\u0065l":"b"}', b'{"metadata":{"task_type":"a","task_type":"b"}}',
        b'{"model":"a","model":"b","x":' + b"[" * 900 + b"]" * 900 + b"}",
    ),
    *[
        Case(f"body {body[:48]!r}", post(body=body), (200,), stays=True, reached=(body,))
        for body in (
            b' \t\r\n{"model" : "chat-model" , "n":1.50, "big":123456789012345678901234567890, "e":1E-400, "u":"\\u00e9\xc3\xa9"}\r\n',
            b'{"model":"chat-model","x":{"model":1,"y":{"model":2}},"stream":false}',
            b'{"model":"chat-model","a":1,"a":2}',
            b'{"model":"chat-model","x":"\\ud83d\\ude00\\u0000\\/"}',
        )
    ],
]  # fmt: skip

CASES: Final = [*FRAMING, *CHUNKED, *HEADERS, *TARGETS, *METHODS, *CONTINUE, *PIPELINED, *JSON]
