"""Dask, set up the way the kit uses it. Imported late: it takes half a second."""

from __future__ import annotations

from typing import Any

from kit.cluster.security import TIMEOUT, Link

#: Dask and what it stands on say nothing on their own: whatever matters, the kit says.
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
    """The package ``distributed``, quiet and without what the kit has no use for."""
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
    """What Dask is to demand of its peers; None on loopback, where no certificates were given."""
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
