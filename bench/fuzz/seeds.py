"""Where fuzzing begins, and the words it puts together."""

from typing import Final

from testing.smuggling import BODY, CASES, GOOD, JSON, chunked, post

MOST_BYTES: Final = 4096

_JSON = b'{"id":"resp_1","choices":[{"delta":{"content":"a"},"finish_reason":null}]}'
_EVENTS = b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n: ping\n\ndata: ' + _JSON + b"\n\ndata: [DONE]\n\n"
_BROKEN = _EVENTS[:-14] + b'data: {"error": {"message":"x","code":500}}\n\n'
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunks(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_JSON), _JSON),
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n\r\n" + _JSON,
    b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + _EVENTS,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nx-forebay-slot: Full\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx",
    b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"error":"x"}',
    b"HTTP/1.1 400 Bad\r\nContent-Length: 22\r\n\r\nmaximum context length",
    *[_STREAM + _chunks(content) for content in (_EVENTS, _BROKEN, b"", _EVENTS[:60])],
    _STREAM + _chunks(_EVENTS)[:-2] + b"X: trailer\r\n\r\n",
    _STREAM + _chunks(_EVENTS)[:-9],
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(_BROKEN), _BROKEN),
)
BODIES: Final = (
    BODY, b"{}", b'{"model":""}', b'{"model":null,"a":[1]}', b'{ "model" : "auto" , "stream":true}',
    b'{"mod\\u0065l":"auto","x":{"model":1}}', b'{"x":{"model":1},"model":[]}', b'{"a":"\\"model\\":1","model":"auto"}',
    b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}],"max_tokens":5}',
    b'{"input":["a",{"type":"input_image","image_url":"x"}],"metadata":{"task_type":"a","complexity_score":"0.5"}}',
    b'{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",'
    b'"function":{"name":"f","arguments":"{\\"a\\":1}"}}]},{"role":"tool","tool_call_id":"c","content":"\\u4e16\\ud83d\\ude00"}],'
    b'"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}',
    b'{"input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"x"}]},'
    b'{"type":"reasoning","summary":[{"type":"summary_text","text":"a"}],"encrypted_content":"b"},'
    b'{"type":"item_reference","id":"i"}],"instructions":"a"}',
    b'{"system":[{"type":"text","text":"a"}],"messages":[{"role":"user","content":[{"type":"tool_result","content":'
    b'[{"type":"image","source":{"type":"base64","data":"AA"}}]},{"type":"document","source":{"type":"text","data":"a"}}]}]}',
    b'{"messages":[{"content":[{"video_url":{"url":"x"}},{"type":7},{"type":["text"]},[[["a"]]],null,1.5]}]}',
    b'{"prompt":[15339,1917],"logit_bias":{"1":-100}}', b'{"prompt":[[1,2],"a",[3],{"content":[1]},true,null]}',
    b'{"input":[[1],[2,3]],"truncate_prompt_tokens":1}', b'{"x":0.1111111111,"x":-0,"messages":" [{,"}',
    b'{"model":"a","model":"b"}', b'{"metadata":{"task_type":1,"task_type":2}}', b'{"previous_response_id":"resp_1"}',
)  # fmt: skip
_PART: Final = b'--xx\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
_FILE: Final = _PART % (b"file", b'; filename="a.wav"\r\nContent-Type: audio/wav', b"RIFF\r\n--x\r\n")
KIND: Final = b'multipart/form-data; charset=utf-8; boundary="xx"'
FORMS: Final = (
    _PART % (b"model", b"", b"whisper") + _FILE + b"--xx--\r\n",
    _FILE + _PART % (b"model", b"", b"auto") + _PART % (b"stream", b"", b"true") + b"--xx--",
    _FILE
    + _PART % (b"timestamp_granularities[]", b"", b"word") * 2
    + _PART % (b"prompt", b"", b"\xc3\xa9")
    + b"--xx--\r\n",
    _FILE
    + _PART % (b"max_completion_tokens", b"", b"7")
    + _PART % (b"file", b"; filename*=UTF-8''a", b"b")
    + b"--xx--\r\n",
    _FILE + b"--xx--\r\n--xx\r\n",
)
SWITCHED: Final = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: forebay-lines\r\n\r\n"
_UPGRADE = post(b"Connection: upgrade", b"Upgrade: forebay-lines", body=b"") + b"a line\n"
_ODD = [body for case in JSON if len(body := case.data.partition(b"\r\n\r\n")[2]) < MOST_BYTES]
_REQUESTS = [case.data for case in CASES if len(case.data) < MOST_BYTES] + [_UPGRADE, GOOD + chunked()]


