"""The registry of data sets. A new one is a module, a line here and its name in ``contract.DATASETS``."""

from __future__ import annotations

from kit.video.datasets.base import Dataset
from kit.video.datasets.bvi_dvc import BviDvc
from kit.video.datasets.konvid_1k import Konvid1k
from kit.video.datasets.npd import Npd
from kit.video.datasets.plain import PlainFolder
from kit.video.sources.scan import Listing

#: In the order of recognition; the plain folder accepts the rest.
DATASETS: tuple[Dataset, ...] = (
    Npd(),
    BviDvc(),
    Konvid1k(),
    PlainFolder(),
)


def choose(listing: Listing, requested: str) -> tuple[Dataset, str]:
    """Return the requested data set, or for ``auto`` the first that recognises the folder, and the reason."""
    if requested != "auto":
        dataset = next(dataset for dataset in DATASETS if dataset.name == requested)
        reason = "" if requested == "dir" else dataset.recognise(listing) or "few of the clips have its names"
        return dataset, f"requested; {reason}".removesuffix("; ")
    return next((dataset, reason) for dataset in DATASETS if (reason := dataset.recognise(listing)))
