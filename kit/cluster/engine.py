"""Import and configure Dask, late since its import takes half a second."""

from __future__ import annotations

from typing import Any

from kit.cluster.security import TIMEOUT, Link

#: Loggers of Dask and its dependencies that are silenced; the kit reports what matters.
_SILENT = (
    "distributed",
    "distributed.client",
    "distributed.gc",
    "distributed.worker",
    "tornado",
    "tornado.application",
    "bokeh",
)


def load() -> Any:
    """Return the package ``distributed``, silenced and without features that the kit does not use."""
    import dask

    dask.config.set(
        {
            "logging": dict.fromkeys(_SILENT, "critical"),
            "distributed.comm.timeouts.connect": f"{TIMEOUT}s",
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.gil.enabled": False,
            "distributed.diagnostics.nvml": False,
        }
    )
    import distributed

    return distributed


def security(link: Link) -> Any:
    """Return what Dask demands of its peers; None on loopback without certificates."""
    if link.certificates is None:
        return None
    ca, cert, key = map(str, link.certificates)
    return load().Security(
        require_encryption=True,
        tls_ca_file=ca,
        tls_client_cert=cert,
        tls_client_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
    )
