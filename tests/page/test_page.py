"""The page of a run: its contents, its safety, its size, and that it is reproducible."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kit.core import exits, layout
from kit.core.errors import BadInput, DiskFull, PageFailed
from kit.corpus.store.shard import FailedCell, read_manifest
from kit.page import make
from kit.page.blocks import Section, Table, TableCell, Text, number
from kit.page.headline import headline
from kit.page.html import html
from kit.page.markdown import markdown, plain
from kit.page.plots import COLOURS, figure
from kit.page.write import write
from kit.steps import pipeline, step_05_bundle
from kit.system.proc import Processes
from tests.cli.builders import Command
from tests.options.builders import run_in
from tests.steps.builders import judged_run
from tests.verify.builders import bundle_of, edit

SECTIONS = [
    "predicted",
    "errors",
    "slices",
    "time",
    "folds",
    "holdouts",
    "rate",
    "training",
    "uncertainty",
    "baselines",
    "calibration",
    "coverage",
    "cells",
    "provenance",
]
#: Sections of an INVALID verdict.
WITHOUT_FIGURES = ["cells", "provenance", "left-out"]
HOSTILE = "<script>alert('x')</script> | `[a](javascript:b)` & \"q\" $x^2$"


class Page(HTMLParser):
    """The parts of a page that these tests check."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.images: list[str] = []
        self.addresses: list[str] = []
        self.policy = ""
        self.scripts = 0
        self.tables: list[list[int]] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("href", "src", "xlink:href", "action") if name in given]
        assert not [name for name in given if name.startswith("on") or name == "style"]
        if tag in ("h1", "h2"):
            self.headings.append((tag, given.get("id", "")))
        if tag == "svg":
            assert given["role"] == "img"
            self.images.append(given["aria-label"])
        self.scripts += tag == "script"
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "tr":
            self.tables.append([])
        if tag in ("td", "th"):
            self.tables[-1].append(1)


def html_text(text: str) -> str:
    """Return a page's text without its markup."""
    return unescape(re.sub(r"<[^>]*>", "", text))


