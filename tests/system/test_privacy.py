"""Redaction of user names, host names and paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kit.options.provenance import of_command
from kit.system.privacy import Redactor
from tests.options.builders import run_in

HIDE = Redactor(
    folders={
        Path("/data/ref"): "<ref>",
        Path("/data/ref/out"): "<out>",
        Path("/home/jane"): "<home>",
        Path("/mnt/my clips (old)"): "<clips>",
        Path("/ref"): "<short>",
    },
    words={"jane": "<user>", "attic.example": "<host>", "attic": "<host>"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("nothing to hide: 3/4 of 25 fps, 30000/1001, a/b, ./x/y, ../x", "="),
        ("/data/ref/Highway.yuv", "<ref>/Highway.yuv"),
        ("/data/ref", "<ref>"),
        ("-i file:/data/ref/a.yuv -y", "-i <ref>/a.yuv -y"),
        ("'/data/ref/a b.yuv'", "'<ref>/a b.yuv'"),
        ("/data/ref/out/logs/x.log", "<out>/logs/x.log"),
        ("/mnt/my clips (old)/a.mkv", "<clips>/a.mkv"),
        ("/home/jane/x", "<home>/x"),
        # another folder that only starts with the same letters is not that folder
        ("/data/reference/a.yuv", "<path>/a.yuv"),
        ("/data/ref-2/a.yuv", "<path>/a.yuv"),
        ("/data/ref2", "<path>/ref2"),
        ("/data/ref.bak/a.yuv", "<path>/a.yuv"),
        # nor is one that only ends with them
        ("/home/bob/ref/a.yuv", "<path>/a.yuv"),
        ("/srv/data/ref/a.yuv", "<path>/a.yuv"),
        # every other absolute path keeps its last name only
        ("/usr/lib/libva.so.2: cannot open", "<path>/libva.so.2: cannot open"),
        ("file:/opt/x/y.mkv", "<path>/y.mkv"),
        ("child_device=/dev/dri/renderD128", "child_device=<path>/renderD128"),
        ("(/opt/x/y) [/opt/x/z]", "(<path>/y) [<path>/z]"),
        ('"/opt/x/y","/opt/x/z"', '"<path>/y","<path>/z"'),
        ("a:/opt/x/y:/opt/x/z", "a:<path>/y:<path>/z"),
        ("/opt/x/y/", "<path>/"),
        ("\n/opt/x/y\n", "\n<path>/y\n"),
        ("/opt/été/ü.yuv", "<path>/ü.yuv"),
        # a URL is not a path
        ("https://example.org/a/b", "="),
        # names of user and host, whole words only
        ("jane@attic: janet, Jane, jane's attic.example", "<user>@<host>: janet, Jane, <user>'s <host>"),
        ("/srv/jane/a", "<path>/a"),
        ("jane", "<user>"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert HIDE(text) == (text if expected == "=" else expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/srv/Jane Doe/secret/t.parquet", "<path>/t.parquet"),
        ("--out=/srv/Jane Doe/a b.json", "--out=<path>/a b.json"),
        ("npd=/srv/Jane Doe/jane.parquet", "npd=<path>/<user>.parquet"),
        ("/data/ref/a b/c d.yuv", "<ref>/a b/c d.yuv"),
        ("a b", "a b"),
        ("npd.v1=/srv/Jane Doe/t.parquet", "npd.v1=<path>/t.parquet"),
        ("--features=../alice/t.parquet", "--features=<path>/t.parquet"),
        ("deep/../../alice/jane.onnx", "<path>/<user>.onnx"),
        ("alice/a..b.onnx", "alice/a..b.onnx"),
        ("--epochs", "--epochs"),
    ],
)
def test_a_path_may_contain_spaces(text: str, expected: str) -> None:
    assert HIDE.path(text) == expected


@pytest.mark.parametrize("text", ["/data/ref/a", "/opt/x/y z", "jane at /home/jane/x on attic", "/data/ref2/b"])
def test_redaction_is_idempotent(text: str) -> None:
    assert HIDE(HIDE(text)) == HIDE(text)


def test_the_order_of_the_folders_changes_nothing() -> None:
    text = "/data/ref/out/a /data/ref/b"
    turned = Redactor(folders=dict(reversed(HIDE.folders.items())))
    assert turned(text) == HIDE(text) == "<out>/a <ref>/b"


def test_pattern_characters_are_literal() -> None:
    hide = Redactor(folders={Path("/a+b/c[1]"): "<ref>"}, words={"x.y": "<user>", "j(e": "<host>"})
    assert hide("/a+b/c[1]/d x.y xzy j(e aab/c1/d") == "<ref>/d <user> xzy <host> aab/c1/d"


def test_paths_are_hidden_without_known_folders() -> None:
    assert Redactor()("at /home/jane/a.py") == "at <path>/a.py"


def test_each_path_of_a_repeated_option_is_redacted(tmp_path: Path) -> None:
    session = replace(run_in(tmp_path)[1], redact=HIDE)
    args = {"inputs": ("npd=/srv/Jane Doe/a b.parquet", "own=/srv/c/d.parquet"), "out": "/srv/Jane Doe/all.parquet"}
    recorded = of_command(session, args=args, inputs={}, outputs=[])["args"]
    assert recorded == {"inputs": "npd=<path>/a b.parquet own=<path>/d.parquet", "out": "<path>/all.parquet"}
