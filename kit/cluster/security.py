"""Who may talk to whom: whatever leaves this machine is encrypted, and both ends show certificates."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from kit.core.errors import BadInput
from kit.options.resolve import RunConfig
from kit.options.run_table import CLUSTER

#: Seconds within which a scheduler must answer.
TIMEOUT = 10
#: Where Dask's scheduler listens unless it is told otherwise.
_PORT = 8786
_ADDRESS = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+)(?::(?P<port>\d{1,5}))?")
_HINT = "Give it as HOST:PORT, tcp://127.0.0.1:PORT or tls://HOST:PORT."
_CERTIFICATES = "--tls-ca, --tls-cert and --tls-key"


@dataclass(frozen=True, kw_only=True)
class Link:
    """The way to a scheduler.

    Attributes:
        address: as Dask takes it, e.g. ``tls://10.0.0.1:8786``.
        listen: where a worker may listen: a loopback address, or None for wherever the scheduler reaches it.
        certificates: files of the authority, the certificate and its key; None for no encryption, on loopback only.
    """

    address: str
    listen: str | None
    certificates: tuple[Path, Path, Path] | None


def link(config: RunConfig) -> Link | None:
    """The way to the scheduler that the options name; None if they name none. Nothing is connected.

    Raises:
        BadInput: no address, one that would leave this machine without encryption, or certificates that cannot be used.
    """
    if config.scheduler is None:
        named = [name for name in CLUSTER if config.origins.get(name, "default") != "default"]
        if named:
            shown = ", ".join("--" + name.replace("_", "-") for name in named)
            raise BadInput(f"{shown}: no effect without --scheduler", hint="Give --scheduler too, or leave it out.")
        return None
    found = _ADDRESS.fullmatch(config.scheduler)
    if found is None or not 0 < int(found["port"] or _PORT) < 65536:
        raise BadInput(f"--scheduler: {config.scheduler!r} is no address", hint=_HINT)
    certificates = _certificates(config)
    scheme = found["scheme"] or ("tls" if certificates else "tcp")
    host, port = found["host"], found["port"] or _PORT
    if scheme not in ("tcp", "tls"):
        raise BadInput(f"--scheduler: {scheme}:// is not supported", hint=_HINT)
    if scheme == "tcp" and certificates:
        raise BadInput("--scheduler: tcp:// would not use the certificates", hint=f"Write tls://{host}:{port}.")
    near = _loopback(host)
    if certificates is None and (scheme == "tls" or near is None):
        why = "tls:// needs certificates" if scheme == "tls" else "this is not loopback, and nothing would be encrypted"
        raise BadInput(
            f"--scheduler {config.scheduler}: {why}",
            hint=f"Give {_CERTIFICATES}; only 127.0.0.1, [::1] and localhost go without.",
        )
    return Link(address=f"{scheme}://{near or host}:{port}", listen=near, certificates=certificates)


def reach(link: Link) -> None:
    """See whether something answers there: sooner than Dask, which tries for long, and with the reason.

    Raises:
        OSError: nothing does, or certificates are not of the authority.
    """
    found = _ADDRESS.fullmatch(link.address)
    assert found is not None  # noqa: S101 - it was put together above
    with socket.create_connection((found["host"].strip("[]"), int(found["port"])), TIMEOUT) as bare:
        if link.certificates is not None:
            _context(*link.certificates).wrap_socket(bare).close()


def _context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """What Dask will demand: a certificate of the authority, whatever name it has."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    # never asks for a passphrase: a worker has nobody to answer
    context.load_cert_chain(str(cert), str(key), password=lambda: b"")
    return context


def _loopback(host: str) -> str | None:
    """The loopback address that a host is; None if it is another machine, or may be."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ipaddress.ip_address(host.strip("[]")).is_loopback else None
    except ValueError:
        return None  # a name, which resolves to whatever the network says


def _certificates(config: RunConfig) -> tuple[Path, Path, Path] | None:
    """The three files, once they have been loaded."""
    ca, cert, key = config.tls_ca, config.tls_cert, config.tls_key
    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise BadInput(f"{_CERTIFICATES} go together; not all of them are given", hint="Give all three.")
    for path, what in ((ca, "--tls-ca"), (cert, "--tls-cert"), (key, "--tls-key")):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadInput(f"{what}: {path} cannot be read: {error.strerror}") from error
    try:
        _context(ca, cert, key)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput(
            f"{_CERTIFICATES} cannot be used: {error}", hint="PEM files are expected, the key without a passphrase."
        ) from error
    return ca, cert, key
