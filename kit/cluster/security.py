"""Check the connection to a scheduler: anything that leaves this machine is encrypted, both ends have certificates."""

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
#: Default port of Dask's scheduler.
_PORT = 8786
_ADDRESS = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+)(?::(?P<port>\d{1,5}))?")
_HINT = "Give it as HOST:PORT, tcp://127.0.0.1:PORT or tls://HOST:PORT."
_CERTIFICATES = "--tls-ca, --tls-cert and --tls-key"


@dataclass(frozen=True, kw_only=True)
class Link:
    """The address of a scheduler and the certificates for it.

    Attributes:
        address: as Dask expects it, e.g. ``tls://10.0.0.1:8786``.
        listen: address on which a worker listens: loopback, or None for the one that the scheduler reaches.
        certificates: files of the authority, the certificate and its key; None for no encryption, on loopback only.
    """

    address: str
    listen: str | None
    certificates: tuple[Path, Path, Path] | None


def link(config: RunConfig) -> Link | None:
    """Return the link to the scheduler of the options, without connecting; None if they name no scheduler.

    Raises:
        BadInput: an invalid address, one that needs encryption and has none, or unusable certificates.
    """
    if config.scheduler is None:
        given = [name for name in CLUSTER if config.origins.get(name, "default") != "default"]
        if given:
            shown = ", ".join("--" + name.replace("_", "-") for name in given)
            raise BadInput(f"{shown}: no effect without --scheduler", hint="Give --scheduler too, or leave it out.")
        return None
    parts = _ADDRESS.fullmatch(config.scheduler)
    if parts is None or not 0 < int(parts["port"] or _PORT) < 65536:
        raise BadInput(f"--scheduler: {config.scheduler!r} is not an address", hint=_HINT)
    certificates = _certificates(config)
    scheme = parts["scheme"] or ("tls" if certificates else "tcp")
    host, port = parts["host"], parts["port"] or _PORT
    if scheme not in ("tcp", "tls"):
        raise BadInput(f"--scheduler: {scheme}:// is not supported", hint=_HINT)
    if scheme == "tcp" and certificates:
        raise BadInput("--scheduler: tcp:// would not use the certificates", hint=f"Write tls://{host}:{port}.")
    loopback = _loopback(host)
    if certificates is None and (scheme == "tls" or loopback is None):
        reason = "tls:// needs certificates" if scheme == "tls" else "not loopback, so it needs encryption"
        raise BadInput(
            f"--scheduler {config.scheduler}: {reason}",
            hint=f"Give {_CERTIFICATES}; only 127.0.0.1, [::1] and localhost go without.",
        )
    return Link(address=f"{scheme}://{loopback or host}:{port}", listen=loopback, certificates=certificates)


def reach(link: Link) -> None:
    """Check that something answers: faster than Dask, which retries for long, and with the reason.

    Raises:
        OSError: no answer, or the certificates are not of the authority.
    """
    parts = _ADDRESS.fullmatch(link.address)
    assert parts is not None  # noqa: S101 - link() made it
    with socket.create_connection((parts["host"].strip("[]"), int(parts["port"])), TIMEOUT) as plain:
        if link.certificates is not None:
            _context(*link.certificates).wrap_socket(plain).close()


def _context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """Return the TLS context that Dask uses: a certificate of the authority, with any name."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    # never prompts for a passphrase: nobody sits at a worker
    context.load_cert_chain(str(cert), str(key), password=lambda: b"")
    return context


def _loopback(host: str) -> str | None:
    """Return the loopback address of a host; None if it is, or may be, another machine."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ipaddress.ip_address(host.strip("[]")).is_loopback else None
    except ValueError:
        return None  # a name: the network decides its address


def _certificates(config: RunConfig) -> tuple[Path, Path, Path] | None:
    """Return the three files after loading them; None if none is given."""
    ca, cert, key = config.tls_ca, config.tls_cert, config.tls_key
    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise BadInput(f"{_CERTIFICATES} go together; some are missing", hint="Give all three.")
    for path, option in ((ca, "--tls-ca"), (cert, "--tls-cert"), (key, "--tls-key")):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadInput(f"{option}: {path} cannot be read: {error.strerror}") from error
    try:
        _context(ca, cert, key)
    except (ssl.SSLError, ValueError) as error:
        raise BadInput(
            f"{_CERTIFICATES} cannot be used: {error}", hint="Give PEM files, the key without a passphrase."
        ) from error
    return ca, cert, key
