"""A provider's authorities and the gateway's certificate for it, from their mounted files to a TLS context. Blocking.

What no file can hold is told in one sentence, which never has anything of a file in it.
"""

import hashlib
import re
import ssl
from pathlib import Path
from typing import Final

from msgspec import Struct

from forebay.resources import names
from forebay.resources.table import ReachEntry

CERTIFICATES: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
WHERE_CA: Final = "the key that tls.caConfigMapRef or tls.caSecretRef names"
WHERE_CERTIFICATE: Final = "the Secret that tls.clientCertificateSecretRef names"


class TlsFiles(Struct, frozen=True):
    """What is mounted: a context made of it, or the problem with it. `digest` tells it from another."""

    digest: bytes
    context: ssl.SSLContext | None
    problem: str = ""


class _ProblemError(Exception):
    """One sentence: what is wrong, and what to do."""


def wanted(reach: ReachEntry) -> bool:
    """Whether a provider has such files; else it is reached by what the system trusts."""
    return reach.has_ca or reach.has_certificate


def load(folder: Path, reach: ReachEntry, known: bytes = b"") -> TlsFiles | None:
    """Read a provider's files, all of one version of the volume; None where `known` is their digest."""
    real = folder.resolve()  # the kubelet replaces a whole folder at a time
    files = [names.CA_FILE] * reach.has_ca + [names.CERTIFICATE_FILE, names.PRIVATE_KEY_FILE] * reach.has_certificate
    contents = {file: _read(real / file) for file in files}
    digest = hashlib.sha256(repr(sorted(contents.items())).encode()).digest()
    if digest == known:
        return None
    try:
        context = _trusting(contents[names.CA_FILE]) if reach.has_ca else system_tls()
        if reach.has_certificate:
            _identify(context, real, contents)
    except _ProblemError as problem:
        return TlsFiles(digest, None, str(problem))
    return TlsFiles(digest, context)


def system_tls() -> ssl.SSLContext:
    """With the public authorities; reading them takes 40 ms of a core."""
    import httpx  # noqa: PLC0415

    context = httpx.create_ssl_context(trust_env=False)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # whatever this Python's default is
    return context


def _trusting(ca: bytes | None) -> ssl.SSLContext:
    if ca is None:
        raise _ProblemError(f"its CA is missing: fill {WHERE_CA}")
    found = b"\n".join(CERTIFICATES.findall(ca))
    try:
        if not found:
            raise ssl.SSLError
        context = ssl.create_default_context(cadata=found.decode("ascii"))
    except ssl.SSLError:
        raise _ProblemError(f"its CA is no certificate in PEM: correct {WHERE_CA}") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # companies' own authorities lack extensions that RFC 5280 wants
    return context


def _identify(context: ssl.SSLContext, folder: Path, contents: dict[str, bytes | None]) -> None:
    for file in (names.CERTIFICATE_FILE, names.PRIVATE_KEY_FILE):
        if not contents[file]:
            raise _ProblemError(f"the client certificate has no {file}: put it into {WHERE_CERTIFICATE}")
    try:
        context.load_cert_chain(
            folder / names.CERTIFICATE_FILE,
            folder / names.PRIVATE_KEY_FILE,
            password=lambda: "",  # else an encrypted one would ask at the terminal
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            words = f"the client certificate and its private key do not belong together: correct {WHERE_CERTIFICATE}"
            raise _ProblemError(words) from None
        words = "the client certificate or its private key is no PEM without a password: correct"
        raise _ProblemError(f"{words} {WHERE_CERTIFICATE}") from None
    except OSError:
        raise _ProblemError(f"the client certificate cannot be read: look at {WHERE_CERTIFICATE}") from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
