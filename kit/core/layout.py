"""File names and paths in a run folder."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.json"
PREREQS = "prereqs.json"
MANIFEST = "manifest.json"
#: Signature of the manifest by the operator's SSH key; the only file of a bundle that the manifest cannot list.
SIGNATURE = f"{MANIFEST}.sig"
CORPUS = "corpus"
MERGE_REPORT = f"{CORPUS}/merge.json"
LOSO = "loso"
LOGS = "logs"
PREDICTIONS = f"{LOSO}/predictions.parquet"
ENSEMBLE_REPORT = f"{LOSO}/loso_ensemble.json"
TRAINING = f"{LOSO}/training.json"
CHECKPOINTS = f"{LOSO}/checkpoints"
EXPORTS = "exports"
REGISTRY = f"{EXPORTS}/registry.json"
REPORT = "report"
REPORT_PAGE = f"{REPORT}/report.html"
REPORT_MARKDOWN = f"{REPORT}/report.md"
VERDICTS = ("PROMOTE", "HOLD", "INVALID")


def seed_report(seed: int) -> str:
    """Relative path of the report of a seed."""
    return f"{LOSO}/loso_seed{seed}.json"


def holdout_report(by: str) -> str:
    """Relative path of the report of an additional hold-out, e.g. by ``encoder``."""
    return f"{LOSO}/holdout_{by}.json"


def holdout_predictions(by: str) -> str:
    """Relative path of the predictions of that hold-out."""
    return f"{LOSO}/holdout_{by}.parquet"


def baseline_predictions(name: str) -> str:
    """Relative path of the out-of-fold predictions of a baseline."""
    return f"{LOSO}/baseline_{name}.parquet"


def unseen_predictions(arch: str) -> str:
    """Relative path of the predictions of an architecture for encoders that were not in training."""
    return f"{LOSO}/unseen_{arch}.parquet"


def verdict_file(verdict: str) -> str:
    """Relative path of a verdict."""
    return f"{verdict}.json"


def verdicts_in(run: Path) -> list[str]:
    """Return the verdicts whose files are in a run folder; exactly one after the verdict step."""
    return [verdict for verdict in VERDICTS if (run / verdict_file(verdict)).is_file()]


def withdraw_verdict(run: Path) -> None:
    """Remove verdicts, models and page of an earlier state of the run; the steps write them again."""
    for verdict in VERDICTS:
        (run / verdict_file(verdict)).unlink(missing_ok=True)
    for folder in (run / EXPORTS, run / REPORT):
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        if folder.is_dir():
            folder.rmdir()
