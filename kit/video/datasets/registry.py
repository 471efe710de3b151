"""The data sets the kit knows. One more is a module and a line here (and its name in ``contract.DATASETS``)."""

from __future__ import annotations

from kit.video.datasets.base import Dataset
from kit.video.datasets.bvi_dvc import BviDvc
from kit.video.datasets.konvid_1k import Konvid1k
from kit.video.datasets.npd import Npd
from kit.video.datasets.plain import PlainFolder
from kit.video.sources.scan import Listing

#: In the order they are tried; the plain folder takes what is left.
DATASETS: tuple[Dataset, ...] = (
    Npd(),
    BviDvc(),
    Konvid1k(),
    PlainFolder(),
)


def choose(listing: Listing, asked: str) -> tuple[Dataset, str]:
    """The data set asked for, or for ``auto`` the first that recognises the folder; and why."""
    if asked != "auto":
        dataset = next(dataset for dataset in DATASETS if dataset.name == asked)
        seen = "" if asked == "dir" else dataset.recognise(listing) or "few of the clips have its names"
        return dataset, f"asked for; {seen}".removesuffix("; ")
    return next((dataset, reason) for dataset in DATASETS if (reason := dataset.recognise(listing)))
