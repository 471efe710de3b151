"""Teachers by name and by file: whatever the teacher, the six features stay those of vmaf_v0.6.1."""

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
    asked = [Teacher(id=name) for name in named] + [teachers.resolve(write_model(tmp_path / "vmaf_v0.6.1.json"))]
    found = [scored(teacher, tmp_path / str(index), clip, tools) for index, teacher in enumerate(asked)]
    assert all(np.array_equal(rows.features, found[0].features) for rows in found)
    means = {round(float(rows.vmaf.mean()), 3) for rows in found}
    assert len(means) == len(found), "five teachers, five opinions"
    digest = hashlib.sha256((tmp_path / "vmaf_v0.6.1.json").read_bytes()).hexdigest()
    assert found[0].facts["teacher"] == {"id": "vmaf_v0.6.1", "sha256": None}
    assert found[-1].facts["teacher"] == {"id": None, "sha256": digest}


def test_the_scores_are_those_of_the_file(tmp_path: Path, clip: Path, tools: Tools) -> None:
    rows = scored(teachers.resolve(write_model(tmp_path / "m.json", 0.25)), tmp_path / "out", clip, tools)
    # the log has six decimals
    assert rows.vmaf == pytest.approx(25 * rows.features[:, 0], abs=1e-4)


@pytest.fixture
def one_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small golden pair, where all of them would only take time."""
    small = tuple(pair for pair in golden.pairs() if pair.name == "natural-8bit")
    monkeypatch.setattr(golden, "pairs", lambda: small)


def test_any_name_will_do(tmp_path: Path, ffmpeg: Ffmpeg, one_pair: None) -> None:
    for name in ("a b:c", "it's", "a,b;c=d", "back\\slash", "a|b", "[d]%d", '-"q"', "ä.json"):
        (tmp_path / f"dir {name}").mkdir()
        teacher = teachers.resolve(write_model(tmp_path / f"dir {name}" / f"{name}.json"))
        assert (teacher.id, str(teacher)) == (name, f"{name} (file, SHA-256 {str(teacher.sha256)[:12]})")
        found = ffmpeg_filter.check(ffmpeg, teacher=teacher, processes=Processes())
        expected = 50 * golden.EXPECTED["natural-8bit"][0]
        assert found.golden[f"natural-8bit {teacher.sha256}"] == pytest.approx(expected, abs=1e-3)


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    def refused(path: Path, told: str) -> None:
        with pytest.raises(BadInput, match=told) as error:
            teachers.resolve(path)
        assert str(path) in error.value.message or not path.stem.isprintable()
        assert error.value.hint

    refused(tmp_path / "none.json", "is not there")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.json")
    refused(tmp_path / "pipe.json", "is no regular file")
    for name, text, told in (
        ("empty.json", "", "is not valid JSON"),
        ("half.json", '{"model_dict": {', "is not valid JSON"),
        ("list.json", "[1]", "no libvmaf model"),
        ("other.json", '{"width": 1}', "has no model_dict"),
        ("several.json", '{"0": {"model_dict": {}}}', "has no model_dict"),
    ):
        (tmp_path / name).write_text(text)
        refused(tmp_path / name, told)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\xd8" * 9)
    refused(tmp_path / "binary.json", "is not valid JSON")
    refused(write_model(tmp_path / "new\nline.json"), "cannot be shown")
    with (tmp_path / "large.json").open("wb") as stream:
        stream.truncate((1 << 26) + 1)
    refused(tmp_path / "large.json", "a model far fewer")


def test_a_model_that_libvmaf_does_not_take_is_told_as_such(tmp_path: Path, ffmpeg: Ffmpeg, one_pair: None) -> None:
    (tmp_path / "odd.json").write_text('{"model_dict": {"model": "nothing"}}')
    with pytest.raises(PrerequisiteFailed, match=r"cannot score with odd \(file, SHA-256") as error:
        ffmpeg_filter.check(ffmpeg, teacher=teachers.resolve(tmp_path / "odd.json"), processes=Processes())
    assert "does not take that file" in error.value.hint


def test_a_file_that_changes_under_a_run_ends_it(tmp_path: Path, clip: Path, tools: Tools) -> None:
    teacher = teachers.resolve(write_model(tmp_path / "m.json"))
    write_model(tmp_path / "m.json", 0.25)
    with pytest.raises(BadInput, match="has changed since the run began"):
        scored(teacher, tmp_path / "out", clip, tools)
    (tmp_path / "m.json").unlink()
    with pytest.raises(BadInput, match="is not there"):
        scored(teacher, tmp_path / "out2", clip, tools)


def test_steps_with_a_model_file(tmp_path: Path, kit_here: Kit, clips: Path) -> None:
    """Its content may not change from step to step, and where it lies is told nowhere."""
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
    assert "the scorer was checked with the teacher own (file" in done.stderr
    done = kit_here("train", *place, cwd=tmp_path)
    assert done.returncode == 2
    assert "the corpus has the teacher own (file" in done.stderr
