"""The docs match the kit: their commands run, their options and files exist, their symptoms are the kit's own words."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from kit.core import exits
from kit.options.session import KIT_ROOT
from kit.platforms.registry import FAMILIES
from kit.system import validation
from kit.system.fsio import read_json
from tests.cli.builders import Command
from tests.video.builders import MakeClip

DOCUMENTS = [KIT_ROOT / "README.md", KIT_ROOT / "CONTRIBUTING.md", *sorted((KIT_ROOT / "docs").glob("*.md"))]
_STARTS = ("python3 -m kit", "python3 run_full_pipeline.py")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a documented command is run here: what its placeholders are, and how it ends.

    Attributes:
        placeholders: of the workspace below; further: options that make it quick.
    """

    placeholders: dict[str, str]
    code: int = exits.OK
    further: tuple[str, ...] = ()


_MEMBERS = {"BUNDLE": "bundle.tar.gz"}
_MODEL = {"M.onnx": "model.onnx", "DIR": "promoted"}
#: In this order: a later one may need what an earlier one has left.
RUN_HERE = {
    "python3 -m kit corpus status DIR": Ran(placeholders={"DIR": "run"}),
    "python3 -m kit corpus info DIR": Ran(placeholders={"DIR": "run"}),
    "python3 -m kit corpus export DIR --format csv --out F": Ran(placeholders={"DIR": "run", "F": "f.csv"}),
    "python3 -m kit corpus import FILE.jsonl --out DIR": Ran(placeholders={"FILE.jsonl": "old.jsonl", "DIR": "old"}),
    "python3 -m kit dataset show DIR": Ran(placeholders={"DIR": "clips"}),
    "python3 -m kit dataset manifest DIR": Ran(placeholders={"DIR": "clips"}),
    "python3 -m kit dataset verify DIR": Ran(placeholders={"DIR": "clips"}),
    "python3 -m kit dataset pack DIR --out DIR2": Ran(placeholders={"DIR": "clips", "DIR2": "packed"}),
    "python3 -m kit dataset unpack DIR2 --out DIR3": Ran(placeholders={"DIR2": "packed", "DIR3": "clips3"}),
    "python3 -m kit score --model M.onnx --corpus DIR": Ran(placeholders=_MODEL, further=("--json",)),
    "python3 -m kit score --model M.onnx --ref R --dis D --encoder libx264 --cq 31": Ran(
        placeholders={"M.onnx": "model.onnx", "R": "clips/Bars_320x180_25fps_8bit_420.yuv", "D": "dis.mkv"}
    ),
    "python3 -m kit fit --features F --val-source S --out FIT": Ran(
        placeholders={"F": "run", "S": "Fractal", "FIT": "fit"}, further=("--batch-size", "16")
    ),
    "python3 -m kit export --checkpoint C --out M2.onnx": Ran(
        placeholders={"C": "fit/checkpoint.safetensors", "M2.onnx": "tiny.onnx"}
    ),
    "python3 -m kit loso --features F --arch linear,mlp_small --out DIR": Ran(
        placeholders={"F": "run", "DIR": "loso"}, further=("--epochs", "1", "--seeds", "0")
    ),
    "python3 -m kit eval --model M2.onnx --features F": Ran(
        placeholders={"M2.onnx": "tiny.onnx", "F": "run"}, further=("--out-json", "eval.json")
    ),
    "python3 -m kit validate --model M2.onnx --features F": Ran(
        placeholders={"M2.onnx": "tiny.onnx", "F": "run"},
        further=("--rows", "9", "--min-plcc", "0.1", "--max-rmse", "99"),
    ),
    "python3 -m kit register --model M2.onnx --id ID --kind fr --license BSD-3-Clause": Ran(
        placeholders={"M2.onnx": "tiny.onnx", "ID": "a_head"}
    ),
    "python3 -m kit merge ensemble-results-*.tar.gz old.jsonl --assume-teacher vmaf_v0.6.1 --out corpus": Ran(
        placeholders={"ensemble-results-*.tar.gz": "bundle.tar.gz"}
    ),
    "python3 run_full_pipeline.py --ref-dir DIR": Ran(
        placeholders={"DIR": "clips"}, code=exits.HOLD, further=("--out-dir", "run")
    ),
    "python3 run_full_pipeline.py --ref-dir DIR --shard-only": Ran(
        placeholders={"DIR": "clips"}, further=("--encoders", "libx264", "--cqs", "31", "--out-dir", "shard")
    ),
    "python3 run_full_pipeline.py --ref-dir DIR --dry-run": Ran(placeholders={"DIR": "clips"}),
    "python3 -m kit verify BUNDLE": Ran(placeholders=_MEMBERS, further=("--json",)),
    "python3 -m kit verify BUNDLE --allowed-signers F": Ran(
        placeholders=_MEMBERS | {"F": "signers"}, code=exits.INVALID
    ),  # it is unsigned
    "python3 -m kit bundle --show --out-dir RUN": Ran(placeholders={"RUN": "run"}),
    "python3 -m kit binaries check": Ran(placeholders={}),
}
#: The file of tests that runs it, where it takes more than a command line or is run there anyway.
RUN_ELSEWHERE = {
    "python3 run_full_pipeline.py": "end_to_end/test_tarball.py",
    "python3 -m kit selftest": "bootstrap/test_exits.py",
    "python3 run_full_pipeline.py --ref-dir /path/to/reference/clips": "end_to_end/test_run.py",
    "python3 run_full_pipeline.py --corpus corpus": "corpus/test_merge.py",
    "python3 -m kit platform": "platforms/test_options.py",
    "python3 -m kit clean": "cli/test_clean.py",
    "python3 -m kit verify RUN": "verify/test_tampering.py",
    "python3 -m kit verify BUNDLE --retrain 3": "verify/test_verify.py",
    "python3 -m kit compare BUNDLE BUNDLE": "verify/test_compare.py",
    "python3 -m kit report RUN": "page/test_page.py",
    "python3 -m kit report BUNDLE --out DIR": "page/test_page.py",
    "python3 -m kit prereqs --ref-dir DIR --out-dir RUN": "cluster/test_cluster.py",
    "python3 -m kit worker --scheduler 127.0.0.1:8786 --ref-dir DIR": "cluster/test_cluster.py",
    "python3 -m kit corpus --out-dir RUN --scheduler 127.0.0.1:8786": "cluster/test_cluster.py",
    "python3 -m kit worker --scheduler tls://HOST:8786 --tls-ca ca.pem --tls-cert box.pem --tls-key box.key --ref-dir "
    "DIR": "cluster/test_cluster.py",
    "python3 -m kit corpus --scheduler tls://HOST:8786 --tls-ca ca.pem --tls-cert box.pem --tls-key box.key --out-dir "
    "RUN": "cluster/test_cluster.py",
    "python3 -m kit tune --features F --param hidden=choice:16,32,64 --param lr=float:1e-4:1e-2:log --trials 20 --out "
    "DIR": "heads/test_tune.py",
    "python3 -m kit repair-onnx M3.onnx --out M4.onnx": "models/test_external_data.py",
    "python3 -m kit binaries add PATH": "video/test_binaries.py",
    "python3 -m kit extract-features --dataset npd --ref-dir NPD --out npd.parquet": "features/test_extraction.py",
    "python3 -m kit extract-features --dataset konvid-1k --ref-dir DIR --out konvid.parquet": "features/test_extraction.py",
    "python3 -m kit combine npd=npd.parquet konvid-1k=konvid.parquet --out all.parquet": "features/test_tables.py",
    "python3 -m kit join-mos --features konvid.parquet --mos MOS.csv --on source=flickr_id --score MOS --out "
    "mos.parquet": "features/test_tables.py",
}


