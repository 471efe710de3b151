"""Rules of a cluster: encryption, the choice of workers, and checks of what they send back."""

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
from kit.core.values import Scorer, Source, Teacher
from kit.corpus.make.diskwait import DiskWait
from kit.corpus.make.produce import Bench
from kit.corpus.make.schedule import Schedule
from kit.corpus.store import cellfile
from kit.corpus.store.cellfile import CellRows
from kit.corpus.store.shard import cell_files
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
def test_loopback_needs_no_certificates(text: str, address: str, listen: str) -> None:
    assert link(config(scheduler=text)) == Link(address=address, listen=listen, certificates=None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"scheduler": "10.0.0.1:8786"}, "not loopback"),
        ({"scheduler": "tcp://192.168.1.7"}, "not loopback"),
        ({"scheduler": "0.0.0.0:8786"}, "not loopback"),
        ({"scheduler": "[::]:8786"}, "not loopback"),
        ({"scheduler": "attic:8786"}, "not loopback"),
        ({"scheduler": "localhost.example:8786"}, "not loopback"),
        ({"scheduler": "127.0.0.1.example"}, "not loopback"),
        ({"scheduler": "2130706433"}, "not loopback"),
        ({"scheduler": "tls://127.0.0.1:8786"}, "certificates"),
        ({"scheduler": "ws://127.0.0.1:8786"}, "ws://"),
        ({"scheduler": "inproc://127.0.0.1"}, "inproc://"),
        ({"scheduler": "127.0.0.1:99999"}, "'127.0.0.1:99999'"),
        ({"scheduler": "127.0.0.1:8786/x"}, "'127.0.0.1:8786/x'"),
        ({"scheduler": "a b:1"}, "'a b:1'"),
        ({"scheduler": ""}, "''"),
        ({"tls_ca": "/ca.pem", "worker_wait": "3"}, "--tls-ca, --worker-wait"),
        ({"scheduler": "tls://h", "tls_ca": "/ca.pem"}, "--tls-cert"),
        (
            {"scheduler": "tls://h", "tls_ca": "/nowhere", "tls_cert": "/nowhere", "tls_key": "/nowhere"},
            "--tls-ca: /nowhere",
        ),
    ],
)
def test_an_invalid_or_unencrypted_address_is_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        link(config(**given))


def test_invalid_certificates_are_refused(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("x")
    files = {f"tls_{name}": str(tmp_path / name) for name in ("ca", "cert", "key")}
    with pytest.raises(BadInput, match="--tls-ca"):
        link(config(scheduler="tls://h", **files))


def test_no_scheduler_gives_no_link() -> None:
    assert link(config()) is None


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    unused = Link(address=f"tcp://127.0.0.1:{port}", listen="127.0.0.1", certificates=None)
    with pytest.raises(PrerequisiteFailed, match=unused.address), connected(unused):
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


def test_a_box_offers_each_family_separately() -> None:
    offers = offers_of(
        box="attic",
        platform_tag="p",
        teacher=CANONICAL,
        scorer=SCORER,
        everywhere=["hevc_nvenc"],
        places=16,
        encoders=[ready("hevc_nvenc", family="nvenc", max_parallel=3), ready(), ready("libsvtav1")],
        sources=["a"],
    )
    assert {family: one.places for family, one in offers.items()} == {"nvenc": 3, "software": 16}
    assert [encoder.anchor_only for one in offers.values() for encoder in one.encoders] == [False, True, True]
    assert set(offers["nvenc"].resources.values()) == {3.0}
    worker = {STARTUP: json.loads(json.dumps(offers["nvenc"].as_json)), "resources": offers["nvenc"].resources}
    assert read(worker) == offers["nvenc"]
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
def test_a_resource_is_named_by_everything_that_decides_numbers(change: dict[str, Any]) -> None:
    assert offer(**change).resource(offered()) != offer().resource(offered())
    assert offer(box="cellar", platform="q", places=7).resource(offered()) == offer().resource(offered())
    for encoder in (offered(build="libx264 2"), offered(variant="cqp")):
        assert offer().resource(encoder) != offer().resource(offered())


def test_one_build_of_an_encoder_makes_all_cells() -> None:
    old, new = offered(build="x264 164"), offered(build="x264 165")
    more_clips = [offer(old, places=16, sources=("a",)), offer(new, places=1)]
    assert choose(more_clips, clips("a", "b"))["libx264"].encoder == new
    more_places = [offer(old, places=3), offer(new, places=2), offer(new, places=2, box="cellar")]
    assert choose(more_places, clips("a", "b"))["libx264"].encoder == new
    assert choose(more_places[:2], clips("a", "b"))["libx264"].encoder == old
    # the order does not matter
    assert choose(more_places[1::-1], clips("a"))["libx264"].encoder == old


def test_cells_have_the_keys_of_the_boxes_that_make_them() -> None:
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
    ("change", "values"),
    [
        ({}, []),
        ({"kit_version": "0"}, ["kit version", " 0,", __version__]),
        ({"scorer_id": "cuda/golden-1"}, ["cuda/golden-1", "cpu/golden-1"]),
        ({"teacher": {"id": "vmaf_4k_v0.6.1", "sha256": None}}, ["vmaf_4k_v0.6.1", "vmaf_v0.6.1"]),
        ({"teacher": {"id": None, "sha256": "b" * 64}}, ["bbbbbbbbbbbb", "vmaf_v0.6.1"]),
    ],
)
def test_a_worker_that_scores_differently_is_not_used(change: dict[str, Any], values: list[str]) -> None:
    reason = objection(offer(**change), scorer=SCORER, teacher=Teacher(id=contract.DEFAULT_TEACHER))
    assert all(value in reason for value in values)
    assert bool(reason) == bool(values)


