"""Feature tables: what is read, put together, and joined with subjective scores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.core import contract, exits
from kit.core.errors import BadInput, CheckFailed
from kit.core.values import Teacher
from kit.features import combining, manifest, mos, table
from kit.system import validation
from tests.cli.builders import Ask
from tests.corpus.builders import imported
from tests.corpus.builders import rows as lines_of
from tests.features.builders import TABLE
from tests.options.builders import run_in


@pytest.fixture
def ask(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """``ask("combine", …, code=3)`` gives what a command prints as JSON, and what it says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda *argv, code=exits.OK: ask(*argv, "--json", code=code)


# ------------------------------------------------------------------------------------------ combining


def made(
    corpus: str = "x",
    sources: Sequence[str] = ("a", "b"),
    features: Sequence[str] = contract.FEATURES,
    teacher: str | None = "vmaf_v0.6.1",
    **more: object,
) -> table.FeatureTable:
    """Three frames of a clip of each source."""
    frame = pd.DataFrame(
        [
            {
                "corpus": corpus,
                "source": source,
                "clip": f"{source}_90_180",
                "frame_index": n,
                "codec": None,
                "teacher": teacher,
                **dict.fromkeys(features, 0.5),
                "vmaf": 50.0 + n,
                **more,
            }
            for source in sources
            for n in range(3)
        ]
    )
    return table.build(frame, features, what="made")


def stored(path: Path, content: table.FeatureTable) -> Path:
    table.write(path, content, facts={})
    return path


def test_a_shard_keeps_its_groups(tmp_path: Path) -> None:
    found = table.read(imported(tmp_path, lines_of(("ElFuente1", "ElFuente2", "Tennis"))))
    assert found.members() == {
        "ElFuente": ["imported/ElFuente1", "imported/ElFuente2"],
        "Tennis": ["imported/Tennis"],
    }


def test_singular_forms(tmp_path: Path, ask: Ask) -> None:
    one = made(sources=("a",)).only(np.array([True, False, False]))
    _, stderr = ask("combine", f"x={stored(tmp_path / 'one.parquet', one)}", "--out", tmp_path / "all.parquet")
    assert "all.parquet: 1 row, 6 features" in stderr.replace("\n", " ")


def test_without_a_group_each_source_is_its_own_group(tmp_path: Path) -> None:
    written = stored(tmp_path / "written.parquet", made())
    rows = pq.read_table(written)
    pq.write_table(rows.drop_columns(["group"]), tmp_path / "without.parquet")
    found = table.read(tmp_path / "without.parquet")
    assert found.members() == {"a": ["x/a"], "b": ["x/b"]}
    assert found.sha256 == table.read(written).sha256
    null = rows.set_column(rows.column_names.index("group"), "group", pa.nulls(len(rows), pa.string()))
    pq.write_table(null, tmp_path / "null.parquet")
    with pytest.raises(BadInput, match="group"):
        table.read(tmp_path / "null.parquet")


def test_a_source_in_two_groups_is_refused() -> None:
    frame = made().frame
    frame.loc[1, "group"] = "b"
    with pytest.raises(CheckFailed, match=r"x/a .*a, b"):
        table.build(frame, contract.FEATURES, what="rows")


def rewritten(path: Path, content: table.FeatureTable, **columns: object) -> Path:
    """A table as another tool may leave it: with other columns."""
    rows = pq.read_table(stored(path, content))
    for name, values in columns.items():
        rows = rows.drop_columns([name] if name in rows.column_names else []).append_column(name, pa.array(values))
    pq.write_table(rows, path)
    return path


def test_an_empty_table_is_refused(tmp_path: Path, ask: Ask) -> None:
    rows = pq.read_table(stored(tmp_path / "f.parquet", made()))
    pq.write_table(rows.slice(0, 0), tmp_path / "f.parquet")
    _, stderr = ask("combine", f"x={tmp_path / 'f.parquet'}", "--out", tmp_path / "g.parquet", code=exits.INVALID)
    assert "f.parquet" in stderr


