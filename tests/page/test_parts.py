"""Parts of the page: BD-rates, hold-outs, other models, long tables, legends, errors by resolution and over time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.core import layout
from kit.page.blocks import MOST_ROWS, Section, Table, correlation, number, percent
from kit.page.gather import gather
from kit.page.headline import headline
from kit.page.html import html
from kit.page.markdown import markdown
from kit.page.plots import figure, legend
from kit.page.write import write
from kit.system.fsio import write_json
from tests.steps.builders import judged_run
from tests.verify.builders import edit

INVALID = {
    "verdict": "INVALID",
    "recommendation": "r",
    "gate": {"mean_plcc": None},
    "corpus": {"waived_cells": 0},
    "evidence": {"problems": ["p"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two sources more than there are groups needed, with two encoders; copy it before changing it."""
    return judged_run(tmp_path_factory.mktemp("parts") / "run", cqs=(19, 27, 35, 43), frames=30)


@pytest.fixture
def page_with(run: Path, tmp_path: Path) -> Callable[[Callable[[Path], object]], str]:
    """Change a copy of the run and return the text of its page."""

    def make(change: Callable[[Path], object]) -> str:
        folder = shutil.copytree(run, tmp_path / "run")
        change(folder)
        write(folder, tmp_path / "out")
        return unescape((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))

    return make


