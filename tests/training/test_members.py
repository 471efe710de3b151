"""Members over several processes: the same bits, resume, real kills."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file, save_file

from kit.core import exits, layout
from kit.core.errors import BadInput, DiskFull, PrerequisiteFailed
from kit.corpus.store.shard import observed_path
from kit.options.session import KIT_ROOT
from kit.system import validation
from kit.system.fsio import TEMPORARY_PREFIX
from kit.system.proc import Processes
from kit.training import checkpoint, device, worker
from kit.training.draws import Draws
from kit.training.folds import by_group, thinned
from kit.training.job import plan_stacks
from kit.training.loop import fit, inputs_for, train_member
from kit.training.members import Ensemble, Members, train
from kit.training.model import Network
from kit.training.recipe import Recipe, architecture
from kit.training.standardiser import fit_standardiser
from tests.cli.builders import Kit
from tests.corpus.builders import plan, shard_of
from tests.training.builders import make_table, write_old_member

TABLE = make_table()
FOLDS = by_group(TABLE)


def ensemble(folder: Path, *, workers: int = 2, seeds: tuple[int, ...] = (0, 1), epochs: int = 6) -> Ensemble:
    return Ensemble(
        rows=TABLE,
        members=list(product(seeds, FOLDS)),
        recipe=Recipe(epochs=epochs),
        corpus_sha256="0" * 64,
        device="cpu",
        workers=workers,
        folder=folder,
    )


def trained(made: Ensemble, advance: Callable[[int], None] = lambda _epochs: None) -> Members:
    (members,) = train([made], Processes(), advance)
    return members


def bits(members: Members) -> dict[tuple[int, str], dict[str, bytes]]:
    return {name: {key: array.tobytes() for key, array in member.arrays.items()} for name, member in members.items()}


def in_this_process(made: Ensemble, folder: Path, report: Callable[[int], None] = lambda _epochs: None) -> None:
    """Train in this process, as a worker does."""
    folder.mkdir(parents=True)
    made.prepare(folder)
    worker.work(folder, report)


class Killed(Exception):
    """Stands for a signal that ends the process."""


def killed_at(made: Ensemble, folder: Path, reports: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a training after some reports of its worker, one for at most 13 steps."""
    for name, value in (("BLOCK", 13), ("CHECKPOINT_EVERY", 0.0), ("REPORT_EVERY", 0.0)):
        monkeypatch.setattr(worker, name, value)
    received = 0

    def report(_epochs: int) -> None:
        nonlocal received
        received += 1
        if received == reports:
            raise Killed

    with pytest.raises(Killed):
        in_this_process(made, folder, report)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """All members, trained by two processes."""
    folder = tmp_path_factory.mktemp("whole")
    epochs: list[int] = []
    members = trained(ensemble(folder), epochs.append)
    assert sum(epochs) == 6 * len(members)
    assert not list(folder.glob(TEMPORARY_PREFIX + "*"))
    return members


@pytest.mark.essential
def test_every_member_predicts_as_the_reference_loop(whole: Members) -> None:
    assert len(whole) == 8
    for seed, fold in ((0, FOLDS[0]), (1, FOLDS[2])):
        expected = train_member(TABLE, fold, seed, Recipe(epochs=6))
        assert whole[seed, fold.held_out].arrays["predictions"] == pytest.approx(expected, abs=1e-3)


def test_a_limit_of_rows_reaches_every_process_and_no_prediction(whole: Members, tmp_path: Path) -> None:
    recipe = Recipe(epochs=6, max_rows_per_source=15)
    folds = thinned(TABLE, FOLDS, 15)
    made = replace(ensemble(tmp_path / "members", seeds=(1,)), recipe=recipe, members=[(1, fold) for fold in folds])
    in_this_process(made, tmp_path / "job")
    for fold, complete in zip(folds, FOLDS, strict=True):
        limited = made.finished()[1, fold.held_out].arrays["predictions"]
        assert limited == pytest.approx(train_member(TABLE, fold, 1, recipe), abs=1e-3)
        assert len(limited) == len(complete.held)
        assert not np.allclose(limited, whole[1, fold.held_out].arrays["predictions"], atol=1e-3)