def page_of(run: Path, out: Path) -> tuple[Page, str]:
    write(run, out)
    text = (out / "report.html").read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with HOLD; copy it before changing it."""
    return judged_run(tmp_path_factory.mktemp("held") / "run")


@pytest.fixture(scope="module")
def shown(held: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    out = tmp_path_factory.mktemp("page") / "report"
    write(held, out)
    return out


# ----------------------------------------------------------------------------------------------------- contents


@pytest.mark.essential
def test_the_verdict_and_its_reasons_come_first_and_every_section_follows_in_order(shown: Path) -> None:
    text = (shown / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [("h1", "verdict"), *(("h2", name) for name in SECTIONS)]
    assert len(set(page.ids)) == len(page.ids)
    head = text[text.index("<body>") : text.index("<main>")]
    assert ">HOLD: mean PLCC 0." in head[head.index("<h1") : head.index("</h1>")]
    assert re.search(r"<li>mean PLCC over seeds and folds: 0\.\d{4}, required: at least 0\.95</li>", head)
    assert text.index("FAILED") < text.index("<h2")


def test_figures_have_a_text_and_files(shown: Path) -> None:
    page = Page((shown / "report.html").read_text(encoding="utf-8"))
    names = [f"{kind}-{n:02d}" for kind in ("predicted", "rate", "time") for n in range(1, 5)]
    expected = {
        *names,
        "error-rmse",
        "error-bias",
        "folds",
        "training",
        "bootstrap-mean-plcc",
        "bootstrap-srocc",
        "bootstrap-rmse",
        "calibration",
    }
    files = {path.stem: path.read_bytes() for path in (shown / "figures").iterdir()}
    assert files.keys() == expected
    assert len(page.images) == len(expected)
    assert all(re.search(r"\d\.\d", alt) for alt in page.images)
    assert all(data.startswith(b"\x89PNG") for data in files.values())
    text = (shown / "report.md").read_text(encoding="utf-8")
    assert {Path(name).stem for name in re.findall(r"\]\((figures/.*?)\)", text)} == expected


def test_figures_on_the_page_are_those_of_the_verdict(held: Path, shown: Path) -> None:
    verdict = json.loads((held / "HOLD.json").read_text())
    text = (shown / "report.html").read_text(encoding="utf-8")
    worst = verdict["evidence"]["worst_source"]
    assert f"Worst source: {worst['name']}: RMSE {worst['rmse']:.2f}" in text
    mean = verdict["evidence"]["ensemble_mean"]
    assert f"<dd>{mean['rmse']:.2f}</dd>" in text
    source = verdict["evidence"]["per_source"]["Clip2"]
    row = re.search(r"<td>Clip2</td>(.*?)</tr>", text).group(1)  # type: ignore[union-attr]
    assert f"{source['rmse']:.2f}" in row
    assert f"{source['plcc']:.4f}" in row


def test_an_invalid_verdict_leaves_sections_out_with_the_reason(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", failed=[broken()])
    page, text = page_of(run, tmp_path / "out")
    assert [name for _, name in page.headings][1:] == WITHOUT_FIGURES
    assert page.images == []
    (left_out,) = re.findall(r"<li>([^<]*): the verdict is INVALID", text)
    assert len(left_out.split(", ")) >= len(SECTIONS) - len(WITHOUT_FIGURES) + 1
    head = text[: text.index("<main>")]
    missing, steps = head.index("What is missing"), head.index("What to try next")
    assert "<li>cell Clip0/libx264/cq50 failed: it broke</li>" in head[missing:steps]
    assert "--allow-partial" in head[steps:]


def test_an_older_run_leaves_sections_out_with_the_reason(held: Path, tmp_path: Path) -> None:
    run = shutil.copytree(held, tmp_path / "run")
    for name in (layout.seed_report(0), layout.seed_report(1), layout.ENSEMBLE_REPORT):
        edit(run / name, lambda value: value.pop("training_loss"))
    late = ("errors", "uncertainty", "baselines", "calibration", "coverage")
    edit(run / "HOLD.json", lambda value: [value["evidence"].pop(name) for name in late] + [value.pop("expert_gate")])
    manifest = run / layout.CORPUS / "shard.json"
    edit(manifest, lambda value: [cell.update(encoded_bytes=None) for cell in value["cells"]])
    page, text = page_of(run, tmp_path / "out")
    reasons = listed(text)
    assert [name for name in late if any(reason.endswith(f"no {name}.") for reason in reasons)] == [*late]
    assert sum("training loss" in reason for reason in reasons) == 1
    assert sum("encoded bytes" in reason for reason in reasons) == 1
    assert len(page.images) == 11
    for name in (layout.seed_report(0), layout.seed_report(1), layout.ENSEMBLE_REPORT):
        (run / name).unlink()
    left_out = listed(page_of(run, tmp_path / "again")[1])
    assert "Seeds and folds, Training: the run has no reports of its seeds." in left_out


def listed(text: str) -> list[str]:
    """Return the items of the list of what is left out."""
    return re.findall(r"<li>([^<]*)</li>", unescape(text[text.index('id="left-out"') :]))


def test_the_evidence_has_its_cautions(held: Path, shown: Path) -> None:
    evidence = json.loads((held / "HOLD.json").read_text())["evidence"]
    text = html_text((shown / "report.html").read_text(encoding="utf-8"))
    for words in (
        evidence["uncertainty"]["caution"],
        evidence["calibration"]["applies"],
        f"{evidence['errors']['frame']['overall']['p95']:.2f}",
    ):
        assert words in text
    # four groups are too few for 80 %
    assert "needs at least 9 content groups, there are 4" in text
    worst = evidence["worst_source"]
    named = rf"RMSE of the worst source \({worst['name']}\)\s*FAILED\s*{worst['rmse']:.2f}\s*at most 3"
    assert re.search(named, text)
    assert re.search(r"content groups\s*too little evidence\s*4\s*at least 9", text)


# ------------------------------------------------------------------------------------------------------- safety


def broken(text: str = "it broke") -> FailedCell:
    return FailedCell(
        key="a" * 64, source="Clip0", encoder="libx264", cq=50, reason=text, command=text, stderr_tail=f"{text}\n{text}"
    )


def test_texts_of_other_boxes_stay_text(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", failed=[broken(HOSTILE)])
    page, text = page_of(run, tmp_path / "out")
    assert page.scripts == 1
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") >= 4
    page_text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?m)^(?! {4}).*<", page_text), "outside of code, Markdown passes < on to the browser"
    assert r"\|" in page_text


def test_names_in_figures_stay_text() -> None:
    made = figure("x", alt=HOSTILE, caption=HOSTILE, draw=lambda axes: axes.set_title(HOSTILE))
    text = html(headline(INVALID), HOSTILE, [Section(id="a", title=HOSTILE, blocks=(Text(text=HOSTILE),))])
    assert "<script>alert" not in made.svg + text
    assert Page(made.svg).images == [HOSTILE]
    # a text that looks like a formula is not typeset
    assert "$x^2$" in made.svg


def test_a_table_of_hostile_texts_keeps_its_shape() -> None:
    table = Table(
        caption=HOSTILE, columns=(HOSTILE, "n"), rows=[[TableCell(text=HOSTILE + "\n# b", bad=True), number(1.0)]]
    )
    section = Section(id="a", title="t", blocks=(table,))
    rows = Page(html(headline(INVALID), "t", [section])).tables
    assert [len(row) for row in rows] == [2, 2]
    lines = [line for line in markdown(headline(INVALID), "t", [section], "f").splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [3, 3, 3]
    assert plain("a\n# b") == r"a \# b"


INVALID = {
    "verdict": "INVALID",
    "recommendation": HOSTILE,
    "gate": {"mean_plcc": None},
    "corpus": {"waived_cells": 2},
    "evidence": {"problems": [HOSTILE] * 30},
}


def test_the_page_loads_nothing_and_allows_only_its_own_script_and_style(shown: Path) -> None:
    text = (shown / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses), page.addresses
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[\w+/=]{44}'; script-src 'sha256-[\w+/=]{44}'; "
        r"base-uri 'none'; form-action 'none'",
        page.policy,
    )
    assert "url(http" not in text
    assert "@import" not in text


def test_many_reasons_are_cut(tmp_path: Path) -> None:
    text = html(headline(INVALID), "t", [])
    assert "<details><summary>19 more</summary>" in text
    assert text.count("&lt;script&gt;alert") > 30
    assert "2 failed cells were waived" in "".join(headline(INVALID).reasons)


# ------------------------------------------------------------------------------------ size and reproducibility


def same(one: Path, other: Path) -> bool:
    compared = filecmp.dircmp(one, other)
    inner = all(same(one / name, other / name) for name in compared.common_dirs)
    alike = filecmp.cmpfiles(one, other, compared.common_files, shallow=False)
    return inner and not (compared.left_only or compared.right_only or alike[1] or alike[2])


def test_the_same_run_gives_the_same_bytes(held: Path, shown: Path, tmp_path: Path) -> None:
    write(held, tmp_path / "again")
    assert same(shown, tmp_path / "again")
    with (tmp_path / "again" / "report.md").open("a") as stream:
        stream.write(" ")
    assert not same(shown, tmp_path / "again")


def test_fifty_thousand_rows_take_less_than_three_megabytes(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", sources=14, encoders=("libx264", "libx265", "libsvtav1"), frames=400)
    assert read_manifest(run / layout.CORPUS).rows >= 50_000
    page, _ = page_of(run, tmp_path / "out")
    assert (tmp_path / "out" / "report.html").stat().st_size < 3_000_000
    assert len(page.images) == 12 + 12 + 12 + 8


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#12161b"])
def test_every_colour_of_a_figure_has_enough_contrast(ground: str) -> None:
    for colour in COLOURS:
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


# ------------------------------------------------------------------------------------- in a run, and by `report`


def members(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as tar:
        return {info.name.split("/", 1)[1]: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def packed(run: Path) -> Path:
    """Run the last step alone."""
    config, session = run_in(run, epochs=3)
    bundle = pipeline.execute(config, pipeline.STEPS[4:], session)[step_05_bundle.NAME]
    assert isinstance(bundle.path, Path)
    return bundle.path


def test_every_bundle_has_a_page_and_report_makes_the_same(
    held: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(held, tmp_path / "run")
    bundle = packed(run)
    result = members(bundle)
    assert result["report/report.html"] == (run / layout.REPORT_PAGE).read_bytes()
    assert {"report/report.md", "report/figures/folds.png"} <= result.keys()
    assert command(["report", str(bundle), "--json"]) == exits.OK
    page = Path(json.loads(capsys.readouterr().out)["page"])
    assert page.parent == tmp_path / (bundle.name.removesuffix(".tar.gz") + "-report")
    assert same(page.parent, run / layout.REPORT)


def test_report_replaces_an_earlier_page_of_a_run_folder(
    held: Path, shown: Path, tmp_path: Path, command: Command
) -> None:
    run = shutil.copytree(held, tmp_path / "run")
    (run / layout.REPORT / "figures").mkdir(parents=True)
    (run / layout.REPORT / "figures" / "old.png").write_bytes(b"old")
    (run / layout.REPORT_PAGE).write_text("an earlier page")
    assert command(["report", str(run)]) == exits.OK
    assert same(run / layout.REPORT, shown)
    assert not list(run.glob(".tmp-*"))


def test_a_bundle_that_is_not_valid_gets_no_page(
    held: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(held, tmp_path / "run")
    edit(run / "HOLD.json", lambda value: value["gate"].update(mean_plcc=0.99))
    bundle, out = bundle_of(run, tmp_path / "b.tar.gz", "HOLD"), tmp_path / "out"
    assert command(["report", str(bundle), "--out", str(out)]) == exits.INVALID
    assert "gate" in capsys.readouterr().err
    (run / "HOLD.json").unlink()
    assert command(["report", str(run), "--out", str(out)]) == exits.BAD_INPUT
    assert command(["report", str(tmp_path / "none")]) == exits.BAD_INPUT
    assert not out.exists()


def test_a_page_replaces_nothing_else(held: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(BadInput, match="mine"):
        make.make(held, tmp_path / "mine", Processes())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "text"


def test_a_failed_page_does_not_hold_up_the_verdict(
    held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(held, tmp_path / "run")
    monkeypatch.setattr(make, "_MODULE", "kit.page.nothing")
    with pytest.raises(PageFailed, match=r"HOLD .*ensemble-results-testbox-") as error:
        packed(run)
    assert error.value.exit_code == exits.INTERNAL
    (bundle,) = tmp_path.glob("ensemble-results-*.tar.gz")
    assert error.value.hint.splitlines()[-1] == f"Send back: {bundle}"
    assert not [name for name in members(bundle) if name.startswith(layout.REPORT)]
    assert (run / "HOLD.json").is_file()
    assert not (run / layout.REPORT).exists()


def test_a_full_disk_is_reported(held: Path, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(2_700_000))
    with pytest.raises(DiskFull):
        make.make(held, small_disk / "report", Processes())
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_new_verdict_removes_the_old_page(held: Path, tmp_path: Path) -> None:
    run = shutil.copytree(held, tmp_path / "run")
    (run / layout.REPORT / "figures").mkdir(parents=True)
    (run / layout.REPORT_PAGE).write_text("an earlier page")
    layout.withdraw_verdict(run)
    assert not (run / layout.REPORT).exists()


@pytest.mark.ffmpeg
def test_a_run_ends_with_its_result_on_the_screen(
    run_copy: Path, command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    word = layout.verdicts_in(run_copy)[0]
    assert command(["verdict", "--out-dir", str(run_copy)]) == pipeline.EXIT_OF_VERDICT[word]
    end = capsys.readouterr().err.split("Result")[-1]
    assert word in end
    for line in ("mean PLCC", "spread over seeds", "RMSE", "bias", "worst source", "page"):
        assert line in end
    assert (run_copy / layout.REPORT_PAGE).is_file()
