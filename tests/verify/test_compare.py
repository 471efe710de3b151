"""Comparison of verdicts, signatures by a real ssh-keygen, and the contents of a bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kit.core import exits, layout
from kit.corpus.store.shard import read_manifest
from kit.steps import step_03_train, step_04_verdict
from kit.system import validation
from kit.system.fsio import write_json
from kit.verify.bundle import UNCHECKED, UNPROVEN
from tests.cli.builders import Command, Kit
from tests.corpus.builders import plan, shard_of
from tests.options.builders import run_in
from tests.verify.builders import bundle_of, files_of, manifest_of, packed

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (OpenSSH) is not installed")


@pytest.fixture(scope="module")
def bundles(promoted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two boxes: one encoder, sources of which three are shared, the same seeds."""
    folder = tmp_path_factory.mktemp("two")
    first = bundle_of(promoted, folder / "a.tar.gz")
    run = folder / "run"
    write_json(run / layout.PREREQS, {"box": "other"})
    shard_of(run / layout.CORPUS, plan(("Highway", "Park", "Tango", "Sea"), cqs=(19, 31, 43), frames=12), box="other")
    config, session = run_in(run, epochs=2)
    step_04_verdict.run(config, step_03_train.run(config, read_manifest(run / layout.CORPUS), session), session)
    return first, bundle_of(run, folder / "b.tar.gz", "HOLD")


def test_two_boxes_side_by_side(
    bundles: tuple[Path, Path], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["compare", *map(str, bundles), "--json"]) == exits.OK
    result = json.loads(capsys.readouterr().out)
    assert [bundle["verdict"] for bundle in result["bundles"]] == ["PROMOTE", "HOLD"]
    assert validation.problems("compare_output", result) == []
    assert result["agree"] is False
    lines = {(line["what"], line["name"]): line for line in result["lines"]}
    assert {name for what, name in lines if what == "source"} == {"Highway", "Park", "Tango", "Crowd", "Sea"}
    # after two epochs every shared source is predicted far worse
    assert lines["source", "Highway"]["disagrees"]
    assert lines["source", "Sea"]["figures"][0] is None
    assert not lines["source", "Sea"]["disagrees"]
    for words in ("1: testbox PROMOTE, 2: testbox HOLD", "3 of 3", "(Highway, Park, Tango)"):
        assert words in result["conclusion"]


def test_a_bundle_agrees_with_itself(
    bundles: tuple[Path, Path], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["compare", str(bundles[0]), str(bundles[0]), "--json"]) == exits.OK
    result = json.loads(capsys.readouterr().out)
    assert result["agree"]
    assert {line["difference"] for line in result["lines"]} == {0.0}
    assert "PROMOTE" in result["conclusion"]
    assert "0 of 4" in result["conclusion"]
    assert "0 of 1" in result["conclusion"]


