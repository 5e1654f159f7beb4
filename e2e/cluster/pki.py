"""One certificate authority, a certificate and a kubeconfig for each component. openssl makes them."""

from pathlib import Path

from e2e.cluster.shell import run

DAYS = "3650"


class Authority:
    """A certificate authority in `folder`; everything it makes is kept and made only once."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self.server = server
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.ca = folder / "ca.crt"
        if not self.ca.exists():
            run(
                "openssl", "req", "-x509", *_EC, "-nodes", "-keyout", folder / "ca.key", "-out", self.ca,
                "-days", DAYS, "-subj", "/CN=forebay-cluster-ca",
            )  # fmt: skip
        if not (folder / "sa.pub").exists():
            run("openssl", "genrsa", "-out", folder / "sa.key", "2048")
            run("openssl", "rsa", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub")

    def certificate(self, name: str, subject: str, alternatives: str = "") -> Path:
        """`name`.crt and `name`.key. `alternatives` as openssl's subjectAltName takes them."""
        target = self.folder / f"{name}.crt"
        if target.exists():
            return target
        extensions = self.folder / f"{name}.ext"
        names = f"subjectAltName={alternatives}\n" if alternatives else ""
        extensions.write_text(f"extendedKeyUsage=serverAuth,clientAuth\n{names}")
        key, part = self.folder / f"{name}.key", self.folder / f"{name}.part"
        request = run("openssl", "req", "-new", *_EC, "-nodes", "-keyout", key, "-subj", subject)
        run(
            "openssl", "x509", "-req", "-CA", self.ca, "-CAkey", self.folder / "ca.key", "-CAcreateserial",
            "-days", DAYS, "-extfile", extensions, "-out", part, stdin=request,
        )  # fmt: skip
        part.rename(target)
        return target

    def kubeconfig(self, name: str, subject: str) -> Path:
        """`name`.conf for a user with this subject."""
        certificate = self.certificate(name, subject)
        target = self.folder / f"{name}.conf"
        target.write_text(
            f"""apiVersion: v1
kind: Config
clusters: [{{name: forebay, cluster: {{server: "{self.server}", certificate-authority: "{self.ca}"}}}}]
users: [{{name: {name}, user: {{client-certificate: "{certificate}", client-key: "{self.folder / name}.key"}}}}]
contexts: [{{name: forebay, context: {{cluster: forebay, user: {name}}}}}]
current-context: forebay
"""
        )
        return target


_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def server_names(*addresses: str) -> str:
    """Names and addresses an API server answers to."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return ",".join([*(f"DNS:{name}" for name in (*names, "localhost")), *(f"IP:{ip}" for ip in addresses)])
