"""Data sets: recognition, content groups, missing clips, manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from kit.core import contract, exits
from kit.core.errors import BadInput, KitError, Missing, Several
from kit.core.geometry import exact_rate
from kit.core.values import Geometry
from kit.corpus.store.shard import read_manifest
from kit.training import table
from kit.training.folds import by_group
from kit.video.datasets import groups, manifest, npd
from kit.video.datasets.load import ClipFolder, open_folder
from kit.video.datasets.pairs import infer_stored_geometry
from kit.video.datasets.registry import DATASETS, choose
from kit.video.sources.identity import measure
from kit.video.sources.read import Tools
from kit.video.sources.scan import list_folder
from tests.cli.builders import Kit
from tests.video.builders import MakeClip

FRAMES = 4
#: Bytes of a clip of 64x48, 8 bits, 4:2:0.
FRAME = 64 * 48 * 3 // 2

Open = Callable[..., ClipFolder]
Refused = Callable[[Path, KitError], None]


@pytest.fixture
def open_at(tools: Tools, tmp_path: Path) -> Open:
    """Open a folder like a run."""

    def opened(
        folder: Path,
        requested: str = "auto",
        *,
        whole: bool = True,
        refused: Callable[[Path, KitError], None] | None = None,
    ) -> ClipFolder:
        return open_folder(
            folder,
            requested=requested,
            assumed=None,
            tools=tools,
            cache=tmp_path / "cache",
            whole=whole,
            refused=refused,
        )

    return opened


def put(path: Path, number: int, *, fps: str = "25", frames: int = FRAMES) -> Path:
    """Write a small ``.yuv`` with a sidecar; the content depends on ``number``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes((number * 7 + index) % 256 for index in range(FRAME)) * frames)
    path.with_suffix(".json").write_text(json.dumps({"width": 64, "height": 48, "fps": fps}))
    return path


def netflix(folder: Path) -> Path:
    """Write the Netflix Public Dataset with all names and small clips."""
    for number, stem in enumerate(npd.REFERENCES):
        put(folder / "ref" / f"{stem}.yuv", number, fps=stem.rpartition("_")[2].removesuffix("fps"))
    (folder / "dis").mkdir()
    for source, rungs in npd.LADDER.items():
        for rung in rungs.split():
            (folder / "dis" / f"{source}_{rung}.yuv").write_bytes(bytes(FRAME * FRAMES))
    return folder


def bristol(folder: Path, scenes: str = "Bookcase Dancers", sizes: tuple[str, ...] = ("3840x2176", "480x272")) -> Path:
    """Write some scenes of BVI-DVC."""
    letters = {"3840x2176": "A", "1920x1088": "B", "960x544": "C", "480x272": "D"}
    for number, scene in enumerate(scenes.split()):
        for place, size in enumerate(sizes):
            put(folder / f"{letters[size]}{scene}BVITexture_{size}_120fps_10bit_420.yuv", 10 * number + place)
    return folder


def test_every_name_is_a_data_set() -> None:
    assert ("auto", *(dataset.name for dataset in DATASETS)) == contract.DATASETS


def test_the_netflix_public_dataset(tmp_path: Path, open_at: Open) -> None:
    opened = open_at(netflix(tmp_path / "npd"))
    assert (opened.name, opened.reason) == ("npd", "9 of its 9 reference clips")
    assert len(opened.files) == 9
    assert {file.path.parent.name for file in opened.files} == {"ref"}
    assert {file.label: file.geometry.fps for file in opened.files}["Tennis"] == 24
    assert len(opened.groups) == 8
    assert {file.label for file in opened.files if file.content_group == "ElFuente"} == {"ElFuente1", "ElFuente2"}
    assert (opened.missing, opened.missing_distorted, opened.unusable, opened.notes, opened.ignored) == (
        (),
        (),
        (),
        (),
        (),
    )
    assert len(opened.pairs) == 70
    pair = next(pair for pair in opened.pairs if pair.distorted.label == "ElFuente2_05_288_375")
    assert (pair.reference.label, pair.quality, pair.height, pair.bitrate) == ("ElFuente2", 5, 288, 375)
    assert pair.distorted.geometry == pair.reference.geometry