def test_the_training_loss_of_an_epoch_is_the_mean_of_its_steps(whole: Members) -> None:
    for seed, fold in ((0, FOLDS[0]), (1, FOLDS[2])):
        draws, recipe = Draws(seed, fold.group_id), Recipe(epochs=6)
        target = torch.from_numpy(TABLE.target[fold.train])
        network = Network(architecture(), draws, float(target.mean(dtype=torch.float64)))
        inputs = inputs_for(TABLE, fold.train, fit_standardiser(TABLE.features, fold.train), codec_aware=True)
        losses: list[float] = []
        fit(network, inputs, target, recipe, draws, on_loss=lambda loss, of=losses: of.append(float(loss)))
        recorded = whole[seed, fold.held_out].arrays["training_loss"]
        assert recorded.dtype == np.float32
        assert recorded == pytest.approx(np.mean(np.reshape(losses, (6, -1)), axis=1), rel=1e-4)


@pytest.mark.essential
def test_one_process_or_two_change_no_bit(whole: Members, tmp_path: Path) -> None:
    in_this_process(ensemble(tmp_path / "members", workers=1), tmp_path / "job")
    assert bits(ensemble(tmp_path / "members").finished()) == bits(whole)


def test_finished_members_are_not_trained_again(whole: Members, tmp_path: Path) -> None:
    first = ensemble(tmp_path, seeds=(1,))
    in_this_process(first, tmp_path / "job")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    epochs: list[int] = []
    assert bits(trained(ensemble(tmp_path), epochs.append)) == bits(whole)
    assert sum(epochs) == 6 * 4
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    epochs.clear()
    trained(ensemble(tmp_path), epochs.append)
    assert epochs == []


def test_a_finished_member_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(ensemble(tmp_path, seeds=(1,)), tmp_path / "job")
    read, paths = checkpoint.read, []

    def counted(path: Path, *, hint: str) -> checkpoint.Checkpoint:
        paths.append(path)
        return read(path, hint=hint)

    monkeypatch.setattr(checkpoint, "read", counted)
    assert len(trained(ensemble(tmp_path, seeds=(1,)))) == len(FOLDS)
    assert len(paths) == len(set(paths)) == len(FOLDS)


def test_an_interrupted_training_continues_and_ends_with_the_same_bits(
    whole: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = tmp_path / "members"
    killed_at(ensemble(members, workers=1, seeds=(0,)), tmp_path / "first", 1, monkeypatch)
    killed_at(ensemble(members, workers=1, seeds=(1,)), tmp_path / "second", 2, monkeypatch)
    # one fold has fewer rows and is finished at step 24
    assert len(list(members.glob("*.part.safetensors"))) == 7
    assert list(ensemble(members).finished()) == [(1, "Fuente")]
    plans = ensemble(members).prepare(tmp_path).stacks
    assert [(plan.step, len(plan.members)) for plan in plans] == [(13, 2), (13, 2), (24, 2), (24, 1)]
    assert bits(trained(ensemble(members))) == bits(whole)
    assert not list(members.glob("*.part.*"))


def test_another_recipe_or_group_has_its_own_members(tmp_path: Path) -> None:
    made = ensemble(tmp_path)
    names = {
        made.store.path(0, "a"),
        made.store.path(0, "b"),
        made.store.path(1, "a"),
        ensemble(tmp_path, epochs=7).store.path(0, "a"),
    }
    assert len(names) == 4


def test_a_damaged_or_renamed_member_is_refused(tmp_path: Path) -> None:
    made = ensemble(tmp_path, seeds=(0,))
    in_this_process(made, tmp_path / "job")
    mine, other = made.store.path(0, FOLDS[0].group_id), made.store.path(0, FOLDS[1].group_id)
    data, whole = mine.read_bytes(), bits(made.finished())
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    for damaged in (other.read_bytes(), data[:-10], data[:5], b"", flipped):
        mine.write_bytes(damaged)
        with pytest.raises(BadInput, match=re.escape(str(mine))) as raised:
            ensemble(tmp_path, seeds=(0,)).finished()
        assert "Delete this file" in raised.value.hint
    save_file(load_file(other), mine)
    with pytest.raises(BadInput, match=re.escape(str(mine))):
        ensemble(tmp_path, seeds=(0,)).finished()
    untouched = other.stat().st_mtime_ns
    mine.unlink()
    again = ensemble(tmp_path, seeds=(0,))
    in_this_process(again, tmp_path / "again")
    assert bits(again.finished()) == whole
    assert other.stat().st_mtime_ns == untouched


def test_a_full_disk_has_its_own_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensemble(tmp_path / "members", seeds=(0,))
    (tmp_path / "job").mkdir()
    made.prepare(tmp_path / "job")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kit.training.worker", str(tmp_path / "job")], cwd=KIT_ROOT, stdout=full, check=False
        )
    assert done.returncode == exits.DISK_FULL
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexit {exits.DISK_FULL}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(DiskFull, match="members"):
        trained(made)