def seeds(target: str) -> list[bytes]:
    """The first inputs of a target."""
    if target == "server":
        return [bytes((index % 32, index * 7 % 256)) + data for index, data in enumerate(_REQUESTS)]
    if target == "smuggling":
        return _REQUESTS
    if target in ("client", "relay"):
        return [
            bytes((mode, mode * 29 % 256)) + data
            for data in ANSWERS
            for mode in (*range(9), 128, 130, 133, 192, 193, 199)
        ]
    if target == "request":
        plain = [bytes((60 + index % 6,)) + body for index, body in enumerate([*BODIES, *_ODD])]
        return plain + [bytes((6 * index,)) + b"0.5\n" + BODY for index in range(7)]
    if target == "form":
        return [bytes((mode,)) + body for body in FORMS for mode in (0, 2)] + [b"\1" + KIND + b"\n" + FORMS[0]]
    if target == "events":
        return [cut + data for data in (_EVENTS, _BROKEN, _JSON) for cut in (b"\0\0", b"\0\x40")]
    return [b"\0a\nb\n", b"\1a\n\nb", b"\2" + SWITCHED + b"a\nb\n", b"\0HTTP/1.1 403 No\r\n\r\n"]


WORDS: Final = (
    b"GET ", b"POST ", b"HEAD ", b"PUT ", b"CONNECT ", b"OPTIONS * ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n",
    b"\r\n\r\n", b"\n", b"\r", b"\t", b"\x00", b"\x0b", b"\xff", b"Host: x\r\n", b"Content-Length: ",
    b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: ", b"chunked", b"identity",
    b"gzip, ", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: forebay-lines\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Trailer: x\r\n", b"0\r\n\r\n",
    b"1\r\na\r\n", b";a=b", b"ffffffffffffffff", b"http://x/", b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.1 500 E\r\n",
    b"Content-Type: text/event-stream\r\n", b"Content-Type: application/json\r\n", b"Retry-After: 1\r\n",
    b"x-forebay-slot: Full\r\n", b"data: ", b"data: [DONE]\n\n", b'data: {"error":{"message":"x"}}\n\n',
    b"--xx\r\n", b"--xx--\r\n", b'Content-Disposition: form-data; name="', b'"; filename="', b"boundary=xx",
    b'{"error":"x"}', b'{"object":"error"', b'"content":"a"', b'"finish_reason":"stop"', b'"model"', b'"mod\\u0065l"',
    b'"messages"', b'"max_tokens":', b'"metadata":{', b'"task_type"', b'"complexity_score"', b'"stream":true',
    b'"prompt"', b'"input"', b'"content"', b'"type"', b'"role"', b'"context"', b'"image_url"', b'"service_tier"',
    b'"previous_response_id"', b"null", b"true", b"1e5", b"[]", b"{}", b'""', b":", b",", b"\\", b"\\u00", b"NaN",
    b"nan", b"inf", b"1e999", b'"tools":[', b'"prompt":[1,2]', b'"tool_calls":[', b'"arguments":"{}"', b'"source":{',
    b'"type":"tool_result"', b'"type":"function_call_output","output":', b'"video_url"', b'"logit_bias"',
    b"\\ud83d\\ude00", b'\\"', b'"truncation":"auto"',
)  # fmt: skip


def dictionary() -> str:
    """The words, as libFuzzer reads them."""
    return "\n".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in WORDS)