def test_the_same_given_as_its_ref_folder(tmp_path: Path, open_at: Open) -> None:
    opened = open_at(netflix(tmp_path / "npd") / "ref")
    assert (opened.name, len(opened.files), len(opened.pairs), opened.missing) == ("npd", 9, 70, ())
    (tmp_path / "npd" / "dis" / "notes.mp4").write_bytes(b"x")
    for given in ("npd", "npd/ref"):
        assert [line.split(":")[0] for line in open_at(tmp_path / given).unusable] == ["dis/notes.mp4"]


def test_unusable_and_missing_distorted_clips(tmp_path: Path, open_at: Open) -> None:
    folder = netflix(tmp_path / "npd")
    (folder / "ref" / "Tennis_24fps.yuv").unlink()
    (folder / "dis" / "Tennis_20_288_375.yuv").unlink()
    (folder / "dis" / "BigBuckBunny_90_hd.yuv").write_bytes(bytes(FRAME * FRAMES))
    (folder / "dis" / "notes.txt").write_text("x")
    refused: dict[Path, KitError] = {}
    opened = open_at(folder, refused=refused.__setitem__)
    assert opened.missing_distorted == ("dis/Tennis_20_288_375.yuv is missing",)
    assert sorted(path.stem for path in refused) == [
        "BigBuckBunny_90_hd",
        *(f"Tennis_{rung}" for rung in npd.LADDER["Tennis"].split()[1:]),
    ]
    assert [problem.message for problem in refused.values()] == list(opened.unusable)
    assert "dis/notes.txt" in opened.ignored


def test_every_missing_clip_is_named(tmp_path: Path, open_at: Open) -> None:
    folder = netflix(tmp_path / "npd")
    for name in ("ref/FoxBird_25fps.yuv", "ref/Tennis_24fps.yuv", "dis/Seeking_95_1080_20000.yuv"):
        (folder / name).unlink()
    (folder / "dis" / "CrowdRun_03_288_375.yuv").write_bytes(bytes(100))
    (folder / "dis" / "notes.mp4").write_bytes(b"x")
    opened = open_at(folder)
    assert opened.missing == ("FoxBird_25fps.yuv", "Tennis_24fps.yuv")
    assert opened.missing_distorted == ("dis/Seeking_95_1080_20000.yuv is missing",)
    notes, crowd = [line for line in opened.unusable if "FoxBird" not in line and "Tennis" not in line]
    assert "dis/notes.mp4" in notes
    for value in ("dis/CrowdRun_03_288_375.yuv", "100 bytes", "4 frames", "64x48, 512x288, 384x288"):
        assert value in crowd
    assert sum("its reference" in line for line in opened.unusable) == 12
    with pytest.raises(Several, match=r"FoxBird_25fps.yuv: is missing\n.*Tennis_24fps.yuv: is missing"):
        open_at(folder, "npd")
    assert open_at(folder, "npd", whole=False).missing == opened.missing


def test_missing_and_unusable_clips_are_reported_together(tmp_path: Path, open_at: Open) -> None:
    folder = netflix(tmp_path / "npd")
    (folder / "ref" / "FoxBird_25fps.yuv").unlink()
    (folder / "ref" / "Seeking_25fps.yuv").write_bytes(bytes(FRAME * FRAMES - 1))
    with pytest.raises(Several) as error:
        open_at(folder, "npd")
    assert "FoxBird_25fps.yuv" in error.value.message
    assert "Seeking_25fps.yuv" in error.value.message
    assert "1 bytes" in error.value.message or "frames of" in error.value.message


def test_another_clip_is_a_source_too(tmp_path: Path, open_at: Open) -> None:
    folder = netflix(tmp_path / "npd")
    put(folder / "ref" / "Mine.yuv", 99)
    opened = open_at(folder)
    assert opened.name == "npd"
    assert "Mine" in opened.groups
    assert "ref/Mine.yuv" in opened.notes[0]


