"""How an engine's answer ends, and what it says of errors inside a 200: the client is told just that."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from forebay.rules.steps import AttemptOutcome
from tests.router.test_bad_engine import EVENT, HEAD, STREAM, Relay, chunk, run, sends

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
TOKEN = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
DONE = b"data: [DONE]\n\n"
TEXT = b'data: {"object":"text_completion","choices":[{"text":"a","finish_reason":null}]}\n\n'
DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n'
ITEM = b'event: response.output_text.done\ndata: {"type":"response.output_text.done","text":"a"}\n\n'
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","response":{"output":"%b"}}\n\n'
BLOCK = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"a"}}\n\n'
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def stream(*pieces: bytes) -> tuple[bytes, ...]:
    """A stream that ends properly, each piece in a write of its own."""
    return (STREAM, *map(chunk, pieces), b"0\r\n\r\n")


def ends(outcome: AttemptOutcome, *pieces: bytes, body: bytes, whole: bool, within: float = 3.0) -> None:
    """What comes of an engine that sends this."""

    async def work(r: Relay) -> None:
        r.engine.script = sends(*pieces)
        async with asyncio.timeout(within):
            (answer,) = await r.ask()
        assert answer is not None
        assert (answer.body, answer.whole) == (body, whole)
        assert r.outcomes == [outcome]

    run(work)


@pytest.mark.parametrize(
    "pieces",
    [
        (TOKEN, DONE),
        (TOKEN, b"data: [DO", b"NE]\n\n"),
        (TOKEN, FINISH),
        (TOKEN, FINISH, USAGE),
        (TOKEN, FINISH.replace(b"\n", b"\r\n")),
        (ROLE + TOKEN + FINISH + DONE,),
        (DELTA, COMPLETED % b"x"),
        (DELTA, (long := COMPLETED % (b"x" * 200_000))[:90_000], long[90_000:150_000], long[150_000:]),
        (DELTA, COMPLETED.replace(b"completed", b"incomplete") % b"x"),
        (BLOCK, MESSAGE_STOP),
        (BLOCK, b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'),
    ],
)
def test_a_stream_with_a_last_event_is_whole(pieces: tuple[bytes, ...]) -> None:
    ends(AttemptOutcome.ANSWERED, *stream(*pieces), body=b"".join(pieces), whole=True)


@pytest.mark.parametrize(
    "pieces",
    [
        (TOKEN,),
        (ROLE, TOKEN, TOKEN),
        (ROLE + TOKEN,),
        (TOKEN, TOKEN.replace(b"\n", b"\r\n")),
        (TOKEN, USAGE),
        (TOKEN, b": ping\n\n"),
        (TEXT, TEXT),
        (DELTA, ITEM),
        (BLOCK, BLOCK),
    ],
)
def test_one_without_is_told_to_have_broken_off(pieces: tuple[bytes, ...]) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(*stream(*pieces))
        (answer,) = await r.ask()
        assert answer is not None and not answer.whole
        assert answer.body.startswith(b"".join(pieces))
        assert answer.body.count(b'data: {"error":') == 1
        assert r.outcomes == [AttemptOutcome.BROKEN]

    run(work)


ABORT = b'data: {"choices":[{"delta":{"content":"b"},"finish_reason": "abort"}]}\n\n'
GIVEN_UP = [ABORT, ABORT.replace(b' "abort"', b'"abort","stop_reason":null'), ABORT.replace(b"abort", b"error"),
            ABORT.replace(b'"delta":{"content":"b"}', b'"text":""')]  # fmt: skip


@pytest.mark.parametrize("event", GIVEN_UP)
@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (lambda event: (TOKEN, event, DONE), TOKEN),
        (lambda event: (TOKEN, TOKEN + event + DONE), TOKEN + TOKEN),
        (lambda event: (TOKEN, event + USAGE + DONE), TOKEN),
        (lambda event: (TOKEN, event[:20], event[20:], DONE), TOKEN + ABORT[:20]),
        (lambda event: (TOKEN, event[:-12], event[-12:] + DONE), TOKEN),
    ],
    ids=["alone", "with a token", "with the end", "in two pieces", "in two late pieces"],
)
def test_a_stream_that_the_engine_gave_up_has_broken_off(
    event: bytes, pieces: Callable[[bytes], tuple[bytes, ...]], told: bytes
) -> None:
    async def work(r: Relay) -> None:
        r.engine.script = sends(*stream(*pieces(event)))
        (answer,) = await r.ask()
        assert answer is not None and not answer.whole
        assert answer.body.startswith(told)
        assert answer.body.count(b'data: {"error":') == 1
        assert r.outcomes == [AttemptOutcome.BROKEN]

    run(work)


@pytest.mark.parametrize("event", GIVEN_UP)
@pytest.mark.parametrize("before", [(), (ROLE,), (b": ping\n\n", ROLE)])
def test_one_that_was_given_up_before_its_first_token_is_a_fault(event: bytes, before: tuple[bytes, ...]) -> None:
    faulty(*stream(*before, event, DONE))
    faulty(*stream(b"".join((*before, TOKEN, event, DONE))))


@pytest.mark.parametrize("reason", [b"abort", b"error"])
@pytest.mark.parametrize("pieces", [1, 7])
def test_a_whole_answer_that_was_given_up_is_a_fault(reason: bytes, pieces: int) -> None:
    body = b'{"choices":[{"message":{"content":"half"},"finish_reason":"%b"}],"usage":{}}' % reason
    step = len(body) // pieces + 1
    faulty(HEAD + b"content-length: %d\r\n\r\n" % len(body), *(body[i : i + step] for i in range(0, len(body), step)))


def test_a_long_whole_answer_that_was_given_up_is_cut() -> None:
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"abort"}]}' % (b"x" * 200_000)

    async def work(r: Relay) -> None:
        r.engine.script = sends(HEAD + b"transfer-encoding: chunked\r\n\r\n", chunk(body[:150_000]),
                                chunk(body[150_000:]), b"0\r\n\r\n")  # fmt: skip
        (answer,) = await r.ask()
        assert answer is not None and not answer.whole
        assert r.outcomes == [AttemptOutcome.BROKEN]

    run(work)


@pytest.mark.parametrize("words", [rb"\"finish_reason\": \"abort\"", rb"say \"abort\" and \"error\"", b"abort"])
def test_an_answer_that_only_speaks_of_it_is_whole(words: bytes) -> None:
    token = b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % words
    ends(AttemptOutcome.ANSWERED, *stream(TOKEN, token, FINISH, DONE), body=TOKEN + token + FINISH + DONE, whole=True)
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % words
    whole = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    ends(AttemptOutcome.ANSWERED, whole, body=body, whole=True)


def faulty(*pieces: bytes) -> None:
    """The client hears nothing of it: another replica may be asked."""

    async def work(r: Relay) -> None:
        r.engine.script = sends(*pieces)
        (answer,) = await r.ask()
        assert answer is not None and answer.status == 503
        assert r.outcomes == [AttemptOutcome.FAULT]

    run(work)


CODES = [
    (400, b'{"error":{"message":"no","type":"BadRequestError","code":400}}'),
    (400, b'{"error":{"message":"no","type":"invalid_request_error","code":"bad_tool"}}'),
    (422, b'{"error":{"message":"no","code":"422"}}'),
    (400, b'{"object":"error","message":"no","type":"BadRequestError","code":400}'),
    (404, b'{"error":"no such tool","status":404}'),
    (401, b'{"error":{"message":"no","code":401}}'),
    (429, b'{"error":{"message":"no","code":429}}'),
    (503, b'{"error":{"message":"no","code":503}}'),
    (500, b'{"error":{"message":"no","code":500}}'),
    (500, b'{"error":{"message":"no","code":null}}'),
    (500, b'{"error":"no"}'),
    (500, b'{"error":{"message":"400","code":"x","param":400}}'),
]
OWN = (400, 404, 422)
BEFORE = {429: AttemptOutcome.PRESSED, 503: AttemptOutcome.PRESSED}


@pytest.mark.parametrize(("code", "said"), CODES)
def test_an_error_within_a_stream_that_ends_properly_is_the_clients_last_word(code: int, said: bytes) -> None:
    event = b"data: " + said + b"\n\n"
    outcome = AttemptOutcome.ANSWERED if code in OWN else AttemptOutcome.BROKEN
    ends(outcome, *stream(TOKEN, event, DONE), body=TOKEN + event, whole=True)


@pytest.mark.parametrize(("code", "said"), CODES)
@pytest.mark.parametrize("role", [b"", ROLE])
def test_an_error_in_place_of_a_stream_is_the_clients_if_it_is_about_the_request(
    code: int, said: bytes, role: bytes
) -> None:
    event = b"data: " + said + b"\n\n"
    if code in OWN:
        ends(AttemptOutcome.ANSWERED, *stream(role + event, DONE), body=role + event, whole=True)
        return

    async def work(r: Relay) -> None:
        r.engine.script = sends(*stream(role + event, DONE))
        await r.ask()
        assert r.outcomes == [BEFORE.get(code, AttemptOutcome.FAULT)]

    run(work)


@pytest.mark.parametrize(("code", "said"), CODES)
@pytest.mark.parametrize("pieces", [1, 2])
def test_an_error_in_place_of_an_answer_has_the_status_that_it_names(code: int, said: bytes, pieces: int) -> None:
    async def work(r: Relay) -> None:
        half = len(said) // pieces
        parts = (said[:half], said[half:]) if pieces > 1 else (said,)
        r.engine.script = sends(HEAD + b"content-length: %d\r\n\r\n" % len(said), *parts)
        (answer,) = await r.ask()
        assert answer is not None
        if code in OWN:
            assert (answer.status, answer.body, r.outcomes) == (code, said, [AttemptOutcome.ANSWERED])
        else:
            assert r.outcomes == [BEFORE.get(code, AttemptOutcome.FAULT)]

    run(work)


def parted(event: bytes) -> Iterator[tuple[bytes, ...]]:
    """Cut anywhere but within the words that an error is known by."""
    word = event.index(b'"error":{')
    known = word + len(b'"error":{')
    for cut in (*range(1, word + 1), *range(known, len(event))):
        yield event[:cut], event[cut:]
    yield event[:word], *(event[n : n + 11] for n in range(word, len(event), 11))


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_an_error_event_in_parts_is_passed_on_whole(newline: bytes) -> None:
    event = (b"event: error\ndata: " + CODES[0][1] + b"\n\n").replace(b"\n", newline)

    async def work(r: Relay) -> None:
        for parts in parted(event):
            r.engine.script = sends(*stream(EVENT, *parts, DONE))
            (answer,) = await r.ask()
            assert answer is not None
            assert (answer.body, answer.whole) == (EVENT + event, True), parts
            assert r.outcomes.pop() is AttemptOutcome.ANSWERED

    run(work)


@pytest.mark.parametrize("after", [b"", DONE, b": ping\n\n"])
def test_one_after_which_nothing_ends_is_cut_soon(after: bytes) -> None:
    event = b"data: " + CODES[-2][1] + b"\n\n"

    async def work(r: Relay) -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM + chunk(TOKEN) + chunk(event))
            while not reader.at_eof():
                writer.write(chunk(after) if after else b"")
                await asyncio.sleep(0.1)

        r.engine.script = script
        async with asyncio.timeout(2.5):
            (answer,) = await r.ask()
        assert answer is not None
        assert (answer.body, answer.whole) == (TOKEN + event, False)
        assert r.outcomes == [AttemptOutcome.BROKEN]

    run(work)