@pytest.mark.parametrize("theirs", [{"flat": 97.0}, {"flat": 97.0, "natural": 90.003}])
def test_a_scorer_with_other_golden_answers_ends_the_run(theirs: Mapping[str, float]) -> None:
    reply.check_golden("attic", GOLDEN | {"natural": 90.001}, GOLDEN)
    with pytest.raises(PrerequisiteFailed, match="attic"):
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


def answer(rows: CellRows, **observed: Any) -> dict[str, Any]:
    """Return a worker's reply."""
    parquet, document = cell_files(rows, [OBSERVED | observed])
    return {"parquet": parquet, "observed": document, "golden": GOLDEN}


def test_the_requested_cell_is_accepted() -> None:
    cell = plan(["A"], cqs=[25])[0]
    rows, observed = reply.check_cell(answer(rows_of(cell)), cell, "local")
    assert cellfile.file_bytes(rows) == cellfile.file_bytes(rows_of(cell))
    assert observed == OBSERVED


def labels(**change: str) -> Callable[[CellRows], CellRows]:
    return lambda rows: replace(rows, labels={**rows.labels, **change})


def facts(**change: object) -> Callable[[CellRows], CellRows]:
    return lambda rows: replace(rows, facts={**rows.facts, **change})


@pytest.mark.parametrize(
    ("change", "named"),
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
def test_another_cell_is_refused(change: Callable[[CellRows], CellRows], named: str) -> None:
    cell = plan(["A"], cqs=[25])[0]
    with pytest.raises(CheckFailed, match=named):
        reply.check_cell(answer(change(rows_of(cell))), cell, "local")


def observed(*observations: Any) -> dict[str, bytes]:
    document = json.loads(answer(rows_of(plan(["A"], cqs=[25])[0]))["observed"])
    return {"observed": json.dumps({**document, "observations": observations}).encode()}


@pytest.mark.parametrize(
    "damage",
    [
        {"parquet": b"PAR1"},
        {"parquet": None},
        {"observed": b"{"},
        {"observed": b"[]"},
        {"observed": b"{}"},
        {"golden": None},
        {"golden": {"flat": "97"}},
        observed(),
        observed(OBSERVED, OBSERVED),
        observed([]),
        observed({}),
        observed(OBSERVED | {"seconds": "1"}),
        observed(OBSERVED | {"box": None}),
        observed(OBSERVED | {"box": "../up"}),
        observed(OBSERVED | {"kit_version": "\x1b[2J"}),
        observed(OBSERVED | {"host": "attic.example"}),
    ],
    ids=range(16),
)
def test_an_invalid_reply_is_refused(damage: dict[str, Any]) -> None:
    cell = plan(["A"], cqs=[25])[0]
    reply.check_cell(answer(rows_of(cell)) | observed(OBSERVED), cell, "local")
    with pytest.raises(CheckFailed):
        reply.check_cell(answer(rows_of(cell)) | damage, cell, "local")


def test_a_reported_failure_is_that_of_the_requested_cell() -> None:
    cell = plan(["A"], cqs=[25])[0]
    report = {"key": "other", "source": "B", "reason": "r", "command": "c", "stderr_tail": "s", "tries": 4}
    failed = reply.reported_failure(report, cell)
    assert (failed.key, failed.source, failed.reason, failed.tries) == (cell.key, "A", "r", 4)
    assert "'command'" in reply.reported_failure({"reason": "r"}, cell).reason


# --------------------------------------------------------------------------------------------------- workers


def maker(tmp_path: Path, ffmpeg: Ffmpeg, *sources: Source) -> Maker:
    processes = Processes()
    return Maker(
        bench=Bench(ffmpeg=ffmpeg, processes=processes, folder=tmp_path, box="attic", platform="p", corpus=""),
        disk=DiskWait(tmp_path, say=lambda _: None, pause=processes.pause, patience=0),
        schedule=Schedule([], cost=lambda _: 0.0, limits={"software": None}, workers=1, cores=1),
        sources=sources,
        encoders=[ready()],
        teacher=CANONICAL,
        scorer=SCORER,
    )


def test_a_worker_makes_the_requested_cell_only(tmp_path: Path, ffmpeg: Ffmpeg) -> None:
    cell = plan(["A"], cqs=[25])[0]
    request = {
        "key": cell.key,
        "src_sha256": cell.source.sha256,
        "encoder": "libx264",
        "cq": 25,
        "label": "A",
        "group": "A",
        "corpus": "local",
        "stall_timeout": 60.0,
    }
    elsewhere = maker(tmp_path, ffmpeg).make(request)
    assert cell.source.sha256[:12] in elsewhere["failed"]["reason"]
    other = maker(tmp_path, ffmpeg, cell.source).make(request)  # of another build
    assert f"expected {cell.key[:12]}" in other["failed"]["reason"]
