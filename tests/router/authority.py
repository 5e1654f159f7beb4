"""A private certificate authority, as a company runs one for its own servers, and files as a kubelet mounts them."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "api.acme.test"
PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates; `pem` is what others must believe."""

    def __init__(self, name: str = "company") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self._subject, self._key, ca=True)

    def leaf(self, name: str = NAME) -> tuple[bytes, bytes]:
        """A certificate for a name and for loopback, and its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self._sign(subject, key, ca=False, name=name), private

    def server(self, tmp: Path, clients: "Authority | None" = None) -> ssl.SSLContext:
        """A server's context; with `clients` it wants a certificate that those have signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = tmp / "server.pem"
        pair.write_bytes(b"".join(self.leaf()))
        context.load_cert_chain(pair)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients.pem.decode())
        return context

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool, name: str | None = None) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if name is not None:
            names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(PEM)


def mount(folder: Path, files: dict[str, bytes]) -> None:
    """Put files there as a kubelet does: a new folder, and a link that is swapped at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.parent / f"..{folder.name}-{len(list(folder.parent.iterdir()))}"
    fresh.mkdir()
    for name, content in files.items():
        (fresh / name).write_bytes(content)
    link = folder.parent / f"..{folder.name}-link"
    link.symlink_to(fresh.name)
    if folder.is_dir() and not folder.is_symlink():  # what the test's set-up put there
        for old in folder.iterdir():
            (fresh / old.name).write_bytes(old.read_bytes()) if old.name not in files else None
            old.unlink()
        folder.rmdir()
    link.replace(folder)
