"""Teachers by name and by file; for every teacher, the six features are those of vmaf_v0.6.1."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from kit.core.errors import BadInput, PrerequisiteFailed
from kit.core.values import Teacher
from kit.corpus.make.produce import produce
from kit.corpus.store.cellfile import CellRows
from kit.system.proc import Processes
from kit.video.ffmpeg import Ffmpeg
from kit.video.scorers import ffmpeg_filter, golden, teachers
from kit.video.sources.read import Tools
from tests.cli.builders import Kit
from tests.video.builders import MakeClip, bench, cell_of, write_model

pytestmark = pytest.mark.ffmpeg


def scored(teacher: Teacher, folder: Path, clip: Path, tools: Tools) -> CellRows:
    rows = produce(cell_of(clip, tools, teacher=teacher), bench(folder, tools.ffmpeg, tools.ffmpeg))
    assert isinstance(rows, CellRows), rows
    return rows


@pytest.fixture
def clip(tmp_path: Path, make_clip: MakeClip) -> Path:
    (tmp_path / "ref").mkdir()
    return make_clip(tmp_path / "ref" / "a.mkv", "Life")


def test_the_features_do_not_depend_on_the_teacher(tmp_path: Path, clip: Path, tools: Tools) -> None:
    named = ("vmaf_v0.6.1", "vmaf_v0.6.1neg", "vmaf_4k_v0.6.1", "vmaf_v1.0.16_3d0h")
    all_teachers = [Teacher(id=name) for name in named] + [teachers.resolve(write_model(tmp_path / "vmaf_v0.6.1.json"))]
    cells = [scored(teacher, tmp_path / str(index), clip, tools) for index, teacher in enumerate(all_teachers)]
    assert all(np.array_equal(rows.features, cells[0].features) for rows in cells)
    means = {round(float(rows.vmaf.mean()), 3) for rows in cells}
    assert len(means) == len(cells)
    digest = hashlib.sha256((tmp_path / "vmaf_v0.6.1.json").read_bytes()).hexdigest()
    assert cells[0].facts["teacher"] == {"id": "vmaf_v0.6.1", "sha256": None}
    assert cells[-1].facts["teacher"] == {"id": None, "sha256": digest}


def test_the_scores_are_those_of_the_file(tmp_path: Path, clip: Path, tools: Tools) -> None:
    rows = scored(teachers.resolve(write_model(tmp_path / "m.json", 0.25)), tmp_path / "out", clip, tools)
    # the log has six decimals
    assert rows.vmaf == pytest.approx(25 * rows.features[:, 0], abs=1e-4)


@pytest.fixture
def one_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small golden pair, for speed."""
    small = tuple(pair for pair in golden.pairs() if pair.name == "natural-8bit")
    monkeypatch.setattr(golden, "pairs", lambda: small)


def test_a_model_file_may_have_any_name(tmp_path: Path, ffmpeg: Ffmpeg, one_pair: None) -> None:
    for name in ("a b:c", "it's", "a,b;c=d", "back\\slash", "a|b", "[d]%d", '-"q"', "ä.json"):
        (tmp_path / f"dir {name}").mkdir()
        teacher = teachers.resolve(write_model(tmp_path / f"dir {name}" / f"{name}.json"))
        assert (teacher.id, str(teacher)) == (name, f"{name} (file, SHA-256 {str(teacher.sha256)[:12]})")
        scorer = ffmpeg_filter.check(ffmpeg, teacher=teacher, processes=Processes())
        expected = 50 * golden.EXPECTED["natural-8bit"][0]
        assert scorer.golden[f"natural-8bit {teacher.sha256}"] == pytest.approx(expected, abs=1e-3)


def test_other_files_are_refused(tmp_path: Path) -> None:
    def refused(path: Path, reason: str | None = None) -> None:
        with pytest.raises(BadInput, match=reason) as error:
            teachers.resolve(path)
        assert str(path) in error.value.message or not path.stem.isprintable()
        assert error.value.hint

    refused(tmp_path / "none.json")
    refused(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    refused(tmp_path / "pipe.json")
    for name, text, reason in (
        ("empty.json", "", "JSON"),
        ("half.json", '{"model_dict": {', "JSON"),
        ("list.json", "[1]", "model_dict"),
        ("other.json", '{"width": 1}', "model_dict"),
        ("several.json", '{"0": {"model_dict": {}}}', "model_dict"),
    ):
        (tmp_path / name).write_text(text)
        refused(tmp_path / name, reason)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\xd8" * 9)
    refused(tmp_path / "binary.json", "JSON")
    refused(write_model(tmp_path / "new\nline.json"), "printable")
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate((1 << 26) + 1)
    refused(tmp_path / "large.json", str((1 << 26) + 1))


def test_a_model_that_libvmaf_refuses(tmp_path: Path, ffmpeg: Ffmpeg, one_pair: None) -> None:
    (tmp_path / "odd.json").write_text('{"model_dict": {"model": "nothing"}}')
    with pytest.raises(PrerequisiteFailed, match=r"odd \(file, SHA-256") as error:
        ffmpeg_filter.check(ffmpeg, teacher=teachers.resolve(tmp_path / "odd.json"), processes=Processes())
    assert "--teacher" in error.value.hint


def test_a_changed_model_file_ends_the_run(tmp_path: Path, clip: Path, tools: Tools) -> None:
    teacher = teachers.resolve(write_model(tmp_path / "m.json"))
    write_model(tmp_path / "m.json", 0.25)
    with pytest.raises(BadInput, match=r"m\.json has changed"):
        scored(teacher, tmp_path / "out", clip, tools)
    (tmp_path / "m.json").unlink()
    with pytest.raises(BadInput, match=r"m\.json"):
        scored(teacher, tmp_path / "out2", clip, tools)


def test_steps_with_a_model_file(tmp_path: Path, kit_here: Kit, clips: Path) -> None:
    """Its content may not change between steps, and no file has its path."""
    (tmp_path / "some one").mkdir()
    model = write_model(tmp_path / "some one" / "own.json")
    run, place = tmp_path / "run", ("--out-dir", "run")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    done = kit_here(
        "prereqs", "--ref-dir", str(clips), *place, "--cqs", "31", "--teacher", "some one/own.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    done = kit_here("corpus", *place, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shard = json.loads((run / "corpus" / "shard.json").read_text())
    assert shard["teacher"] == {"id": "own", "sha256": digest}
    assert json.loads((run / "prereqs.json").read_text())["teacher"] == shard["teacher"]
    kept = [path for path in run.rglob("*") if path.is_file() and path.name != "config.json"]
    assert len(kept) > 8
    assert not [path for path in kept if str(model.parent).encode() in path.read_bytes()]

    write_model(model, 0.25)
    done = kit_here("corpus", *place, cwd=tmp_path)
    assert done.returncode == 2
    assert f"own (file, SHA-256 {digest[:12]})" in " ".join(done.stderr.split())
    done = kit_here("train", *place, cwd=tmp_path)
    assert done.returncode == 2
    assert f"own (file, SHA-256 {digest[:12]})" in " ".join(done.stderr.split())