def test_figures_are_the_means_over_seeds(
    promoted: Path, bundles: tuple[Path, Path], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    command(["compare", *map(str, bundles), "--json"])
    result = json.loads(capsys.readouterr().out)
    table = pq.read_table(promoted / layout.PREDICTIONS).to_pandas()
    error = (table["prediction"].astype(float) - table["target"].astype(float)) ** 2
    of_seed = [float(np.sqrt(error[(table["fold"] == "Park") & (table["seed"] == seed)].mean())) for seed in (0, 1, 2)]
    (park,) = (line for line in result["lines"] if line["name"] == "Park")
    assert park["figures"][0] == pytest.approx(np.mean(of_seed), abs=1e-9)
    assert park["seed_spread"] >= max(of_seed) - min(of_seed) - 1e-9


def test_an_invalid_bundle_or_one_without_figures_is_not_compared(
    bundles: tuple[Path, Path], tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(bundles[0].read_bytes()[:-500])
    assert command(["compare", str(bundles[1]), str(broken)]) == exits.INVALID
    message = capsys.readouterr().err
    assert broken.name in message
    assert "archive" in message
    assert command(["compare", str(bundles[0])]) == exits.BAD_INPUT
    assert command(["compare", str(bundles[0]), str(tmp_path / "none.tar.gz")]) == exits.BAD_INPUT


# ----------------------------------------------------------------------------------------------------- signatures


def key(folder: Path, name: str) -> Path:
    path = folder / name
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@somewhere", "-f", str(path)]
    subprocess.run(argv, check=True)
    return path


def allowed(folder: Path, *keys: Path) -> Path:
    path = folder / "allowed"
    path.write_text(
        "".join(f"{one.name} {' '.join(one.with_suffix('.pub').read_text().split()[:2])}\n" for one in keys)
    )
    return path


@needs_ssh
@pytest.mark.ffmpeg
def test_a_signed_bundle_is_still_one_file_and_its_signer_is_named(
    run_copy: Path, tmp_path: Path, kit_here: Kit
) -> None:
    anna, bert = key(tmp_path, "anna"), key(tmp_path, "bert")
    done = kit_here("bundle", "--out-dir", str(run_copy), "--sign", str(anna), cwd=tmp_path)
    assert done.returncode == exits.OK, done.stderr
    (bundle,) = run_copy.parent.glob("ensemble-results-*.tar.gz")
    with tarfile.open(bundle) as tar:
        names = [name.split("/", 1)[1] for name in tar.getnames()]
    assert names[:2] == [layout.MANIFEST, layout.SIGNATURE]
    assert str(anna) not in (run_copy / layout.CONFIG).read_text()
    for signers, code, text in (((anna, bert), 0, "signed by anna"), ((bert,), 3, "No principal matched")):
        done = kit_here(
            "verify", str(bundle), "--allowed-signers", str(allowed(tmp_path, *signers)), "--json", cwd=tmp_path
        )
        assert done.returncode == code, done.stderr
        (check,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "signature")
        assert text in check["found"]
    done = kit_here("verify", str(bundle), "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["labels"] == [UNCHECKED, UNPROVEN]


@needs_ssh
def test_a_signature_of_another_manifest_and_a_missing_one_fail(
    promoted: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    anna = key(tmp_path, "anna")
    run = shutil.copytree(promoted, tmp_path / "run")
    signers = allowed(tmp_path, anna)
    assert command(["verify", str(bundle_of(run, tmp_path / "b.tar.gz")), "--allowed-signers", str(signers)]) == 3
    assert "unsigned" in capsys.readouterr().err
    other = tmp_path / layout.MANIFEST
    other.write_text("{}")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(anna), "-n", "vmaf-ensemble-bundle", str(other)], check=True
    )
    files = files_of(run)
    signed = files | {layout.SIGNATURE: (tmp_path / layout.SIGNATURE).read_bytes()}
    bundle = packed(tmp_path / "c.tar.gz", signed, manifest_of(files))
    assert command(["verify", str(bundle), "--allowed-signers", str(signers), "--json"]) == exits.INVALID
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert not checks["signature"]["passed"]
    assert "incorrect signature" in checks["signature"]["found"]


@needs_ssh
@pytest.mark.ffmpeg
def test_a_file_that_is_no_key_is_refused(run_copy: Path, tmp_path: Path, kit_here: Kit) -> None:
    (tmp_path / "no-key").write_text("no key")
    for name in ("no-key", "nowhere"):
        done = kit_here("bundle", "--out-dir", str(run_copy), "--sign", str(tmp_path / name), cwd=tmp_path)
        assert done.returncode == exits.BAD_INPUT
        assert "--sign" in done.stderr
    assert not list(run_copy.parent.glob("ensemble-results-*.tar.gz"))


# -------------------------------------------------------------------------------------- contents of a bundle


@pytest.mark.ffmpeg
def test_show_lists_the_files_of_the_bundle_and_packs_nothing(run_copy: Path, tmp_path: Path, kit_here: Kit) -> None:
    done = kit_here("bundle", "--out-dir", str(run_copy), "--show", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = {entry["path"]: entry["size"] for entry in json.loads(done.stdout)["files"]}
    assert not list(run_copy.parent.glob("ensemble-results-*.tar.gz"))
    assert kit_here("bundle", "--out-dir", str(run_copy), cwd=tmp_path).returncode == 0
    manifest = json.loads((run_copy / layout.MANIFEST).read_text())
    packed = {entry["path"] for entry in manifest["files"] if not entry["path"].startswith(layout.LOGS)}
    assert {name for name in listed if not name.startswith(layout.LOGS)} == packed
    assert layout.CONFIG not in listed


PLANTED = ("planteduser", "plantedhost", "PlantedSecret", "planted-folder", "SN-PLANTED-123")
_TALKATIVE = """#!/bin/sh
echo "config read from /planted-folder/home/planteduser/.ffmpeg on {node}" >&2
exec "{ffmpeg}" "$@"
"""


@pytest.mark.ffmpeg
def test_no_bundle_names_the_box_or_its_owner(clips: Path, tmp_path: Path, kit: Kit, ffmpeg: object) -> None:
    """Plant names in paths, the environment, ffmpeg's stderr and a traceback; search every byte of the bundle."""
    home = tmp_path / "planted-folder" / "planteduser"
    shutil.copytree(clips, home / "My Clips")
    talkative = home / "ffmpeg"
    talkative.write_text(_TALKATIVE.format(node="box", ffmpeg=ffmpeg.path))  # type: ignore[attr-defined]
    talkative.chmod(0o755)
    environment = {
        "USER": "planteduser",
        "LOGNAME": "planteduser",
        "TOKEN": "PlantedSecret",
        "SERIAL": "SN-PLANTED-123",
    }
    run = home / "run"
    options = (
        "--ref-dir",
        str(home / "My Clips"),
        "--out-dir",
        str(run),
        "--ffmpeg",
        str(talkative),
        "--cqs",
        "37",
        "--no-anchor",
        "--seeds",
        "0,1,2",
        "--epochs",
        "1",
        "--box",
        "b",
    )
    done = kit("run", *options, cwd=home, env=environment)
    assert done.returncode in (exits.OK, exits.HOLD), done.stderr
    # a failure, whose traceback goes into the log
    (run / layout.PREREQS).rename(run / "away")
    assert kit("corpus", "--out-dir", str(run), cwd=home, env=environment).returncode == exits.BAD_INPUT
    (run / "away").rename(run / layout.PREREQS)
    assert kit("bundle", "--out-dir", str(run), cwd=home, env=environment).returncode == exits.OK
    bundle = max(home.glob("ensemble-results-*.tar.gz"), key=lambda path: path.stat().st_mtime_ns)
    result = [(name, word) for name, text in contents(bundle, tmp_path / "out") for word in PLANTED if word in text]
    assert result == []


def contents(bundle: Path, folder: Path) -> list[tuple[str, str]]:
    """Return every file of a bundle as text; Parquet with its columns and footers unpacked."""
    with tarfile.open(bundle) as tar:
        tar.extractall(folder, filter="data")
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                text += f"{table.schema.metadata} {table.to_pydict()}"
            texts.append((path.name, text))
    assert any("Traceback" in text for name, text in texts if name.endswith(".log"))
    assert {"report.html", "report.md"} <= {name for name, _ in texts}
    return texts