#: Schemas of what these commands write and print.
WRITTEN = {
    "history": "fit/history.json",
    "tiny_sidecar": "tiny.json",
    "loso": "loso/loso.json",
    "eval": "eval.json",
    "validation": "tiny.validation.json",
    "registry": "registry.json",
    "pack": "packed/pack.json",
    "groups": "packed/groups.json",
    "merge": "corpus/merge.json",
    "shard": "corpus/shard.json",
}
WRITTEN_YAML = {"fit_config": "fit/config.yaml", "dataset_manifest": "clips/clips.yaml"}
PRINTED = {
    "score_output": "python3 -m kit score --model M.onnx --corpus DIR",
    "verify_output": "python3 -m kit verify BUNDLE",
}


def commands() -> list[str]:
    """Every command line in a block of a document; what stands behind two blanks or a # is a remark."""
    found = []
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            text = line.strip()
            if line.startswith("    ") and text.startswith(_STARTS):
                found.append(re.split(r"\s{2,}|\s+#", text)[0])
    return found


def test_every_command_is_run_by_a_test() -> None:
    assert sorted(set(commands())) == sorted({**RUN_HERE, **RUN_ELSEWHERE})


@pytest.mark.parametrize(("line", "file"), RUN_ELSEWHERE.items())
def test_the_file_that_runs_it_names_its_command_and_options(line: str, file: str) -> None:
    text = (KIT_ROOT / "tests" / file).read_text(encoding="utf-8")
    words = shlex.split(line)
    named = ([words[3]] if words[1] == "-m" else []) + [word for word in words if re.match("--(?!tls-)", word)]
    assert [word for word in named if f'"{word}"' not in text] == []