def cells_of(text: str, caption: str) -> list[list[str]]:
    """Return the rows of the table with this caption."""
    table = text[text.index(f'<table class="sortable" aria-label="{caption}') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    return [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("</tr>")[:-1]]


def sized(folder: Path, encoder: str, factor: float, cqs: tuple[int, ...] = ()) -> None:
    """Make the encodes of an encoder larger by a factor than those of the first, or unknown at some quality points."""

    def change(manifest: Any) -> None:
        sizes = {(cell["source"], cell["cq"]): cell["encoded_bytes"] for cell in manifest["cells"]}
        for cell in manifest["cells"]:
            if cell["encoder"] == encoder:
                size = None if cell["cq"] in cqs else round(sizes[cell["source"], cell["cq"]] * factor)
                cell["encoded_bytes"] = size

    edit(folder / layout.CORPUS / "shard.json", change)


def test_bd_rates_are_those_of_the_sizes_by_teacher_and_by_prediction(
    page_with: Callable[[Callable[[Path], object]], str],
) -> None:
    text = page_with(lambda folder: sized(folder, "libx265", 0.8))
    rows = cells_of(text, "BD-rate by source")
    assert [row[:3] for row in rows] == [[f"Clip{number}", "libx265", "libx264"] for number in range(4)]
    teacher, predicted, between = ([float(row[place].rstrip(" %")) for row in rows] for place in (3, 4, 5))
    # scores differ by noise of a point between the encoders, the rates by a fifth
    assert teacher == pytest.approx([-20] * 4, abs=1.5)
    assert between == pytest.approx(np.subtract(predicted, teacher), abs=0.11)
    (mean,) = re.findall(r"mean over 4 of 4 sources: (\S+) % by the teacher", text)
    assert float(mean) == pytest.approx(np.mean(teacher), abs=0.11)
    assert "PCHIP" in text
    assert all(re.fullmatch(r"\d+\.\d to \d+\.\d", row[6]) and row[7] == "4 and 4" for row in rows)
    assert "fewer than the usual 4" not in text


def test_without_a_common_range_a_bd_rate_has_its_reason(
    page_with: Callable[[Callable[[Path], object]], str],
) -> None:
    text = page_with(lambda folder: sized(folder, "libx265", 1.0, cqs=(19, 27, 35)))
    rows = cells_of(text, "BD-rate by source")
    assert [row[3:6] for row in rows] == [["–", "–", "–"]] * 4
    assert all(row[6].startswith("none: the second curve has 1 quality point") for row in rows)
    assert "fewer than the usual 4" in text


def test_hold_outs_and_the_unseen_encoder_are_shown(page_with: Callable[[Callable[[Path], object]], str]) -> None:
    figures = {"plcc": 0.99998, "srocc": 0.9, "krocc": 0.8, "rmse": 1.5, "mae": 1.0, "bias": -0.25}
    fold = {"n_train": 9, "n_val": 9, **figures, "per_seed": {"0": figures, "1": figures | {"rmse": 1.75}}}

    def change(folder: Path) -> None:
        report = {"by": "encoder", "folds": [{"held_out": name, **fold} for name in ("libx264", "libx265")]}
        write_json(folder / layout.holdout_report("encoder"), report)
        between = {"value": 0.4, "low": 0.1, "high": 0.7}
        unseen = {"libx265": {"rmse_with": 0.9, "rmse_without": 0.5, "ratio": 1.8, "difference": between}}
        block = {"conclusion": "The block harms.", "unseen": unseen}
        edit(folder / "HOLD.json", lambda value: value["evidence"].update(codec_block=block))

    text = page_with(change)
    (one, two) = cells_of(text, "By held-out encoder, ensemble mean")
    assert one[:6] == ["libx264", "9", "1.50", "1.50 to 1.75", "-0.25", "0.99998"]
    assert two[0] == "libx265"
    assert "The block harms." in text
    assert cells_of(text, "Each encoder and content group held out together")[0] == [
        "libx265",
        "0.90",
        "0.50",
        "1.80",
        "+0.40",
        "+0.10",
        "+0.70",
    ]


def test_the_shipped_model_and_one_that_has_not_converged_are_marked(
    page_with: Callable[[Callable[[Path], object]], str],
) -> None:
    def change(value: Any) -> None:
        models = value["evidence"]["baselines"]
        model = {"file": "mine.onnx", "sha256": "ab" * 32, "corpus_sha256": None, "source_ids": None}
        models["shipped"] = {**models["linear"], "what": "the given model", "model": model, "leaked": True}
        models["shipped"] |= {"leaked_reason": "it knows two sources", "converged": None}
        models["mlp_small"] |= {"converged": False, "convergence": {"last_tenth": 3.5, "tenth_before": 4.5}}
        models["no_codec_block"] |= {"converged": False, "convergence": None}

    text = page_with(lambda folder: edit(folder / "HOLD.json", change))
    rows = {row[0]: row for row in cells_of(text, "Baselines")}
    assert rows["shipped"][-1] == "YES"
    assert rows["mlp_small"][-2] == "NOT CONVERGED"
    assert re.search(r"<td>mlp_small</td><td class=\"number quiet\"", text)
    assert not re.search(r"<td>shipped</td><td class=\"number quiet\"", text)
    assert "mine.onnx, SHA-256 abababababababab; it knows two sources" in text
    assert "fewer than the 50 epochs" in text
    assert "loss 3.5 in the last tenth of the training, 4.5 in the tenth before" in text


def test_errors_are_shown_by_resolution_and_over_time(run: Path, page_with: Callable[..., str]) -> None:
    def change(folder: Path) -> None:
        def wide(manifest: Any) -> None:
            manifest["sources"][0]["geometry"] |= {"width": 640, "height": 360}
            manifest["sources"][1]["geometry"] = None

        edit(folder / layout.CORPUS / "shard.json", wide)

    text = page_with(change)
    rows = cells_of(text, "By resolution, ensemble mean")
    assert [row[:2] for row in rows] == [["unknown", "1"], ["64x64", "2"], ["640x360", "1"]]
    evidence = json.loads((run / "HOLD.json").read_text())["evidence"]["per_source"]
    assert rows[2][4] == f"{evidence['Clip0']['rmse']:.2f}"
    facts = gather(run)
    for row in cells_of(text, "The worst second of each source"):
        # 30 frames at 25 a second: the second of the two has 5 frames of each of 8 cells
        assert row[2] == ("200" if row[1] in ("0", "frame 0") else "40")
        second = 0 if row[2] == "200" else 1
        error = [cell.scores.error[cell.frames // 25 == second] for cell in facts.of_source(row[0])]
        assert float(row[3]) == pytest.approx(np.sqrt(np.mean(np.concatenate(error) ** 2)), abs=0.0051)


@pytest.mark.parametrize("rows", [MOST_ROWS, MOST_ROWS + 1])
def test_a_table_of_more_than_forty_rows_is_folded(rows: int) -> None:
    table = Table(caption="c", columns=("n", "v"), rows=[[f"{row}", number(row / 7)] for row in range(rows)])
    section = [Section(id="a", title="t", blocks=(table,))]
    folded = rows > MOST_ROWS
    text = html(headline(INVALID), "t", section)
    assert ('<details class="table">' in text) == folded
    assert (f"c: {rows} rows" in text) == folded
    assert ("<details>" in markdown(headline(INVALID), "t", section, "f")) == folded
    assert text.count("<tr>") == rows + 1


def test_a_key_is_written_only_where_the_text_is_not_the_number() -> None:
    assert number(0.123456).sorted_by == ""
    assert correlation(0.99998).sorted_by == ""
    assert percent(0.5).sorted_by == "0.5"
    assert Table(caption="c", columns=("n",), rows=[["–"]]).cells[0][0].sorted_by == ""


def test_there_is_no_negative_zero() -> None:
    assert [number(-0.001, form).text for form in (".2f", "+.2f", ".4f")] == ["0.00", "+0.00", "-0.0010"]


@pytest.mark.parametrize(("drawn", "names"), [(None, {"one", "two", "three"}), ([2], {"three"}), ([], set())])
def test_a_legend_names_only_what_is_drawn(drawn: list[int] | None, names: set[str]) -> None:
    made = figure("x", alt="a", caption="c", draw=lambda axes: legend(axes, ["one", "two", "three"], "best", drawn))
    assert {name for name in ("one", "two", "three") if f">{name}<" in made.svg} == names


def test_one_encoder_needs_no_legend() -> None:
    assert ">one<" not in figure("x", alt="a", caption="c", draw=lambda axes: legend(axes, ["one"], "best")).svg


HALF = {"half_width": 0.58, "method": "grouped conformal", "groups": 19, "coverage": 0.943}


def test_half_widths_and_warnings_are_shown(page_with: Callable[[Callable[[Path], object]], str]) -> None:
    def change(value: Any) -> None:
        evidence = value["evidence"]
        one = {"0.95": HALF | {"worst_group": {"name": "Snow", "coverage": 0.71}}}
        none = {"0.95": HALF | {"half_width": None, "worst_group": None, "coverage": None}}
        evidence["half_widths"] = {"frame": one, "clip": none}
        evidence["coverage"]["rows_by_source"] |= {"largest": "Long", "share": 0.92, "warn": True}
        evidence["target"] = {"sentence": "The target is a formula.", "formula_known": True, "largest_difference": 0.0}

    text = page_with(lambda folder: edit(folder / "HOLD.json", change))
    frame, clip = cells_of(text, "Calibrated half-widths")
    assert frame == ["frame", "95 %", "±0.58", "grouped conformal", "19", "94.3 %", "Snow, 71.0 % covered"]
    assert clip[2] == "–"
    head, rest = text.split("<main>")
    assert re.search(r'<p class="warning">Long .*92%.*--max-rows-per-source', head)
    assert '<p class="target">The target is a formula.</p>' in rest
    assert "Seed disagreement" in rest


def test_a_score_that_contradicts_the_teacher_is_a_warning(run: Path) -> None:
    value = json.loads((run / "HOLD.json").read_text())
    value["evidence"]["target"] = {"sentence": "Off by 6.", "formula_known": False, "largest_difference": 6.0}
    made = headline(value)
    assert "Off by 6." in made.warnings
    assert made.target == ""


def test_near_duplicates_are_warnings_sure_by_fingerprints_and_possible_by_features(run: Path) -> None:
    value = json.loads((run / "HOLD.json").read_text())
    pairs = [{"sources": [f"A{number}", f"B{number}"]} for number in range(5)]
    value["evidence"]["coverage"]["near_duplicates"] = {
        "method": "fingerprints",
        "pairs": pairs,
        "suspected": pairs[:1],
    }
    sure, possible = headline(value).warnings
    assert sure.startswith("Near-duplicates in different folds: A0 and B0")
    assert sure.endswith("; and 2 more.")
    assert possible == "Possible near-duplicates, by features alone: A0 and B0."
    value["evidence"]["coverage"]["near_duplicates"] = {"method": "features", "pairs": pairs[:1]}
    assert headline(value).warnings == (possible,)


def test_the_tone_is_that_of_the_recommendation(run: Path) -> None:
    hold = json.loads((run / "HOLD.json").read_text())
    promote = hold | {"verdict": "PROMOTE"}
    assert headline(hold).tone == headline(promote | {"may_ship": False}).tone == "caution"
    assert headline(promote | {"may_ship": True}).tone == "good"
    assert headline(promote | {"may_ship": False, "demo": True}).tone == "neutral"
    assert headline(INVALID).tone == "bad"


def test_a_verdict_of_version_1_gets_a_headline_from_its_expert_gate(run: Path) -> None:
    value = json.loads((run / "HOLD.json").read_text())
    for name in ("headline", "may_ship", "ship_reasons", "ship_encoders"):
        del value[name]
    assert headline(value).text == "HOLD"
    check = {"name": "ensemble_rmse_max", "value": 4.1, "threshold": 3.0, "passed": False, "where": None}
    value |= {"verdict": "PROMOTE", "expert_gate": {"passed": False, "checks": [check]}}
    made = headline(value)
    assert made.text == "PROMOTE, but the expert gate fails: RMSE of the ensemble mean 4.10"
    assert made.tone == "caution"
    assert headline(value | {"expert_gate": {"passed": True, "checks": [check | {"passed": True}]}}).tone == "good"