@pytest.mark.parametrize(
    ("height", "stored", "expected"),
    [
        (288, (512, 288), (512, 288)),
        (288, (1920, 1080), (1920, 1080)),
        (384, (682, 384), (682, 384)),
        (384, (684, 384), (684, 384)),
        (480, (852, 480), (852, 480)),
        (480, (854, 480), (854, 480)),
        (720, (1280, 720), (1280, 720)),
        (1080, (1920, 1080), (1920, 1080)),
    ],
)
def test_the_number_of_frames_gives_the_stored_size(
    height: int, stored: tuple[int, int], expected: tuple[int, int]
) -> None:
    reference = Geometry(width=1920, height=1080, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=150)
    opened = infer_stored_geometry(stored[0] * stored[1] * 3 // 2 * 150, height, reference)
    assert (opened.width, opened.height, opened.frames, opened.fps) == (*expected, 150, 25)
    for wrong in (149, 151):
        with pytest.raises(BadInput, match=r"150 frames.*1920x1080"):
            infer_stored_geometry(stored[0] * stored[1] * 3 // 2 * wrong, height, reference)


def test_an_ambiguous_size_is_refused() -> None:
    reference = Geometry(width=288, height=512, pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=10)
    with pytest.raises(BadInput, match="288x512, 512x288"):
        infer_stored_geometry(512 * 288 * 3 // 2 * 10, 288, reference)


@pytest.mark.parametrize(
    ("size", "stored"), [((320, 192), (240, 144)), ((1440, 1080), (384, 288)), ((854, 480), (512, 288))]
)
def test_a_distorted_clip_may_have_the_shape_of_its_reference(size: tuple[int, int], stored: tuple[int, int]) -> None:
    reference = Geometry(width=size[0], height=size[1], pix_fmt="yuv420p", range="tv", fps=Fraction(25), frames=10)
    opened = infer_stored_geometry(stored[0] * stored[1] * 3 // 2 * 10, stored[1], reference)
    assert (opened.width, opened.height) == stored


def test_a_sidecar_has_the_stored_size(tmp_path: Path, open_at: Open) -> None:
    dis = netflix(tmp_path / "npd") / "dis"
    sidecars = {
        "CrowdRun_03_288_375": '{"width": 48, "height": 64, "fps": 25}',
        "FoxBird_20_288_375": '{"width": 50, "height": 48, "fps": 25}',
        "Tennis_20_288_375": '{"width": 64, "height": 96, "fps": 24}',
        "Seeking_10_288_375": '{"width": 64}',
    }
    for stem, text in sidecars.items():
        (dis / f"{stem}.json").write_text(text)
    (dis / "BirdsInCage_40_288_375.yuv").write_bytes(bytes(40 * 32 * 3 // 2 * FRAMES))
    (dis / "BirdsInCage_40_288_375.json").write_text('{"width": 40, "height": 32, "fps": 30}')
    opened = open_at(tmp_path / "npd")
    widths = {pair.distorted.label: pair.distorted.geometry.width for pair in opened.pairs}
    assert (widths["CrowdRun_03_288_375"], widths["BirdsInCage_40_288_375"]) == (48, 40)
    assert not {"FoxBird_20_288_375", "Tennis_20_288_375", "Seeking_10_288_375"}.intersection(widths)
    wrong = " ".join(opened.unusable)
    assert "dis/FoxBird_20_288_375.yuv: 18432 bytes are 5 frames of 50x48 yuv420p" in wrong
    assert "dis/Tennis_20_288_375.yuv: its 18432 bytes are 2 frames of 64x96 yuv420p" in wrong
    assert "dis/Seeking_10_288_375.yuv: Seeking_10_288_375.json: missing fps, height" in wrong


def test_the_resolutions_of_a_scene_are_one_group(tmp_path: Path, open_at: Open) -> None:
    opened = open_at(
        bristol(tmp_path / "bvi", "Bookcase Dancers Cobra", ("3840x2176", "1920x1088", "960x544", "480x272"))
    )
    assert (opened.name, opened.reason) == ("bvi-dvc", "12 clips of 3 of its 200 scenes")
    assert opened.groups == ("BookcaseBVITexture", "CobraBVITexture", "DancersBVITexture")
    assert {f.label for f in opened.files if f.content_group == "DancersBVITexture"} == {
        f"{letter}DancersBVITexture" for letter in "ABCD"
    }
    assert (opened.missing, opened.notes) == ((), ("3 of its 200 scenes",))


def test_a_resolution_that_other_scenes_have_is_missing(tmp_path: Path, open_at: Open) -> None:
    folder = bristol(tmp_path / "bvi")
    next(folder.glob("ADancers*.yuv")).unlink()
    assert open_at(folder).missing == ("ADancersBVITexture_3840x2176_120fps_10bit_420.mp4",)
    with pytest.raises(Several, match=r"ADancersBVITexture_3840x2176_120fps_10bit_420.mp4"):
        open_at(folder, "bvi-dvc")


def test_the_subset_letter_and_the_resolution_must_agree(tmp_path: Path, open_at: Open) -> None:
    """The scene Bookcase starts with B, like subset B: without the subset letter it is not part of the data set."""
    folder = bristol(tmp_path / "bvi")
    put(folder / "BCobraBVITexture_3840x2176_120fps_10bit_420.yuv", 50)
    with pytest.raises(Several, match=r"3840x2176 is subset A.*B"):
        open_at(folder)
    next(folder.glob("BCobra*.yuv")).unlink()
    put(folder / "BookcaseBVITexture_1920x1088_120fps_10bit_420.yuv", 51)
    opened = open_at(folder)
    assert "ookcaseBVITexture" not in opened.groups
    assert "BookcaseBVITexture_1920x1088" in opened.notes[0]


def test_konvid(tmp_path: Path, make_clip: MakeClip, open_at: Open) -> None:
    folder = tmp_path / "konvid" / "KoNViD_1k_videos"
    folder.mkdir(parents=True)
    for name, picture in (("3339962845", "Bars"), ("10008004183", "Life"), ("2999049224", "Fractal")):
        make_clip(folder / f"{name}.mp4", picture, "-c:v", "libx264", frames=4)
    opened = open_at(folder.parent)
    assert (opened.name, opened.reason) == ("konvid-1k", "3 clips named by a Flickr id")
    assert opened.groups == ("10008004183", "2999049224", "3339962845")
    assert opened.notes == ("3 of its 1200 clips; KoNViD_1k_attributes.csv would list the missing ones",)
    listed = "flickr_id,mos\n3339962845,3.1\n10008004183,2.2\n2999049224,4.0\n5319047612,1.5\n"
    (folder.parent / "KoNViD_1k_attributes.csv").write_text(listed)
    opened = open_at(folder.parent)
    assert (opened.missing, opened.notes) == (("5319047612.mp4",), ())
    with pytest.raises(Several, match=r"5319047612\.mp4"):
        open_at(folder.parent, "konvid-1k")


def test_a_konvid_clip_with_a_variable_rate_is_named(tmp_path: Path, make_clip: MakeClip, open_at: Open) -> None:
    make_clip(tmp_path / "3339962845.mp4", "Bars", "-c:v", "libx264")
    varies = "testsrc2=size=320x180:rate=25,setpts=PTS+gt(N\\,4)*3/25/TB"
    make_clip(tmp_path / "2999049224.mp4", varies, "-c:v", "libx264", "-fps_mode", "vfr")
    with pytest.raises(Several, match=r"2999049224\.mp4"):
        open_at(tmp_path, "konvid-1k")


def test_any_other_folder_is_a_plain_one(clips: Path, open_at: Open) -> None:
    opened = open_at(clips)
    assert (opened.name, opened.reason) == ("dir", "4 clips, no known data set")
    assert opened.groups == ("Bars", "Cells", "Fractal", "Life")
    with pytest.raises(Several, match=r"BigBuckBunny_25fps\.yuv"):
        open_at(clips, "npd")


def test_the_option_overrules_recognition(tmp_path: Path, open_at: Open) -> None:
    folder = netflix(tmp_path / "npd") / "ref"
    assert len(open_at(folder, "dir").groups) == 9
    assert choose(list_folder(folder), "dir")[1] == "requested"


def test_a_missing_data_set_names_its_folder(tmp_path: Path, open_at: Open) -> None:
    with pytest.raises(BadInput, match=r"npd: .*nowhere") as error:
        open_at(tmp_path / "nowhere", "npd")
    assert "VMAF_DATA_ROOT" in error.value.hint


# ------------------------------------------------------------------------------------------------- groups.json


def write_groups(folder: Path, named: dict[str, str]) -> None:
    (folder / groups.FILE).write_text(json.dumps({"schema_version": 1, "groups": named}))


def test_groups_of_the_user_overrule_the_data_set(tmp_path: Path, open_at: Open, tools: Tools) -> None:
    folder = netflix(tmp_path / "npd") / "ref"
    before = {file.label: file for file in open_at(folder).files}
    fox = measure(before["FoxBird"], tools).sha256
    write_groups(folder, {"Tennis": "Sport", "CrowdRun_25fps.yuv": "Sport", "ElFuente1": "Alone", fox: "Sport"})
    opened = open_at(folder)
    chosen = {file.label: file.content_group for file in opened.files}
    assert [label for label, group in chosen.items() if group == "Sport"] == ["CrowdRun", "FoxBird", "Tennis"]
    assert (chosen["ElFuente1"], chosen["ElFuente2"], chosen["Seeking"]) == ("Alone", "ElFuente", "Seeking")
    assert opened.ignored == ()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"schema_version": 1, "groups": {"Nobody": "X"}}, "Nobody"),
        ({"schema_version": 1, "groups": {"0" * 64: "X"}}, "0 matches no clip"),
        ({"schema_version": 1, "groups": {"same.yuv": "X"}}, "same.yuv matches 2 clips"),
        ({"schema_version": 1, "groups": {"c": "X", "c.yuv": "Y"}}, "X and Y"),
        ({"schema_version": 1, "groups": {"c": "a/b"}}, "$.groups.c"),
        ({"schema_version": 1, "groups": {"c": 3}}, "$.groups.c"),
        ({"schema_version": 1, "groups": ["c"]}, "$.groups"),
        ({"schema_version": 2, "groups": {}}, "$.schema_version"),
        ({"c": "X"}, "groups.json"),
        ([], "groups.json"),
    ],
)
def test_invalid_groups(content: object, expected: str, tmp_path: Path, open_at: Open) -> None:
    for number, name in enumerate(("a/same.yuv", "b/same.yuv", "c.yuv")):
        put(tmp_path / name, number)
    (tmp_path / groups.FILE).write_text(json.dumps(content))
    with pytest.raises(BadInput) as error:
        open_at(tmp_path)
    assert expected in error.value.message


def test_a_path_distinguishes_clips_of_the_same_name(tmp_path: Path, open_at: Open) -> None:
    for number, name in enumerate(("a/same.yuv", "b/same.yuv", "c.yuv")):
        put(tmp_path / name, number)
    write_groups(tmp_path, {"a/same.yuv": "X", "c": "X"})
    assert [file.content_group for file in open_at(tmp_path).files] == ["X", "b_same.yuv", "X"]


# ------------------------------------------------------------------------------------------- on the command line


@pytest.mark.ffmpeg
def test_groups_go_from_the_data_set_into_shard_and_folds(tmp_path: Path, kit: Kit, make_clip: MakeClip) -> None:
    folder = tmp_path / "root" / "datasets" / "npd" / "ref"
    folder.mkdir(parents=True)
    for number, stem in enumerate(npd.REFERENCES):
        make_clip(folder / f"{stem}.mkv", f"testsrc2=size=160x90:rate=25,hue=h={30 * number}", frames=4)
    write_groups(folder, {"Seeking": "Water", "FoxBird": "Water"})
    args = ("--dataset", "npd", "--out-dir", "run", "--cqs", "31", "--shard-only", "--box", "b", "--ref-dir")
    done = kit("run", *args, str(folder), cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert "npd: requested; 9 of its 9 reference clips" in done.stderr
    shard = json.loads((tmp_path / "run" / "corpus" / "shard.json").read_text())
    assert {source["label"]: source["group"] for source in shard["sources"]}["BigBuckBunny"] == "BigBuckBunny"
    stored = json.loads((tmp_path / "run" / "corpus" / "groups.json").read_text())["groups"]
    assert sorted(stored.values()).count("ElFuente") == 2
    assert sorted(stored.values()).count("Water") == 2
    folds = by_group(table.load(read_manifest(tmp_path / "run" / "corpus")))
    held = {fold.held_out: len(fold.held) for fold in folds}
    assert (len(folds), held["ElFuente"], held["Water"], held["Tennis"]) == (7, 8, 8, 4)


def test_a_data_set_by_name_alone(tmp_path: Path, kit_here: Kit) -> None:
    netflix(tmp_path / "root" / "datasets" / "npd")
    root = {"VMAF_DATA_ROOT": str(tmp_path / "root")}
    args = ("prereqs", "--dataset", "npd", "--encoders", "libx264", "--box", "b")
    done = kit_here(*args, "--out-dir", "run", "--json", cwd=tmp_path, env=root)
    assert done.returncode == exits.OK, done.stderr
    findings = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
    assert findings["sources"]["found"] == "9 clips, 36 frames, 8 content groups"
    assert findings["data set"]["found"] == "npd: requested; 9 of its 9 reference clips"
    again = kit_here("prereqs", "--out-dir", "run", cwd=tmp_path)
    assert again.returncode == exits.OK, again.stderr
    lost = kit_here(*args, "--out-dir", "other", cwd=tmp_path)
    assert lost.returncode == exits.BAD_INPUT
    assert "npd" in lost.stderr
    assert "VMAF_DATA_ROOT" in lost.stderr


def test_an_incomplete_recognised_data_set_is_a_warning(tmp_path: Path, kit_here: Kit) -> None:
    folder = netflix(tmp_path / "npd")
    (folder / "ref" / "FoxBird_25fps.yuv").unlink()
    args = ("prereqs", "--encoders", "libx264", "--box", "b", "--ref-dir", str(folder), "--json")
    done = kit_here(*args, cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    warnings = [one for one in json.loads(done.stdout)["findings"] if one["check"] == "data set npd"]
    assert [one["status"] for one in warnings] == ["warning", "warning"]
    assert "FoxBird_25fps.yuv" in warnings[0]["found"]
    assert kit_here(*args, "--dataset", "npd", cwd=tmp_path).returncode == exits.BAD_INPUT


def test_show(tmp_path: Path, kit_here: Kit) -> None:
    folder = netflix(tmp_path / "npd")
    whole = kit_here("dataset", "show", "npd", "--json", cwd=tmp_path)
    assert whole.returncode == exits.OK, whole.stderr
    value = json.loads(whole.stdout)
    assert (value["dataset"], len(value["clips"]), len(value["pairs"]), value["missing"]) == ("npd", 9, 70, [])
    assert "ElFuente2_05_288_375" in whole.stderr
    (folder / "ref" / "Tennis_24fps.yuv").unlink()
    part = kit_here("dataset", "show", "npd", "--dataset", "npd", cwd=tmp_path)
    assert part.returncode == exits.INVALID
    assert "Tennis_24fps.yuv is missing" in part.stderr
    assert kit_here("dataset", "show", "npd", "--dataset", "netflix", cwd=tmp_path).returncode == exits.BAD_INPUT


def test_manifest_and_verify(tmp_path: Path, kit_here: Kit) -> None:
    folder = netflix(tmp_path / "npd")
    assert kit_here("dataset", "verify", "npd", cwd=tmp_path).returncode == exits.BAD_INPUT
    done = kit_here("dataset", "manifest", "npd", "--json", cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    assert json.loads(done.stdout)["files"] == 9 + 9 + 70
    written = yaml.safe_load((folder / "npd.yaml").read_text())
    assert written["schema_version"] == 1
    assert written["files"][-1]["path"] == "ref/Tennis_24fps.yuv"
    assert written["files"][-1]["size"] == FRAME * FRAMES
    assert kit_here("dataset", "verify", "npd", cwd=tmp_path).returncode == exits.OK
    (folder / "ref" / "Tennis_24fps.yuv").unlink()
    (folder / "new.txt").write_text("x")
    (folder / "dis" / "Tennis_20_288_375.yuv").write_bytes(b"short")
    (folder / "dis" / "Tennis_40_384_750.yuv").write_bytes(bytes(FRAME * FRAMES - 1) + b"x")
    wrong = kit_here("dataset", "verify", "npd", "--json", cwd=tmp_path)
    assert wrong.returncode == exits.INVALID
    value = json.loads(wrong.stdout)
    assert {one["path"]: one["problem"] for one in value["problems"]} == {
        "ref/Tennis_24fps.yuv": "missing",
        "dis/Tennis_20_288_375.yuv": "size",
        "dis/Tennis_40_384_750.yuv": "sha256",
        "new.txt": "extra",
    }
    assert not value["passed"]
    assert "4 differ" in wrong.stderr


def test_a_manifest_elsewhere_and_of_a_plain_folder(tmp_path: Path, kit_here: Kit) -> None:
    put(tmp_path / "my clips" / "a.yuv", 1)
    assert kit_here("dataset", "manifest", "my clips", "--out", "kept.yaml", cwd=tmp_path).returncode == exits.OK
    assert kit_here("dataset", "verify", "my clips", "--manifest", "kept.yaml", cwd=tmp_path).returncode == exits.OK
    assert kit_here("dataset", "manifest", "my clips", cwd=tmp_path).returncode == exits.OK
    assert (tmp_path / "my clips" / "my_clips.yaml").is_file()
    assert kit_here("dataset", "verify", "my clips", cwd=tmp_path).returncode == exits.OK


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "schema_version: 1",
        "files: []",
        "schema_version: 2\nfiles: []",
        "schema_version: 1\nfiles: [{path: ../x, size: 1, sha256: %s}]" % ("0" * 64),
        "schema_version: 1\nfiles: [{path: /x, size: 1, sha256: %s}]" % ("0" * 64),
        "schema_version: 1\nfiles: [{path: x, size: -1, sha256: %s}]" % ("0" * 64),
        "schema_version: 1\nfiles: [{path: x, size: 1, sha256: 0}]",
        "schema_version: 1\nfiles: [{path: x}]",
        "files: [",
        "!!python/object/apply:os.system [true]",
    ],
)
def test_invalid_manifests(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(BadInput):
        manifest.read(tmp_path / "x.yaml")


def test_several_manifests_need_an_option(tmp_path: Path) -> None:
    put(tmp_path / "a.yuv", 1)
    entries = manifest.describe(tmp_path, without=(), workers=1, advance=lambda _: None)
    with pytest.raises(Missing):
        manifest.find(tmp_path)
    manifest.write(tmp_path / "one.yaml", "one", entries)
    (tmp_path / "other.yaml").write_text("not: ours")
    assert manifest.find(tmp_path).name == "one.yaml"
    manifest.write(tmp_path / "two.yaml", "two", entries)
    with pytest.raises(KitError, match=r"one.yaml, two.yaml"):
        manifest.find(tmp_path)


@pytest.mark.parametrize(
    ("rounded", "exact"),
    [
        ("19001/317", "60000/1001"),
        ("29011/242", "120000/1001"),
        ("7001/146", "48000/1001"),
        ("25", "25"),
        ("1000", "1000"),
        ("97/7", "97/7"),
        ("30000/1001", "30000/1001"),
        ("299/10", "299/10"),
        ("1/2", "1/2"),
    ],
)
def test_a_rate_rounded_by_matroska_is_restored(rounded: str, exact: str) -> None:
    assert exact_rate(Fraction(rounded)) == Fraction(exact)