@pytest.fixture(scope="module")
def workspace(
    tmp_path_factory: pytest.TempPathFactory, finished: Path, promoted: Path, clips: Path, make_clip: MakeClip
) -> Iterator[Path]:
    """A folder in which every placeholder of the documents has something that it stands for."""
    place = tmp_path_factory.mktemp("documents")
    for name, folder in (("run", finished), ("promoted", promoted), ("clips", clips)):
        shutil.copytree(folder, place / name)
    (bundle,) = finished.parent.glob("ensemble-results-*.tar.gz")
    shutil.copy(bundle, place / "bundle.tar.gz")
    (model,) = (promoted / "exports").glob("fr_regressor_v2_ensemble*_ensemble.onnx")
    for suffix in (".onnx", ".json"):
        shutil.copy(model.with_suffix(suffix), place / f"model{suffix}")
    make_clip(place / "dis.mkv", "Bars", "-c:v", "libx264", "-crf", "31")
    (place / "signers").write_text(f"nobody ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}\n")
    yield place
    shutil.rmtree(place)


@pytest.mark.ffmpeg
def test_the_commands_of_the_documents_do_what_they_say(
    workspace: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workspace)
    assert command(["corpus", "export", "run", "--format", "jsonl", "--out", "old.jsonl"]) == exits.OK
    printed: dict[str, str] = {}
    for line, how in RUN_HERE.items():
        words = [how.placeholders.get(word, word) for word in shlex.split(line)]
        argv = ["run", *words[2:]] if words[1] == "run_full_pipeline.py" else words[3:]
        assert command([*argv, *how.further]) == how.code, f"{line}\n{capsys.readouterr().err}"
        printed[line] = capsys.readouterr().out
    assert not_as_described(workspace, printed) == []


def not_as_described(folder: Path, printed: dict[str, str]) -> list[str]:
    """What the files and the output of the commands have that their schemas do not describe."""
    documents = [(schema, read_json(folder / path)) for schema, path in WRITTEN.items()]
    documents += [(schema, json.loads(printed[line])) for schema, line in PRINTED.items()]
    documents += [(schema, yaml.safe_load((folder / path).read_text())) for schema, path in WRITTEN_YAML.items()]
    return [f"{schema}: {problem}" for schema, value in documents for problem in validation.problems(schema, value)]


# --------------------------------------------------------------------------------------------- form


def test_the_readme_is_short() -> None:
    lines = (KIT_ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_outside_the_site_lead_somewhere(name: str) -> None:
    """Links within ``docs/`` are checked by ``nox -s docs``."""
    targets = re.findall(r"\]\(([^)#]+)", (KIT_ROOT / name).read_text(encoding="utf-8"))
    assert [target for target in targets if not (KIT_ROOT / target).exists()] == []


def test_every_decision_has_its_parts_and_a_line_in_the_index() -> None:
    folder = KIT_ROOT / "docs" / "adr"
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("0*.md"))}
    heads = ("## Status", "## Context", "## Decision")
    assert {name: head for name, text in texts.items() for head in heads if f"\n{head}" not in text} == {}
    lines = [f"| [{text[2:6]}]({name}) | {text[7 : text.index(chr(10))]} |" for name, text in texts.items()]
    assert [line for line in lines if line not in (folder / "index.md").read_text(encoding="utf-8")] == []


def test_files_of_the_kit_that_a_page_names_exist() -> None:
    pages = [*DOCUMENTS, *(KIT_ROOT / "docs" / "adr").glob("*.md")]
    named = {
        path
        for page in pages
        for path in re.findall(r"`((?:kit|tests|benchmarks|tools|docs)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert sorted(path for path in named if not (KIT_ROOT / path).exists()) == []


def test_every_option_is_documented() -> None:
    texts = json.loads((KIT_ROOT / "kit" / "cli" / "help.json").read_text(encoding="utf-8"))
    documents = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    options = {
        (name, option) for name, text in texts.items() for option in re.findall(r"^ +(--[a-z-]+)", text, re.MULTILINE)
    }
    assert sorted(found for found in options if not re.search(rf"{found[1]}(?![\w-])", documents)) == []


def test_every_option_in_a_document_is_there() -> None:
    texts = (KIT_ROOT / "kit" / "cli" / "help.json").read_text(encoding="utf-8")
    inline = {
        option
        for document in DOCUMENTS
        for line in document.read_text(encoding="utf-8").splitlines()
        for code in re.findall(r"`([^`]+)`", line)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code)
        if not line.startswith("    ")
    }
    assert sorted(option for option in inline if option not in texts) == []


# --------------------------------------------------------------------------------------------- troubleshooting


def symptoms() -> list[str]:
    """What the first column of the troubleshooting tables quotes."""
    text = (KIT_ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return [
        quoted
        for line in text.splitlines()
        if line.startswith("| ")
        for quoted in re.findall(r'"([^"]+)"', line.split("|")[1])
    ]


def test_a_symptom_is_what_the_kit_says() -> None:
    texts = "\n".join(
        node.value
        for path in (KIT_ROOT / "kit").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    assert len(symptoms()) > 15
    assert [symptom for symptom in symptoms() if symptom not in texts] == [], "update docs/troubleshooting.md"


def test_every_line_of_ffmpeg_that_has_a_remedy_can_be_looked_up() -> None:
    text = (KIT_ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    lines = [line for family in FAMILIES for line in family.remedies]
    assert len(lines) > 15
    assert [line for line in lines if f"`{line}`" not in text] == []
