"""Who may talk to whom, which worker may make which cell, and what is believed of what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit import __version__
from kit.cluster import choice, reply
from kit.cluster.choice import choose, needs, objection, points
from kit.cluster.client import connected
from kit.cluster.maker import Maker
from kit.cluster.offer import STARTUP, Offer, OfferedEncoder, offers_of, read
from kit.cluster.security import Link, link
from kit.core import contract
from kit.core.errors import BadInput, CheckFailed, PrerequisiteFailed
from kit.core.values import Cell, Scorer, Source, Teacher
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench, geometry_facts
from kit.corpus.make.schedule import Schedule
from kit.corpus.store import cellfile
from kit.corpus.store.cellfile import CellRows
from kit.options import table
from kit.options.resolve import RunConfig, complete
from kit.options.run_table import RUN
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers.teachers import CANONICAL
from tests.corpus.builders import plan, rows_of
from tests.platforms.builders import ready

GOLDEN = {"flat": 97.0, "natural": 90.0}
SCORER = Scorer(id="cpu/golden-1", version="3", golden=GOLDEN)


def config(**given: str) -> RunConfig:
    values, origins = table.resolve(RUN, command_line=given)
    return complete(values, origins, out_dir=Path("/run"), box="b", box_origin="")


# ------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "address", "listen"),
    [
        ("127.0.0.1:8786", "tcp://127.0.0.1:8786", "127.0.0.1"),
        ("tcp://127.0.0.7:1", "tcp://127.0.0.7:1", "127.0.0.7"),
        ("localhost", "tcp://127.0.0.1:8786", "127.0.0.1"),
        ("[::1]:99", "tcp://[::1]:99", "[::1]"),
    ],
)
def test_loopback_goes_without_certificates(text: str, address: str, listen: str) -> None:
    assert link(config(scheduler=text)) == Link(address=address, listen=listen, certificates=None)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"scheduler": "10.0.0.1:8786"}, "this is not loopback"),
        ({"scheduler": "tcp://192.168.1.7"}, "this is not loopback"),
        ({"scheduler": "0.0.0.0:8786"}, "this is not loopback"),
        ({"scheduler": "[::]:8786"}, "this is not loopback"),
        ({"scheduler": "attic:8786"}, "this is not loopback"),
        ({"scheduler": "localhost.example:8786"}, "this is not loopback"),
        ({"scheduler": "127.0.0.1.example"}, "this is not loopback"),
        ({"scheduler": "2130706433"}, "this is not loopback"),
        ({"scheduler": "tls://127.0.0.1:8786"}, "tls:// needs certificates"),
        ({"scheduler": "ws://127.0.0.1:8786"}, "ws:// is not supported"),
        ({"scheduler": "inproc://127.0.0.1"}, "inproc:// is not supported"),
        ({"scheduler": "127.0.0.1:99999"}, "is no address"),
        ({"scheduler": "127.0.0.1:8786/x"}, "is no address"),
        ({"scheduler": "a b:1"}, "is no address"),
        ({"scheduler": ""}, "is no address"),
        ({"tls_ca": "/ca.pem", "worker_wait": "3"}, "--tls-ca, --worker-wait: no effect without --scheduler"),
        ({"scheduler": "tls://h", "tls_ca": "/ca.pem"}, "not all of them are given"),
        (
            {"scheduler": "tls://h", "tls_ca": "/nowhere", "tls_cert": "/nowhere", "tls_key": "/nowhere"},
            "--tls-ca: /nowhere cannot be read",
        ),
    ],
)
def test_what_would_not_be_encrypted_is_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        link(config(**given))


def test_files_that_are_no_certificates_are_refused(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    files = {f"tls_{name}": str(tmp_path / name) for name in ("ca", "cert", "key")}
    with pytest.raises(BadInput, match="cannot be used"):
        link(config(scheduler="tls://h", **files))


def test_no_cluster_is_asked_for() -> None:
    assert link(config()) is None


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    way = Link(address=f"tcp://127.0.0.1:{port}", listen="127.0.0.1", certificates=None)
    with pytest.raises(PrerequisiteFailed, match=f"no scheduler answers at {way.address}"), connected(way):
        pass


# ---------------------------------------------------------------------------------------------------- offers


def offered(name: str = "libx264", **facts: Any) -> OfferedEncoder:
    values = {
        "name": name,
        "family": "software",
        "build": f"{name} 1",
        "variant": "",
        "megapixels_per_second": 1.0,
        "anchor_only": False,
    }
    return OfferedEncoder(**(values | facts))


def offer(*encoders: OfferedEncoder, sources: tuple[str, ...] = ("a", "b"), **facts: Any) -> Offer:
    values = {
        "box": "attic",
        "platform": "p",
        "architecture": "x86_64",
        "kit_version": __version__,
        "teacher": CANONICAL.identity,
        "scorer_id": SCORER.id,
        "golden": GOLDEN,
        "places": 2,
    }
    return Offer(**(values | facts), encoders=encoders or (offered(),), sources=frozenset(sources))


def clips(*hashes: str) -> list[Source]:
    return [replace(plan([digest])[0].source, sha256=digest) for digest in hashes]


def test_a_box_offers_each_family_for_itself() -> None:
    found = offers_of(
        box="attic",
        platform_tag="p",
        teacher=CANONICAL,
        scorer=SCORER,
        everywhere=["hevc_nvenc"],
        places=16,
        encoders=[ready("hevc_nvenc", family="nvenc", max_parallel=3), ready(), ready("libsvtav1")],
        sources=["a"],
    )
    assert {family: one.places for family, one in found.items()} == {"nvenc": 3, "software": 16}
    assert [encoder.anchor_only for one in found.values() for encoder in one.encoders] == [False, True, True]
    assert set(found["nvenc"].resources.values()) == {3.0}
    worker = {STARTUP: json.loads(json.dumps(found["nvenc"].told)), "resources": found["nvenc"].resources}
    assert read(worker) == found["nvenc"]
    assert read({"resources": {}}) is None
    assert read({**worker, STARTUP: {"box": "attic"}}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "aarch64"},
        {"scorer_id": "cuda/golden-1"},
        {"kit_version": "0"},
        {"teacher": {"id": "vmaf_v0.6.1neg", "sha256": None}},
    ],
)
def test_what_decides_numbers_is_in_the_name_of_a_resource(change: dict[str, Any]) -> None:
    assert offer(**change).resource(offered()) != offer().resource(offered())
    assert offer(box="cellar", platform="q", places=7).resource(offered()) == offer().resource(offered())
    for encoder in (offered(build="libx264 2"), offered(variant="cqp")):
        assert offer().resource(encoder) != offer().resource(offered())


def test_one_build_of_an_encoder_is_used_throughout() -> None:
    old, new = offered(build="x264 164"), offered(build="x264 165")
    more_clips = [offer(old, places=16, sources=("a",)), offer(new, places=1)]
    assert choose(more_clips, clips("a", "b"))["libx264"].encoder == new
    more_places = [offer(old, places=3), offer(new, places=2), offer(new, places=2, box="cellar")]
    assert choose(more_places, clips("a", "b"))["libx264"].encoder == new
    assert choose(more_places[:2], clips("a", "b"))["libx264"].encoder == old
    # the same whatever the order
    assert choose(more_places[1::-1], clips("a"))["libx264"].encoder == old


def test_the_cells_have_the_keys_of_the_boxes_that_make_them() -> None:
    arm = offered("hevc_videotoolbox", family="videotoolbox", build="M4")
    offers = [offer(offered(anchor_only=True)), offer(arm, architecture="arm64")]
    chosen, wanted = choose(offers, clips("a")), points(offers, (25,), anchor=True)
    assert wanted == (("hevc_videotoolbox", 25), ("libx264", 31))
    cells = choice.plan(chosen, wanted, clips("a"), teacher=CANONICAL, scorer=SCORER)
    facts = {cell.settings.encoder: (cell.keyed["architecture"], cell.keyed["encoder_build"]) for cell in cells}
    assert facts == {"libx264": ("x86_64", "libx264 1"), "hevc_videotoolbox": ("arm64", "M4")}
    for cell in cells:
        able = [one.encoders for one in offers if needs(cell, chosen).keys() <= one.resources.keys()]
        assert [encoder.name for (encoder,) in able] == [cell.settings.encoder]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"kit_version": "0"}, f"version 0 of the kit, here is {__version__}"),
        ({"scorer_id": "cuda/golden-1"}, "its scorer is cuda/golden-1, here it is cpu/golden-1"),
        ({"teacher": {"id": "vmaf_4k_v0.6.1", "sha256": None}}, "its teacher is vmaf_4k_v0.6.1, here it is vmaf_v0.6"),
        ({"teacher": {"id": None, "sha256": "b" * 64}}, "its teacher is a file with SHA-256 bbbbbbbbbbbb"),
    ],
)
def test_why_a_worker_is_not_used(change: dict[str, Any], told: str) -> None:
    found = objection(offer(**change), scorer=SCORER, teacher=Teacher(id=contract.DEFAULT_TEACHER))
    assert told in found
    assert bool(found) == bool(told)


@pytest.mark.parametrize("theirs", [{"flat": 97.0}, {"flat": 97.0, "natural": 90.003}])
def test_a_scorer_that_answers_otherwise_ends_the_run(theirs: Mapping[str, float]) -> None:
    reply.check_golden("attic", GOLDEN | {"natural": 90.001}, GOLDEN)
    with pytest.raises(PrerequisiteFailed, match="the worker attic scores the golden pairs otherwise"):
        reply.check_golden("attic", theirs, GOLDEN)


# --------------------------------------------------------------------------------------------------- replies

OBSERVED = {
    "box": "attic",
    "platform": "p",
    "kit_version": "1",
    "ffmpeg_version": "8",
    "scorer_version": "3",
    "stream_sha256": "a",
    "started_at_utc": "2026-01-31T12:00:00Z",
    "seconds": 1.5,
}


def made(cell: Cell) -> CellRows:
    """The rows of a cell as a worker leaves them."""
    rows = rows_of(cell)
    facts = {
        **cell.keyed,
        "geometry": geometry_facts(cell.source.geometry),
        "converted": False,
        "encoded_bytes": 99,
        "content_sha256": rows.content_sha256(),
    }
    return replace(rows, facts=facts)


def answer(rows: CellRows, **observed: Any) -> dict[str, Any]:
    note = json.dumps({"observations": [OBSERVED | observed]})
    return {"parquet": cellfile.file_bytes(rows), "observed": note.encode(), "golden": GOLDEN}


def test_a_cell_that_was_asked_for_is_taken() -> None:
    cell = plan(["A"], cqs=[25])[0]
    rows, observed = reply.rows_of(answer(made(cell)), cell, "local")
    assert cellfile.file_bytes(rows) == cellfile.file_bytes(made(cell))
    assert observed == OBSERVED


def labels(**change: str) -> Callable[[CellRows], CellRows]:
    return lambda rows: replace(rows, labels={**rows.labels, **change})


def facts(**change: object) -> Callable[[CellRows], CellRows]:
    return lambda rows: replace(rows, facts={**rows.facts, **change})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (labels(src="../B"), "src differ"),
        (labels(corpus="demo"), "corpus differ"),
        (labels(cell_key="0" * 64), "cell_key differ"),
        (labels(encoder="libx265"), "encoder differ"),
        (lambda rows: replace(rows, cq=26), "cq differ"),
        (lambda rows: replace(rows, vmaf=rows.vmaf[:4], features=rows.features[:4]), "frames, content_sha256 differ"),
        (lambda rows: replace(rows, vmaf=rows.vmaf + 1), "content_sha256 differ"),
        (facts(encoder_build="x264 1"), "encoder_build differ"),
        (facts(scorer_id="cuda/golden-1"), "scorer_id differ"),
        (facts(home="/home/x"), "home differ"),
        (facts(encoded_bytes="many"), "many encoded bytes"),
        (facts(encoded_bytes=0), "0 encoded bytes"),
    ],
)
def test_another_cell_is_not_taken(change: Callable[[CellRows], CellRows], told: str) -> None:
    cell = plan(["A"], cqs=[25])[0]
    with pytest.raises(CheckFailed, match=told):
        reply.rows_of(answer(change(made(cell))), cell, "local")


@pytest.mark.parametrize(
    "broken",
    [
        {"parquet": b"PAR1"},
        {"parquet": None},
        {"observed": b"{"},
        {"observed": b"[]"},
        {"golden": None},
        {"golden": {"flat": "97"}},
        {"observed": json.dumps({"observations": [OBSERVED, OBSERVED]}).encode()},
        {"observed": json.dumps({"observations": [OBSERVED | {"seconds": "1"}]}).encode()},
        {"observed": json.dumps({"observations": [OBSERVED | {"host": "attic.example"}]}).encode()},
    ],
    ids=range(9),
)
def test_a_broken_answer_is_not_taken(broken: dict[str, Any]) -> None:
    cell = plan(["A"], cqs=[25])[0]
    with pytest.raises(CheckFailed):
        reply.rows_of(answer(made(cell)) | broken, cell, "local")


def test_a_failure_is_told_as_that_of_the_cell_that_was_asked_for() -> None:
    cell = plan(["A"], cqs=[25])[0]
    told = {"key": "other", "source": "B", "reason": "r", "command": "c", "stderr_tail": "s", "tries": 4}
    found = reply.failure_of(told, cell)
    assert (found.key, found.source, found.reason, found.tries) == (cell.key, "A", "r", 4)
    assert "cannot be read" in reply.failure_of({"reason": "r"}, cell).reason


# -------------------------------------------------------------------------------------- workers and no workers


def maker(tmp_path: Path, ffmpeg: Ffmpeg, *sources: Source) -> Maker:
    processes = Processes()
    return Maker(
        bench=Bench(ffmpeg=ffmpeg, processes=processes, folder=tmp_path, box="attic", platform="p", corpus=""),
        disk=DiskWait(tmp_path, say=lambda _: None, pause=processes.pause, patience=0),
        schedule=Schedule([], cost=lambda _: 0.0, places={"software": None}, workers=1, cores=1),
        sources=sources,
        encoders=[ready()],
        teacher=CANONICAL,
        scorer=SCORER,
    )


def test_a_worker_makes_no_other_cell_than_the_one_that_is_meant(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    cell = plan(["A"], cqs=[25])[0]
    job = {
        "key": cell.key,
        "src_sha256": cell.source.sha256,
        "encoder": "libx264",
        "cq": 25,
        "label": "A",
        "group": "A",
        "corpus": "local",
        "stall_timeout": 60.0,
    }
    elsewhere = maker(tmp_path, ffmpeg).make(job)
    assert "attic has no clip with the content" in elsewhere["failed"]["reason"]
    other = maker(tmp_path, ffmpeg, cell.source).make(job)  # its build is another one
    assert f"expected {cell.key[:12]}" in other["failed"]["reason"]