def test_members_of_the_older_layout_are_read(whole: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensemble(tmp_path / "members", workers=1)
    killed_at(ensemble(tmp_path / "members", workers=1, seeds=(1,)), tmp_path / "job", 1, monkeypatch)
    for (seed, label), member in whole.items():
        fold = next(fold for fold in FOLDS if fold.held_out == label)
        partial = made.store.path(seed, fold.group_id, finished=False)
        path = partial if seed else made.store.path(seed, fold.group_id)
        write_old_member(path, checkpoint.read(partial) if seed else member)
    assert len(made.finished()) == len(FOLDS)
    assert {made.store.read(1, fold.group_id, finished=False).step for fold in FOLDS} == {13}  # type: ignore[union-attr]
    assert bits(trained(made)) == bits(whole)


def test_a_chosen_few_members_have_the_same_bits(whole: Members, tmp_path: Path) -> None:
    few = [(1, FOLDS[2]), (0, FOLDS[0])]
    made = Ensemble(
        rows=TABLE,
        members=few,
        recipe=Recipe(epochs=6),
        corpus_sha256="0" * 64,
        device="cpu",
        workers=1,
        folder=tmp_path,
    )
    keys = [(seed, fold.held_out) for seed, fold in few]
    assert bits(trained(made)) == bits({key: whole[key] for key in keys})


# ------------------------------------------------------------------------------------------------ the plan


@pytest.mark.parametrize(
    ("count", "workers", "sizes"),
    [
        (1, 2, [1]),
        (2, 2, [1, 1]),
        (45, 2, [23, 22]),
        (95, 2, [48, 47]),
        (97, 2, [25, 24, 24, 24]),
        (45, 1, [45]),
        (10, 16, [1] * 10),
    ],
)
def test_stacks_have_nearly_one_size_and_suit_the_workers(count: int, workers: int, sizes: list[int]) -> None:
    plans = plan_stacks([((number, 0), 0, 10) for number in range(count)], workers=workers, largest=48)
    assert [len(plan.members) for plan in plans] == sizes
    assert sorted(member for plan in plans for member in plan.members) == [(number, 0) for number in range(count)]


def test_members_at_the_same_step_are_trained_together() -> None:
    members = [((0, 0), 0, 10), ((0, 1), 5, 10), ((0, 2), 0, 12), ((0, 3), 5, 12)]
    plans = plan_stacks(members, workers=1, largest=48)
    assert [(plan.step, plan.members) for plan in plans] == [(0, ((0, 2), (0, 0))), (5, ((0, 3), (0, 1)))]


def test_a_device_comes_with_its_reason() -> None:
    assert device.choose("cpu").kind == "cpu"
    chosen = device.choose("auto")
    assert chosen.kind in ("cpu", "cuda")
    assert chosen.reason
    if chosen.kind == "cpu":
        with pytest.raises(PrerequisiteFailed, match=r"--device cuda: .* CUDA"):
            device.choose("cuda")


# ---------------------------------------------------------------------------------------------- whole commands


@pytest.mark.ffmpeg
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, exits.INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)],
    ids=str,
)
def test_an_interrupted_command_continues(
    number: signal.Signals, code: int, run_copy: Path, home: dict[str, str], kit: Kit
) -> None:
    """The signal arrives while the second stack is trained."""
    members = run_copy / layout.CHECKPOINTS
    options = ("train", "--out-dir", str(run_copy), "--epochs", "3000")
    process = subprocess.Popen(
        [sys.executable, str(KIT_ROOT / "kit" / "__main__.py"), *options], env=home, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(members.glob(f"{TEMPORARY_PREFIX}*/taken-1")) and time.monotonic() < deadline:
        time.sleep(0.02)
    begin = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert time.monotonic() - begin < 5
    assert not (run_copy / layout.TRAINING).exists()
    done = kit("train", "--out-dir", str(run_copy), "--epochs", "3", cwd=run_copy)
    assert done.returncode == 0, done.stderr
    assert "36 already trained" in done.stderr
    assert not list(members.glob(TEMPORARY_PREFIX + "*"))


@pytest.mark.ffmpeg
def test_a_run_with_a_tiny_head_has_a_verdict(run_copy: Path, kit_here: Kit) -> None:
    done = kit_here("train", "--out-dir", str(run_copy), "--arch", "mlp_small", "--device", "cpu", cwd=run_copy)
    assert done.returncode == 0, done.stderr
    assert "12 members of mlp_small on cpu" in done.stderr
    report = json.loads((run_copy / layout.seed_report(0)).read_text())
    assert (report["arch"], report["num_codecs"], report["epochs"]) == ("mlp_small", 0, 3)
    assert kit_here("verdict", "--out-dir", str(run_copy), cwd=run_copy).returncode in (exits.OK, exits.HOLD)


@pytest.mark.ffmpeg
def test_folds_of_several_groups(run_copy: Path, kit_here: Kit) -> None:
    here = ("--out-dir", str(run_copy))
    done = kit_here("train", *here, "--folds", "kfold:3", cwd=run_copy)
    assert done.returncode == 0, done.stderr
    report = json.loads((run_copy / layout.seed_report(0)).read_text())
    assert (report["scheme"], report["n_folds"]) == ("kfold:3", 3)
    assert sorted(group for fold in report["folds"] for group in fold["groups"]) == ["Bars", "Cells", "Fractal", "Life"]
    done = kit_here("verdict", *here, "--json", cwd=run_copy)
    assert done.returncode in (exits.OK, exits.HOLD), done.stderr
    assert json.loads(done.stdout)["evidence"]["folds"] == "kfold:3"
    assert kit_here("bundle", *here, cwd=run_copy).returncode == 0


@pytest.mark.ffmpeg
def test_more_folds_than_groups_end_invalid(run_copy: Path, kit_here: Kit) -> None:
    done = kit_here("train", "--out-dir", str(run_copy), "--folds", "kfold:5", cwd=run_copy)
    assert done.returncode == exits.INVALID
    assert "kfold:5" in done.stderr


def of_two_boxes(folder: Path) -> list[str]:
    """Make a shard of three sources and two encoders: box ``c`` made the cells of libx265, two boxes the first cell.

    Returns:
        keys of the cells of one box only.
    """
    shutil.rmtree(folder)
    shard = shard_of(folder, plan(("Highway", "Park", "Sea"), ("libx264", "libx265")))
    for number, entry in enumerate(shard.cells):
        path = observed_path(folder, entry.path)
        value = json.loads(path.read_text())
        value["observations"][0]["box"] = "b" if entry.encoder == "libx264" else "c"
        value["observations"] += [{"box": "d", "seconds": 1.0}] * (number == 0)
        path.write_text(json.dumps(value))
    return [entry.key for entry in shard.cells[1:]]


@pytest.mark.ffmpeg
def test_an_encoder_and_a_box_are_held_out_beside_the_verdict(run_copy: Path, kit_here: Kit) -> None:
    alone, here = of_two_boxes(run_copy / "corpus"), ("--out-dir", str(run_copy))
    done = kit_here("train", *here, "--holdout", "encoder,box", cwd=run_copy)
    assert done.returncode == 0, done.stderr
    encoder, box = (json.loads((run_copy / layout.holdout_report(by)).read_text()) for by in ("encoder", "box"))
    assert validation.problems("holdout", encoder) + validation.problems("holdout", box) == []
    assert [fold["held_out"] for fold in encoder["folds"]] == ["libx264", "libx265"]
    assert [(fold["held_out"], fold["n_train"], fold["n_val"]) for fold in box["folds"]] == [
        ("b", 30, 25),
        ("c", 25, 30),
    ]
    predicted = pq.read_table(run_copy / layout.holdout_predictions("box")).to_pandas()
    assert sorted(set(predicted["cell_key"])) == sorted(alone)
    for report, by in ((encoder, "encoder"), (box, "box")):
        rows = pq.read_table(run_copy / layout.holdout_predictions(by)).to_pandas().astype({"prediction": float})
        for fold in report["folds"]:
            held = rows[(rows["fold"] == fold["held_out"]) & (rows["seed"] == 1)]
            assert fold["per_seed"]["1"]["plcc"] == pytest.approx(held["prediction"].corr(held["target"]), abs=1e-6)
    # the verdict uses content groups only, and the bundle has the other reports too
    assert kit_here("verdict", *here, cwd=run_copy).returncode == exits.HOLD
    assert kit_here("bundle", *here, cwd=run_copy).returncode == 0
    manifest = json.loads((run_copy / layout.MANIFEST).read_text())
    assert {layout.holdout_report("encoder"), layout.holdout_predictions("box")} <= {
        entry["path"] for entry in manifest["files"]
    }


@pytest.mark.ffmpeg
def test_a_single_encoder_is_not_held_out(run_copy: Path, kit_here: Kit) -> None:
    done = kit_here("train", "--out-dir", str(run_copy), "--holdout", "encoder", cwd=run_copy)
    assert done.returncode == exits.BAD_INPUT
    assert "--holdout encoder" in done.stderr