def test_every_damaged_byte_is_detected_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    manifest.write(path, TABLE, {}, args={}, session=run_in(tmp_path)[1], inputs={})
    whole, wanted = path.read_bytes(), table.read(path).sha256
    refused = 0
    for place in range(4, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert table.read(path).sha256 == wanted, f"byte {place}"
        except (BadInput, CheckFailed):
            refused += 1
    assert refused > 30
    path.write_bytes(whole)
    assert table.read(path).sha256 == wanted


def test_other_rows_than_were_written_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    manifest.write(path, made(), {}, args={}, session=run_in(tmp_path)[1], inputs={})
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(rows.column_names.index("vmaf"), "vmaf", pa.array([1.0] * 6)), path)
    with pytest.raises(CheckFailed, match=r"f\.parquet"):
        table.read(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert set(table.read(path).frame["vmaf"]) == {1.0}


def test_a_full_disk_leaves_the_older_table_and_its_manifest(small_disk: Path) -> None:
    path, (_, session) = small_disk / "f.parquet", run_in(small_disk)
    manifest.write(path, made(), {}, args={}, session=session, inputs={})
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    (small_disk / "ballast").write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096 - 16384))
    with pytest.raises(OSError, match="No space left"):
        manifest.write(path, TABLE, {}, args={}, session=session, inputs={})
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before
    assert sorted(child.name for child in small_disk.iterdir() if child.suffix) == ["f.json", "f.parquet"]


def test_texts_may_be_categories(tmp_path: Path) -> None:
    path = stored(tmp_path / "f.parquet", made())
    wanted = table.read(path)
    frame = wanted.frame.astype(dict.fromkeys(("corpus", "source", "clip", "group", "teacher"), "category"))
    frame.to_parquet(path)
    found = table.read(path)
    assert found.sha256 == wanted.sha256
    assert found.sources.tolist() == ["x/a"] * 3 + ["x/b"] * 3


@pytest.mark.parametrize(
    "numbers", [[0, 1, 3], [1, 2, 3], [0.5, 1.5, 2.5], [0.0, 1.0, np.nan], [0, 1, 2**32 + 2], [-1, 0, 1]]
)
def test_frames_are_counted_from_0(numbers: list[float], tmp_path: Path) -> None:
    path = rewritten(tmp_path / "f.parquet", made(), frame_index=[0, 1, 2, *numbers])
    with pytest.raises(CheckFailed, match="x/b/b_90_180, frame "):
        table.read(path)


def test_whole_numbers_are_frames_in_any_type(tmp_path: Path) -> None:
    wanted = table.read(stored(tmp_path / "f.parquet", made())).sha256
    for kind in (np.int64, np.float64, np.uint8):
        assert (
            table.read(rewritten(tmp_path / "f.parquet", made(), frame_index=np.arange(6, dtype=kind) % 3)).sha256
            == wanted
        )


def test_a_boolean_feature_is_refused(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "f.parquet", made(), aim=[True, False] * 3)
    with pytest.raises(BadInput, match="aim"):
        table.read(path)


@pytest.mark.parametrize("name", ["codec", "teacher", "fold", "clip"])
@pytest.mark.parametrize("values", [[1.5] * 6, [True] * 6, [1, None] * 3])
def test_labels_are_text(name: str, values: list[object], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=name):
        table.read(rewritten(tmp_path / "f.parquet", made(), **{name: values}))


@pytest.mark.parametrize("name", ["codec", "teacher"])
def test_numeric_labels_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=name):
        table.read(rewritten(tmp_path / "f.parquet", made(), **{name: [1] * 6}))


def test_folds_may_be_numbered(tmp_path: Path) -> None:
    found = table.read(rewritten(tmp_path / "f.parquet", made(), fold=[0, 0, 0, 4, 4, 4]))
    assert found.frame["fold"].tolist() == ["0"] * 3 + ["4"] * 3
    named = table.read(rewritten(tmp_path / "g.parquet", made(), fold=["0"] * 3 + ["4"] * 3))
    assert found.sha256 == named.sha256
    assert table.read(stored(tmp_path / "h.parquet", found)).sha256 == found.sha256


