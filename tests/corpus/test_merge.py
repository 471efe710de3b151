"""Merging: any order and grouping gives the same shard; inputs that cannot be one corpus are refused by name."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kit.core import contract
from kit.core.errors import BadInput, CheckFailed, Several
from kit.core.values import Cell, Teacher
from kit.corpus.exchange.importing import import_rows
from kit.corpus.inspect.status import status
from kit.corpus.merge.merging import BoxesDisagree, Result, merge
from kit.corpus.store import cellfile
from kit.corpus.store.alike import lines
from kit.corpus.store.shard import (
    FailedCell,
    Shard,
    observations,
    observed_path,
    read_manifest,
    read_rows,
    write_manifest,
)
from kit.options.session import KIT_ROOT
from kit.system import validation
from kit.video.fingerprints.fingerprint import Fingerprint
from tests.cli.builders import Kit
from tests.corpus.builders import MADE, altered, bundle_of, plan, shard_of, write
from tests.corpus.builders import rows as scored_rows
from tests.video.builders import made_fingerprint

V1 = Teacher(id="vmaf_v1.0.16_3d0h")


def join(*folders: Path, out: Path, drop: bool = False, assumed: Teacher | None = None) -> Result:
    return merge(folders, out, drop=drop, assumed=assumed, workers=2)


def renamed(cells: Sequence[Cell], label: dict[str, str], group: dict[str, str]) -> tuple[Cell, ...]:
    """Return cells of the same sources under other names."""
    result = []
    for cell in cells:
        own = label.get(cell.source.label, cell.source.label)
        file = replace(cell.source.file, label=own)
        result.append(replace(cell, source=replace(cell.source, file=file, group=group.get(own, own))))
    return tuple(result)


def failed(cell: Cell, *, tries: int = 3) -> FailedCell:
    return FailedCell.of(cell, "exit status 1", command="ffmpeg", stderr_tail="\x1b[31mno", tries=tries)


def jsonl(path: Path, *sources: str, shift: float = 0.0) -> Path:
    lines = [
        {
            "src": src,
            "encoder": "libx264",
            "cq": cq,
            "enc_bytes": 10,
            "enc_time_ms": 1.5,
            "frame_index": frame,
            "vmaf": 90.0 - cq + frame + shift,
            **dict.fromkeys(contract.FEATURES, 0.5),
        }
        for src in sources
        for cq in (19, 37)
        for frame in range(3)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def files(folder: Path, *, but: str = "merge.json") -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != but
    }


@pytest.fixture
def four(tmp_path: Path) -> list[Path]:
    """Write four inputs that overlap in names, groups, builds, boxes, failures, and rows without identity."""
    first = plan(("Highway", "Park", "ElFuente1"), cqs=(25, 31))
    second = renamed(
        plan(("Highway", "Sea", "ElFuente1"), cqs=(31, 37)),
        {"Highway": "Autobahn", "ElFuente1": "F"},
        {"Autobahn": "Road", "Sea": "Road", "F": "ElFuente"},
    )
    third = renamed(
        plan(("Highway", "ElFuente2"), cqs=(31,), architecture="arm64"), {"Highway": "Zoo"}, {"ElFuente2": "ElFuente"}
    )
    other = plan(("Park",), cqs=(31,), content="another park")
    gone = plan(("Highway",), encoders=("libx265",), cqs=(25, 31), build="x265 1")
    shard_of(tmp_path / "a", first, [failed(cell, tries=number) for number, cell in enumerate(gone)], box="anna")
    shard_of(tmp_path / "b", (*second, *renamed(gone[:1], {"Highway": "Autobahn"}, {"Autobahn": "Road"})), box="bert")
    shard_of(tmp_path / "c", (*third, *other), [replace(failed(gone[1], tries=7), source="Zoo")], box="carl")
    import_rows(jsonl(tmp_path / "rows.jsonl", "Sea", "Lake"), tmp_path / "d", groups_file=None, check_scores=False)
    return [tmp_path / name for name in "abcd"]


@pytest.mark.essential
def test_any_order_and_any_grouping_give_the_same_shard(four: list[Path], tmp_path: Path) -> None:
    assumed = MADE
    whole = files(join(*four, out=tmp_path / "whole", assumed=assumed).shard.folder)
    assert len([name for name in whole if name.endswith(".parquet")]) == 18
    number = itertools.count()

    def merged(*parts: Path) -> Path:
        out = tmp_path / f"m{next(number)}"
        teachers = {read_manifest(part).teacher for part in parts}
        join(*parts, out=out, assumed=assumed if None in teachers else None)
        return out

    for order in itertools.permutations(four):
        assert files(merged(*order)) == whole
    a, b, c, d = four
    groupings: list[Path] = []
    for w, x, y, z in ((a, b, c, d), (d, c, b, a), (b, d, a, c)):
        groupings += [
            merged(merged(merged(w, x), y), z),
            merged(w, merged(x, merged(y, z))),
            merged(merged(w, x), merged(y, z)),
            merged(w, x, merged(y, z)),
            merged(merged(w), x, merged(w, y), z, z),
        ]
    for folder in groupings:
        assert files(folder) == whole


def test_written_files_conform_to_their_schemas(four: list[Path], tmp_path: Path) -> None:
    join(*four, out=tmp_path / "m", assumed=MADE)
    cells = plan(("Highway",), cqs=(25, 31))
    shard_of(tmp_path / "e", cells, box="emil")
    shard_of(tmp_path / "f", cells, box="frida", rows=lambda cell: altered(cell, 0.5 * (cell.settings.cq == 25)))
    join(tmp_path / "e", tmp_path / "f", out=tmp_path / "n", drop=True)
    for folder in (*four, tmp_path / "m", tmp_path / "n"):
        schemas = {
            "shard": "shard.json",
            "groups": "groups.json",
            "merge": "merge.json",
            "observed": "**/*.observed.json",
        }
        for schema, pattern in schemas.items():
            for path in folder.glob(pattern):
                assert validation.problems(schema, json.loads(path.read_text())) == [], path
    report = json.loads((tmp_path / "n" / "merge.json").read_text())
    assert (len(report["conflicts"]), len(report["overlap"])) == (1, 1)
    assert json.loads((tmp_path / "m" / "merge.json").read_text())["renamed"]


def test_names_are_resolved_by_rule_and_reported(four: list[Path], tmp_path: Path) -> None:
    result = join(*four, out=tmp_path / "m", assumed=MADE)
    park = plan(("Park",))[0].source.sha256
    other = plan(("Park",), content="another park")[0].source.sha256
    groups = {str(source["label"]): str(source["group"]) for source in result.shard.sources}
    assert groups == {
        # the smallest of its names; the imported Sea may be that of bert, so they are held out together
        "Autobahn": "Road",
        f"Sea-{plan(('Sea',))[0].source.sha256[:8]}": "Road",
        "Sea": "Road",
        # anna has only one ElFuente clip, carl the other: one group by name
        "ElFuente1": "ElFuente",
        "ElFuente2": "ElFuente",
        f"Park-{park[:8]}": f"Park-{park[:8]}",
        f"Park-{other[:8]}": f"Park-{other[:8]}",
        "Lake": "Lake",
    }
    names = {(one.input, one.what, one.before, one.after) for one in result.report.renamed}
    assert ("a", "source", "Highway", "Autobahn") in names
    assert ("a", "group", "ElFuente1", "ElFuente") in names
    assert ("c", "source", "Zoo", "Autobahn") in names
    for entry, rows in read_rows(result.shard):
        assert (
            (rows.labels["src"], rows.labels["group"])
            == (entry.source, entry.group)
            == (entry.source, groups[entry.source])
        )
        assert entry.path.startswith(f"cells/{entry.source}/")
    assert status(result.shard.folder).manifest
    assert not status(result.shard.folder).others


@pytest.mark.essential
def test_a_cell_of_two_boxes_is_kept_once_with_both_observations(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(cqs=(25, 31)), box="anna")
    shard_of(tmp_path / "b", plan(cqs=(31, 37)), box="bert")
    result = join(tmp_path / "a", tmp_path / "b", out=tmp_path / "m")
    report = result.report
    assert (report.cells_in, report.rows_in, report.duplicate_cells, report.duplicate_rows) == (8, 40, 2, 10)
    assert (report.cells, report.rows) == (6, 30)
    boxes = {entry.cq: [one["box"] for one in observations(result.shard, entry)] for entry in result.shard.cells}
    assert boxes == {25: ["anna"], 31: ["anna", "bert"], 37: ["bert"]}
    assert [(box.box, box.cells, box.rows, box.alone) for box in report.boxes] == [
        ("anna", 4, 20, 2),
        ("bert", 4, 20, 2),
    ]
    assert report.encoders["libx264"].cells == 6
    (pair,) = report.overlap
    assert (pair.boxes, pair.anchors, pair.places, pair.same, pair.vmaf) == (("anna", "bert"), 2, 2, 2, 0.0)
    again = join(tmp_path / "m", tmp_path / "a", out=tmp_path / "again")
    assert again.shard.corpus_sha256 == result.shard.corpus_sha256
    stored = json.loads((tmp_path / "m" / "merge.json").read_text())
    assert stored == json.loads(json.dumps(report.as_json()))


def test_a_failed_cell_is_kept_unless_another_input_has_finished_it(four: list[Path], tmp_path: Path) -> None:
    (cell,) = join(*four[:3], out=tmp_path / "m").shard.failed
    assert (cell.source, cell.encoder, cell.cq, cell.tries) == ("Autobahn", "libx265", 31, 7)
    # characters that would act on a terminal are replaced
    assert cell.stderr_tail == "\N{REPLACEMENT CHARACTER}[31mno"


# --------------------------------------------------------------------------------------------- refusals


def refused(*folders: Path, out: Path, **options: Any) -> CheckFailed:
    with pytest.raises(CheckFailed) as error:
        join(*folders, out=out, **options)
    # the attempt leaves nothing behind
    assert not out.exists()
    assert not list(out.parent.glob(".*"))
    return error.value


def test_different_rows_of_one_key_are_a_conflict(tmp_path: Path) -> None:
    cells = plan(cqs=(25, 37))
    wrong = {cells[0].key: 0.25, cells[3].key: 0.5}
    shard_of(tmp_path / "a", cells, box="anna")
    shard_of(tmp_path / "b", cells, box="bert", rows=lambda cell: altered(cell, wrong.get(cell.key, 0.0)))
    error = refused(tmp_path / "a", tmp_path / "b", out=tmp_path / "m")
    assert isinstance(error, BoxesDisagree)
    assert error.message.startswith("2 cells")
    for text in ("Highway/libx264/cq25", cells[0].key[:12], "vmaf by 0.25", "Park/libx264/cq37", "vmaf by 0.5", "anna"):
        assert text in error.message
    assert "--on-conflict drop" in error.hint
    assert [one.cell for one in error.report.conflicts] == ["Highway/libx264/cq25", "Park/libx264/cq37"]
    shard = join(tmp_path / "a", tmp_path / "b", out=tmp_path / "m", drop=True).shard
    assert {entry.key for entry in shard.cells} == {cells[1].key, cells[2].key}
    assert shard.dropped == tuple(sorted(wrong))


def test_a_dropped_cell_does_not_come_back(tmp_path: Path) -> None:
    cells = plan(cqs=(25, 37))
    for name, off in (("a", 0.0), ("b", 0.5), ("c", 0.0)):
        shard_of(
            tmp_path / name, cells, box=name, rows=lambda cell, off=off: altered(cell, off * (cell.key == cells[0].key))
        )  # type: ignore[misc]
    a, b, c = (tmp_path / name for name in "abc")
    join(a, b, out=tmp_path / "ab", drop=True)
    whole = files(join(a, b, c, out=tmp_path / "abc", drop=True).shard.folder)
    assert files(join(tmp_path / "ab", c, out=tmp_path / "ab-c", drop=True).shard.folder) == whole
    assert read_manifest(tmp_path / "abc").dropped == (cells[0].key,)
    error = refused(tmp_path / "ab", c, out=tmp_path / "m")
    assert "an earlier merge" in error.message


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"teacher": V1}, ["teachers", "vmaf_made (a: anna)", "vmaf_v1.0.16_3d0h (b: bert)"]),
        ({"scorer_id": "cuda/golden-1"}, ["scorers", "cpu/golden-1 (anna)", "cuda/golden-1 (bert)"]),
        ({"golden": 0.003}, ["golden pair flat", "anna", "bert", "0.003000", "0.002 at most"]),
    ],
)
def test_different_scoring_is_refused_by_name(tmp_path: Path, facts: dict[str, Any], named: list[str]) -> None:
    keyed = {name: value for name, value in facts.items() if name != "golden"}
    of_shard = {name: value for name, value in facts.items() if name != "scorer_id"}
    shard_of(tmp_path / "a", plan(), box="anna")
    shard_of(tmp_path / "b", plan(**keyed), box="bert", **of_shard)
    error = refused(tmp_path / "a", tmp_path / "b", out=tmp_path / "m")
    for text in named:
        assert text in error.message
    assert error.exit_code == 3


def test_golden_answers_within_the_tolerance_pass_and_missing_ones_do_not(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(), box="anna")
    shard = shard_of(tmp_path / "b", plan(), box="bert", golden=0.0019)
    join(tmp_path / "a", tmp_path / "b", out=tmp_path / "m")
    (box,) = shard.boxes
    write_manifest(replace(shard, boxes=(replace(box, scorers=({**box.scorers[0], "golden": {}},)),)))
    message = refused(tmp_path / "a", tmp_path / "b", out=tmp_path / "n").message
    assert "golden pair flat from bert" in message


def test_another_set_of_features_is_refused(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(), box="anna")
    write_manifest(replace(shard_of(tmp_path / "b", plan(), box="bert"), feature_set="other-9"))
    error = refused(tmp_path / "a", tmp_path / "b", out=tmp_path / "m")
    assert "canonical-6 (a: anna); other-9 (b: bert)" in error.message


def test_different_versions_are_only_reported(tmp_path: Path) -> None:
    for name, version in (("a", "1"), ("b", "2")):
        shard = shard_of(tmp_path / name, plan(), box=name)
        for entry in shard.cells:
            path = observed_path(shard.folder, entry.path)
            value = json.loads(path.read_text())
            value["observations"][0]["ffmpeg_version"] = version
            path.write_text(json.dumps(value))
    report = join(tmp_path / "a", tmp_path / "b", out=tmp_path / "m").report
    assert report.versions["ffmpeg_version"] == {"1": ("a",), "2": ("b",)}


def test_a_damaged_cell_is_refused(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a", plan())
    cellfile.write(shard.folder / shard.cells[0].path, altered(plan()[0], 0.001))
    assert shard.cells[0].path in refused(tmp_path / "a", out=tmp_path / "m").message


# ---------------------------------------------------------------------------------------------- the quorum


def boxes_with(tmp_path: Path, off: dict[str, float], architecture: Callable[[str], str]) -> list[Path]:
    """Write one shard per box; they share the anchors, each has one unique cell and a scorer with an offset."""
    for number, (name, by) in enumerate(off.items()):
        own = plan(("Highway", "Park"), cqs=(31,), architecture=architecture(name))
        own += plan(("Highway",), cqs=(10 + number,), architecture=architecture(name))
        shard_of(tmp_path / name, own, box=name, rows=lambda cell, by=by: altered(cell, by))  # type: ignore[misc]
    return [tmp_path / name for name in off]


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("one_key", [True, False])
def test_a_box_with_a_broken_scorer_is_named(tmp_path: Path, *, drop: bool, one_key: bool) -> None:
    folders = boxes_with(tmp_path, {"anna": 0.0, "bert": -0.0, "carl": -3.0}, lambda name: "x" if one_key else name)
    error = refused(*folders, out=tmp_path / "m", drop=drop)
    assert "anna and carl, 2 of 2 anchors" in error.message
    assert "bert and carl, 2 of 2 anchors" in error.message
    assert "anna and bert" not in error.message
    assert error.hint.startswith("carl disagrees with 2")
    assert isinstance(error, BoxesDisagree)
    differences = {pair.boxes: pair.mean_vmaf for pair in error.report.overlap}
    assert differences["anna", "carl"] > 2
    assert differences["anna", "bert"] < 1


def test_the_same_anchor_has_the_same_numbers(tmp_path: Path) -> None:
    folders = boxes_with(tmp_path, {"anna": 0.0, "bert": 0.01}, lambda _: "x")
    error = refused(*folders, out=tmp_path / "m", drop=True)
    assert "0.002 at most" in error.message


def test_another_build_of_the_anchor_may_differ_a_little(tmp_path: Path) -> None:
    folders = boxes_with(tmp_path, {"anna": 0.0, "bert": -0.2}, lambda name: name)
    (pair,) = join(*folders, out=tmp_path / "m").report.overlap
    assert (pair.anchors, pair.same, pair.disagree) == (2, 0, [])
    assert 0 < pair.mean_vmaf < 1
    assert pair.vmaf_at in ("Highway/libx264/cq31", "Park/libx264/cq31")


def test_pairs_without_a_common_anchor_are_named(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(("Highway",), cqs=(31,)), box="anna")
    shard_of(tmp_path / "b", plan(("Park",), cqs=(31,)), box="bert")
    assert join(tmp_path / "a", tmp_path / "b", out=tmp_path / "m").report.without_anchor == (("anna", "bert"),)


# ------------------------------------------------------------------------------------ rows, bundles, folders


def test_rows_need_an_assumed_teacher(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(), box="anna")
    rows = jsonl(tmp_path / "old.jsonl", "Lake")
    error = refused(tmp_path / "a", rows, out=tmp_path / "m")
    assert "unknown (old.jsonl: unknown); vmaf_made (a: anna)" in error.message
    assert "--assume-teacher" in error.hint
    result = join(tmp_path / "a", rows, out=tmp_path / "m", assumed=MADE)
    assert result.report.assumed_teacher == "vmaf_made"
    assert [(box.box, box.cells) for box in result.shard.boxes] == [(None, 2), ("anna", 4)]
    assert V1.id in refused(tmp_path / "a", rows, out=tmp_path / "n", assumed=V1).message
    with pytest.raises(BadInput, match="--assume-teacher"):
        join(tmp_path / "a", out=tmp_path / "n", assumed=V1)
    named = write(tmp_path / "scored.jsonl", scored_rows())
    assert join(named, named, out=tmp_path / "n").shard.teacher is None


def test_rows_out_of_range_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "old.jsonl", "Lake")
    path.write_text(path.read_text().replace('"motion2": 0.5', '"motion2": 256', 1))
    assert "motion2 is 256 in frame 0" in refused(path, out=tmp_path / "m").message


def test_a_bundle_merges_like_its_shard(tmp_path: Path) -> None:
    shard_of(tmp_path / "run" / "corpus", plan(), box="anna")
    bundle = bundle_of(tmp_path / "ensemble-results-anna.tar.gz", files(tmp_path / "run"))
    shard_of(tmp_path / "b", plan(cqs=(31,)), box="bert")
    one = join(bundle, tmp_path / "b", out=tmp_path / "one")
    two = join(tmp_path / "b", tmp_path / "run", out=tmp_path / "two")
    assert files(one.shard.folder) == files(two.shard.folder)
    assert [(share.name, share.kind) for share in one.report.inputs] == [
        ("ensemble-results-anna.tar.gz", "bundle"),
        ("b", "shard"),
    ]


def test_a_hostile_bundle_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "in"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "evil.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("results/../../../../evil"))
    with pytest.raises(CheckFailed, match=r"evil\.tar\.gz"):
        join(folder / "evil.tar.gz", out=folder / "m")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "evil.tar.gz", "in"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan())
    before = files(tmp_path / "a")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "a", tmp_path / "file", tmp_path / "link"):
        with pytest.raises(BadInput):
            join(tmp_path / "a", out=out)
    with pytest.raises(BadInput, match=str(tmp_path / "a" / "deep" / "m")):
        join(tmp_path / "a", out=tmp_path / "a" / "deep" / "m")
    assert files(tmp_path / "a") == before
    (tmp_path / "empty").mkdir()
    assert join(tmp_path / "a", out=tmp_path / "empty").report.cells == 4


def test_unusable_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("")
    with pytest.raises(Several, match=r"x\.zip"):
        join(tmp_path / "x.zip", out=tmp_path / "m")
    with pytest.raises(Several, match=r"no\.tar\.gz"):
        join(tmp_path / "no.tar.gz", out=tmp_path / "m")
    with pytest.raises(BadInput, match="shard"):
        join(tmp_path, out=tmp_path.parent / "m")


def test_two_geometries_of_one_source_are_refused(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(), box="anna")
    shard: Shard = shard_of(tmp_path / "b", plan(), box="bert")
    sources: list[Any] = [{**source, "geometry": {**source["geometry"], "width": 32}} for source in shard.sources]  # type: ignore[dict-item]
    write_manifest(replace(shard, sources=tuple(sources)))
    assert "two geometries" in refused(tmp_path / "a", tmp_path / "b", out=tmp_path / "m").message


def test_the_next_merge_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan([f"Clip{number}" for number in range(20)], cqs=range(20, 28)))
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom kit.corpus.merge.merging import merge\n"
        "merge([Path('a')], Path('m'), drop=False, assumed=None, workers=1, show=lambda *_: print('.', flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, env={"PYTHONPATH": str(KIT_ROOT)}
    ) as process:
        assert process.stdout is not None
        process.stdout.read(4)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "m").exists()
    assert list(tmp_path.glob(".tmp-*.folder"))
    join(tmp_path / "a", out=tmp_path / "m")
    assert not list(tmp_path.glob(".tmp-*"))


# ------------------------------------------------------------------------------------- commands, and runs


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    names = ("Highway", "Park", "Sea")
    shard_of(tmp_path / "a", plan(names, cqs=(25, 31)), box="anna")
    shard_of(tmp_path / "b", plan(names, cqs=(31, 37), architecture="arm64"), box="bert")
    join(tmp_path / "a", tmp_path / "b", out=tmp_path / "m")
    return tmp_path / "m"


def test_the_command_reports_and_refuses(tmp_path: Path, merged: Path, kit: Kit) -> None:
    done = kit("merge", "a", "b", "--out", "again", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "again" / "merge.json").read_text())
    assert files(tmp_path / "again") == files(merged)
    assert "Largest differences between boxes" in done.stderr
    folders = boxes_with(tmp_path, {"carl": 0.0, "dora": 2.5}, lambda name: name)
    done = kit("merge", *map(str, folders), "--out", "never", "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["overlap"][0]["mean_vmaf"] > 2
    assert "disagree" in done.stderr
    assert not (tmp_path / "never").exists()


def test_a_run_on_a_merged_corpus_reports_what_each_box_contributed(
    tmp_path: Path, merged: Path, kit_here: Kit
) -> None:
    given = ("run", "--corpus", "m", "--out-dir", "run", "--seeds", "0,1,2", "--epochs", "1", "--box", "lead")
    done = kit_here(*given, "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    assert "demo clips" not in done.stderr
    value = json.loads(done.stdout)
    corpus = value["verdict"]["corpus"]
    assert [(box["box"], box["platform"], box["cells"], box["rows"], box["encoders"]) for box in corpus["boxes"]] == [
        ("anna", "p", 6, 30, {"libx264": ["x264 - core 164"]}),
        ("bert", "p", 6, 30, {"libx264": ["x264 - core 164"]}),
    ]
    assert (value["verdict"]["demo"], corpus["sha256"]) == (False, read_manifest(merged).corpus_sha256)
    with tarfile.open(value["bundle"]["path"]) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    assert {"corpus/shard.json", "corpus/merge.json"} < names
    assert "prereqs.json" not in names
    for step, code, text in (("prereqs", 2, "--corpus"), ("corpus", 0, "12 cells")):
        done = kit_here(step, "--out-dir", "run", cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert text in done.stderr
    # the merged shard is no longer needed
    shutil.rmtree(merged)
    done = kit_here("train", "--out-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # the bundle of such a run can be merged again
    bundle = max(tmp_path.glob("ensemble-results-lead-*.tar.gz"))
    assert join(bundle, out=tmp_path / "n").shard.corpus_sha256 == corpus["sha256"]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--cqs", "25"), "--cqs"),
        (("--ref-dir", "x"), "--ref-dir"),
        (("--only", "3"), "--corpus"),
        (("--dry-run",), "--corpus"),
        ((), "shard"),
    ],
)
def test_options_without_effect_on_a_given_corpus_are_refused(
    tmp_path: Path, kit_here: Kit, args: tuple[str, ...], named: str
) -> None:
    done = kit_here("run", "--corpus", "m", "--out-dir", "run", *args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr


def test_a_run_folder_has_one_corpus(tmp_path: Path, merged: Path, kit_here: Kit) -> None:
    shutil.copytree(tmp_path / "a", tmp_path / "run" / "corpus")
    done = kit_here("run", "--corpus", "m", "--out-dir", "run", "--epochs", "1", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert read_manifest(merged).corpus_sha256[:12] in done.stderr
    assert files(tmp_path / "run" / "corpus") == files(tmp_path / "a")


# ---------------------------------------------------------------------------------------------- fingerprints


def with_fingerprints(folder: Path, prints: dict[str, Fingerprint]) -> Path:
    """Give the sources of a shard fingerprints."""
    shard = read_manifest(folder)
    sources = [
        {**source, **({"fingerprint": prints[label].as_dict()} if (label := str(source["label"])) in prints else {})}
        for source in shard.sources
    ]
    write_manifest(replace(shard, sources=tuple(sources)))
    return folder


def test_the_same_content_of_two_boxes_is_reported_and_not_regrouped(tmp_path: Path) -> None:
    shard_of(tmp_path / "a", plan(("Highway", "Park"), frames=12))
    shard_of(tmp_path / "b", plan(("Autobahn", "Lake", "Sea"), frames=12))
    plain = join(tmp_path / "a", tmp_path / "b", out=tmp_path / "plain")
    assert plain.report.near_duplicates.without == ("Autobahn", "Highway", "Lake", "Park", "Sea")
    assert (plain.report.near_duplicates.compared, plain.report.near_duplicates.pairs) == (0, ())
    a = with_fingerprints(tmp_path / "a", {"Highway": made_fingerprint(1), "Park": made_fingerprint(2)})
    b = with_fingerprints(tmp_path / "b", {"Autobahn": made_fingerprint(1, changed=0.05), "Lake": made_fingerprint(3)})
    merged = join(a, b, out=tmp_path / "ab")
    found = merged.report.near_duplicates
    assert [pair.labels for pair in found.pairs] == [("Autobahn", "Highway")]
    assert (found.compared, found.without) == (6, ("Sea",))
    assert merged.shard.corpus_sha256 == plain.shard.corpus_sha256
    assert len(merged.shard.groups) == 5
    for name, schema in (("merge.json", "merge"), ("shard.json", "shard")):
        assert validation.problems(schema, json.loads((tmp_path / "ab" / name).read_text())) == []
    join(b, a, tmp_path / "plain", out=tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "ab")
    (line, advice) = lines(found)
    assert "Autobahn and Highway" in line
    assert "groups.json" in advice
