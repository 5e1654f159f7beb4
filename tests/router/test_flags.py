"""The flags of forebay-router, as a person meets them."""

import pytest

from forebay.router import flags

GIVEN = ("--role=gateway", "--table=table.json")


@pytest.mark.parametrize("words", ["--role {gateway,sidecar}", "--access-log {on,off}"])
def test_help_shows_the_words_that_may_be_said(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flags.settings(["--help"])
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: --role, --table"),
        (["--role=sidecar", "--table=t"], "a sidecar needs --pool"),
        (["--role=door", "--table=t"], "--role: 'door': it must be one of gateway, sidecar"),
        ([*GIVEN, "--request-port=70000"], "'70000': it must be a whole number, at least 0, at most 65535"),
        ([*GIVEN, "--access-log=maybe"], "'maybe': it must be true or false, on or off"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.settings(arguments)
    assert ended.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())