@pytest.mark.parametrize(("value", "expected"), [(1e300, "float32: x/a/a_90_180, frame 0"), (np.nan, "6 of 6")])
@pytest.mark.parametrize("column", [contract.FEATURES[0], "mos"])
def test_values_that_training_cannot_use_are_refused(column: str, value: float, expected: str) -> None:
    frame = made().frame.assign(**{"mos": 3.0, column: value})
    with pytest.raises(CheckFailed, match=expected):
        table.build(frame, contract.FEATURES, what="rows").rows("mos")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("mos", [4.5, np.nan, np.nan]),
        ("mos", [np.nan, 4.5, 4.5]),
        ("mos", [4.5, 4.5, 4.0]),
        ("fold", ["a", "a", "b"]),
        ("fold", [None, None, "b"]),
        ("fold", ["a", None, "a"]),
    ],
)
def test_a_clip_has_one_score_and_one_fold(column: str, values: list[object]) -> None:
    same = {"mos": 3.0, "fold": "a"}[column]
    whole = made().frame.assign(**{column: [same] * 6})
    assert table.build(whole, contract.FEATURES, what="rows").frame[column].nunique() == 1
    assert table.build(whole.assign(**{column: None}), contract.FEATURES, what="rows").frame[column].isna().all()
    with pytest.raises(CheckFailed, match=f"{column} .*x/b/b_90_180, frame [12]"):
        table.build(whole.assign(**{column: [same] * 3 + values}), contract.FEATURES, what="rows")


def test_tables_are_combined(tmp_path: Path, ask: Ask) -> None:
    one = stored(tmp_path / "one.parquet", made("npd", group="film"))
    two = stored(tmp_path / "two.parquet", made("konvid-1k", ("c",), group="film", fold="fold3"))
    found, stderr = ask("combine", f"npd={one}", f"k={two}", "--out", tmp_path / "all.parquet")
    rows = table.read(tmp_path / "all.parquet")
    assert found["corpora"] == {"k": 3, "npd": 6}
    assert rows.members() == {"film": ["k/c", "npd/a", "npd/b"]}
    assert found["shared_groups"] == ["film"]
    assert "held out together (1): film" in stderr
    assert rows.frame["fold"].isna().tolist() == [False] * 3 + [True] * 6
    assert found["table_sha256"] == rows.sha256
    assert found["run_provenance"]["inputs"]["npd"]["sha256"]
    assert found == json.loads((tmp_path / "all.json").read_text())
    assert validation.problems("feature_manifest", found) == []
    assert "9 rows" in stderr


def test_a_feature_that_one_input_lacks(tmp_path: Path, ask: Ask) -> None:
    more = (*contract.FEATURES, "aim", "motion")
    one, two = stored(tmp_path / "one.parquet", made()), stored(tmp_path / "two.parquet", made(features=more))
    argv = ("combine", f"one={one}", f"two={two}", "--out", tmp_path / "all.parquet")
    _, stderr = ask(*argv, code=exits.BAD_INPUT)
    assert "one: aim, motion" in stderr
    found, _ = ask(*argv, "--fill-missing")
    assert found["features"] == list(more)
    assert found["inputs"]["one"]["nan"] == {"aim": 6, "motion": 6}
    args = found["run_provenance"]["args"]
    assert list(args) == ["fill_missing", "inputs", "out"]
    assert args["fill_missing"] == "true"
    assert [word.partition("=")[0] for word in args["inputs"].split()] == ["one", "two"]
    assert found["inputs"]["two"]["nan"] == {}
    rows = table.read(tmp_path / "all.parquet").frame
    assert rows.groupby("corpus")["aim"].count().to_dict() == {"one": 0, "two": 6}


@pytest.mark.parametrize(
    ("out", "named"),
    [
        ("one.parquet", "one.parquet"),
        ("link.parquet", "link.parquet"),
        ("hard.parquet", "hard.parquet"),
        ("notes.parquet", "notes.json"),
        ("list.parquet", "list.json"),
        ("folder.parquet", "folder.parquet"),
        ("one.parquet/f.parquet", "one.parquet"),
        ("/proc/f.parquet", "/proc"),
    ],
)
def test_files_that_the_kit_did_not_write_are_kept(out: str, named: str, tmp_path: Path, ask: Ask) -> None:
    one = stored(tmp_path / "one.parquet", made())
    (tmp_path / "link.parquet").symlink_to(one)
    (tmp_path / "hard.parquet").hardlink_to(one)
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "list.json").write_text("[table_sha256")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    join = ("join-mos", "--features", one, "--mos", "none.csv", "--on", "source=a", "--score", "b")
    for argv in (("combine", f"x={one}"), join):
        _, stderr = ask(*argv, "--out", tmp_path / out, code=exits.BAD_INPUT)
        assert named in stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_scores_are_not_replaced(tmp_path: Path, ask: Ask) -> None:
    one = stored(tmp_path / "one.parquet", made())
    file = scores(tmp_path / "mos.json", "a,90,4.5")
    _, stderr = ask(
        "join-mos",
        "--features",
        one,
        "--mos",
        file,
        "--on",
        "source=content",
        "--score",
        "MOS",
        "--out",
        tmp_path / "mos.parquet",
        code=exits.BAD_INPUT,
    )
    assert "mos.json" in stderr


def test_an_older_table_is_replaced(tmp_path: Path, ask: Ask) -> None:
    argv = ("combine", f"x={stored(tmp_path / 'one.parquet', made())}", "--out", tmp_path / "new" / "all.parquet")
    first, _ = ask(*argv)
    again, _ = ask(*argv)
    assert first["table_sha256"] == again["table_sha256"]


def test_missing_values_are_counted(tmp_path: Path, ask: Ask) -> None:
    holed = rewritten(tmp_path / "f.parquet", made(), motion2=[0.5, np.nan, 0.5, 0.5, 0.5, np.nan])
    found, stderr = ask("combine", f"x={holed}", "--out", tmp_path / "all.parquet")
    assert found["inputs"]["x"]["nan"] == {"motion2": 2}
    assert "motion2" in stderr
    with pytest.raises(CheckFailed, match=r"2 of 6 rows .*motion2.*x/a/a_90_180, frame 1"):
        table.read(tmp_path / "all.parquet").rows()


def test_a_film_is_one_group_under_several_group_names() -> None:
    npd = made("npd", ("ElFuente1", "ElFuente2"), group="ElFuente")
    own = made("own", ("ElFuente1", "Tennis"))
    done = combining.combine(
        {"npd": npd, "own": own, "more": made("more", ("Clay",), group="Tennis")}, fill_missing=False
    )
    films = {"ElFuente": ["npd/ElFuente1", "npd/ElFuente2", "own/ElFuente1"], "Tennis": ["more/Clay", "own/Tennis"]}
    assert done.table.members() == films
    assert done.shared == ("ElFuente", "Tennis")
    assert [fold.held_out for fold in done.table.folds(done.table.groups)] == ["ElFuente", "Tennis"]
    # the rows that tie two groups may be left out; the groups stay one
    some = done.table.only((done.table.frame["corpus"] != "npd").to_numpy())
    assert some.members() == {"ElFuente": ["own/ElFuente1"], "Tennis": films["Tennis"]}
    with pytest.raises(BadInput, match=r"2 content groups .*ElFuente"):
        done.table.folds(done.table.frame["corpus"].to_numpy(str))


def test_a_film_is_held_out_under_another_name() -> None:
    done = combining.combine(
        {
            "npd": made("npd", ("Tennis",), src_sha256="a" * 64),
            "own": made("own", ("clip7",), src_sha256="a" * 64),
            "more": made("more", ("clip8",)),
        },
        fill_missing=False,
    )
    assert done.table.members() == {"Tennis": ["npd/Tennis", "own/clip7"], "clip8": ["more/clip8"]}
    assert done.shared == ("Tennis",)
    npd = done.table.only(done.table.frame["corpus"].eq("npd").to_numpy())
    assert npd.names(np.ones(3, dtype=bool)) == ["Tennis", "a" * 64]
    assert made("x", ("other",), src_sha256="a" * 64).with_content(["a" * 64]).all()


def test_content_is_known_by_any_of_its_names() -> None:
    npd = made("npd", ("ElFuente1", "ElFuente2"), group="ElFuente")
    assert npd.names(npd.with_content(["ElFuente2"])) == ["ElFuente", "ElFuente1", "ElFuente2"]
    own = made("own", ("ElFuente1", "Street", "Tennis"))
    assert own.with_content(["ElFuente", "ElFuente1"]).tolist() == [True] * 3 + [False] * 6
    assert own.with_content(["ElFuente2", "npd/Tennis"]).sum() == 0


def test_provenance_names_no_folder(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for person in ("alice", "bob"):
        (tmp_path / person).mkdir()
    stored(tmp_path / "alice" / "f.parquet", made())
    monkeypatch.chdir(tmp_path / "bob")
    two = stored(tmp_path / "alice" / "g.parquet", made(sources=("c",)))
    found, _ = ask("combine", "one.v1=../alice/f.parquet", f"two={two}", "--out", "all.parquet")
    provenance = found["run_provenance"]
    assert {name: one["path"] for name, one in provenance["inputs"].items()} == {
        "one.v1": "<path>/f.parquet",
        "two": "<path>/g.parquet",
    }
    assert provenance["args"]["inputs"] == "one.v1=<path>/f.parquet two=<path>/g.parquet"
    assert "alice" not in json.dumps(found)


def test_a_model_file_is_identified_by_its_content(tmp_path: Path) -> None:
    one, two = (f"vmaf_v0.6.1@{digit * 64}" for digit in "ab")
    with pytest.raises(CheckFailed, match=r"one: vmaf_v0.6.1, two: vmaf_v0.6.1 \(file, SHA-256 aaaaaaaaaaaa\)"):
        combining.combine({"one": made(), "two": made(teacher=one)}, fill_missing=False)
    with pytest.raises(CheckFailed, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        combining.combine({"one": made(teacher=one), "two": made(teacher=two)}, fill_missing=False)
    renamed = combining.combine({"one": made(teacher=one), "two": made(teacher=f"mine@{'a' * 64}")}, fill_missing=False)
    assert table.read(stored(tmp_path / "f.parquet", renamed.table)).teacher == Teacher(id="mine", sha256="a" * 64)


@pytest.mark.parametrize("teacher", ["vmaf_4k_v0.6.1", None])
def test_scores_of_several_teachers_are_never_mixed(teacher: str | None) -> None:
    with pytest.raises(CheckFailed, match=rf"one: vmaf_v0.6.1, two: {teacher or 'unknown'}"):
        combining.combine({"one": made(), "two": made(teacher=teacher)}, fill_missing=True)


@pytest.mark.parametrize("words", [("f.parquet",), ("=f",), ("a/b=f",), ("a=f", "a=g"), ("a=",)])
def test_inputs_are_named(words: Sequence[str]) -> None:
    with pytest.raises(BadInput, match=r"NAME=FILE|twice"):
        combining.parse_inputs(words)


# ------------------------------------------------------------------------------------------ subjective scores


def scores(path: Path, *lines: str, header: str = "content,quality,MOS") -> Path:
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("way", [("--on", "source=content"), ("--pattern", r"^(?P<content>\w)_(?P<quality>\d\d)_")])
def test_scores_are_joined(way: tuple[str, str], tmp_path: Path, ask: Ask) -> None:
    features = stored(tmp_path / "f.parquet", made(sources=("a", "b", "c", "d"), group="film"))
    file = scores(tmp_path / "mos.csv", "a,90,4.5", "b,90, 1.25", "c,90,3", "c,90,2", "z,90,1")
    found, stderr = ask(
        "join-mos", "--features", features, "--mos", file, *way, "--score", "MOS", "--out", tmp_path / "g.parquet"
    )
    rows = table.read(tmp_path / "g.parquet").frame
    assert rows.groupby("source")["mos"].agg(["min", "max", "size"]).to_numpy().tolist() == [
        [4.5, 4.5, 3],
        [1.25, 1.25, 3],
    ]
    assert set(rows["group"]) == {"film"}
    assert found["matched_clips"] == 2
    args = found["run_provenance"]["args"]
    assert sorted(args) == sorted(["features", "mos", way[0].removeprefix("--"), "score", "out"])
    assert (args[way[0].removeprefix("--")], args["score"]) == (way[1], "MOS")
    assert found["unmatched_clips"] == ["x/c/c_90_180", "x/d/d_90_180"]
    assert [text.split(",")[0] for text in found["unmatched_scores"]] == ["content=z"]
    assert [text.split(",")[0] for text in found["duplicate_scores"]] == ["content=c"]
    assert found["shared_scores"] == []
    assert "Scores without a clip (1): content=z" in stderr


def test_a_score_of_several_clips_is_listed() -> None:
    rule = mos.by_columns(["corpus=set"])
    found = mos.join(made(), [(("x",), 3.0)], rule)
    assert found.shared_scores == ("set=x",)
    assert found.table.frame["mos"].tolist() == [3.0] * 6


def test_a_clip_of_no_known_codec_has_no_score() -> None:
    both = combining.combine({"x": made(), "y": made(codec="None")}, fill_missing=False).table
    found = mos.join(both, [(("None",), 3.0)], mos.by_columns(["codec=encoder"]))
    assert found.unmatched_clips == ("x/a/a_90_180", "x/b/b_90_180")
    assert set(found.table.frame["corpus"]) == {"y"}


@pytest.mark.parametrize("text", ["1_0", "\uff11\uff12", "nan", "inf", "1e999", "", "0x10", "4,5"])
def test_a_score_is_a_number(text: str, tmp_path: Path) -> None:
    file = scores(tmp_path / "mos.csv", f'a,90,"{text}"')
    with pytest.raises(BadInput, match="line 2: MOS "):
        mos.read_scores(file, mos.by_columns(["source=content"]), "MOS")


@pytest.mark.parametrize("twice", ["MOS", "content"])
def test_a_duplicate_column_is_refused(twice: str, tmp_path: Path) -> None:
    rule = mos.by_columns(["source=content"])
    file = scores(tmp_path / "mos.csv", "a,90,4.5,1", header=f"content,quality,MOS,{twice}")
    with pytest.raises(BadInput, match=rf"mos.csv .*\b{twice}\b"):
        mos.read_scores(file, rule, "MOS")
    file = scores(tmp_path / "mos.csv", "a,90,4.5,,", header="content,quality,MOS,,")
    assert mos.read_scores(file, rule, "MOS") == [(("a",), 4.5)]


def test_no_match_is_refused(tmp_path: Path, ask: Ask) -> None:
    features = stored(tmp_path / "f.parquet", made())
    file = scores(tmp_path / "mos.csv", "A,90,4.5")
    _, stderr = ask(
        "join-mos",
        "--features",
        features,
        "--mos",
        file,
        "--on",
        "source=content",
        "--score",
        "MOS",
        "--out",
        tmp_path / "g.parquet",
        code=exits.INVALID,
    )
    assert all(part in stderr for part in ("2 clips", "1 score", "x/a/a_90_180", "content=A"))
    assert not (tmp_path / "g.parquet").exists()


@pytest.mark.parametrize(
    ("further", "named"),
    [
        ((), "--pattern"),
        (("--on", "source=content", "--pattern", "(?P<content>a)"), "--pattern"),
        (("--on", "vmaf=content"), "--on vmaf"),
        (("--on", "source=nothing"), "nothing"),
        (("--pattern", "(a"), "(a"),
        (("--pattern", "(a)"), "--pattern"),
        (("--on", "source=content"), "line 2: MOS"),
    ],
)
def test_what_cannot_be_joined(further: Sequence[str], named: str, tmp_path: Path, ask: Ask) -> None:
    features = stored(tmp_path / "f.parquet", made())
    file = scores(tmp_path / "mos.csv", "a,90,bad")
    _, stderr = ask(
        "join-mos",
        "--features",
        features,
        "--mos",
        file,
        *further,
        "--score",
        "MOS",
        "--out",
        tmp_path / "g.parquet",
        code=exits.BAD_INPUT,
    )
    assert named in stderr
