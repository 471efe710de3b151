"""The options that several commands share: how each is spelled and what ``--help`` says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from kit.core import contract
from kit.options import resolve


def options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command with the options of these names."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def _flag_text(_context: click.Context, _parameter: click.Parameter, value: bool | None) -> str | None:
    """A flag as the text that the configuration reads."""
    return None if value is None else str(value).lower()


_CQS = ",".join(map(str, contract.DEFAULT_CQS))
_SEEDS = ",".join(map(str, contract.DEFAULT_SEEDS))
_OPTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "ref_dir": click.option(
        "--ref-dir",
        metavar="DIR",
        help="Folder of reference clips (.yuv, .y4m, video files; sub-folders too). Without it: the demo clips.",
    ),
    "corpus": click.option(
        "--corpus", metavar="DIR", help="Train on the corpus DIR, e.g. one of `merge`, instead of making one."
    ),
    "dataset": click.option(
        "--dataset",
        metavar="NAME",
        help=f"What --ref-dir holds: {', '.join(contract.DATASETS)}. A data set named without --ref-dir is looked for "
        "in ${VMAF_DATA_ROOT:-~/.cache/vmaf-train}/datasets/NAME. Default: auto.",
    ),
    "encoders": click.option(
        "--encoders", metavar="A,B", help="Encoders to use, each of which must work. Default: what the box calls for."
    ),
    "teacher": click.option(
        "--teacher",
        metavar="MODEL",
        help="VMAF model whose score is the target: a built-in one by name, or a model file (.json) by path. "
        f"Default: {contract.DEFAULT_TEACHER}.",
    ),
    "cqs": click.option("--cqs", metavar="N,N", help=f"Quality points, 0 to 51. Default: {_CQS}."),
    "seeds": click.option("--seeds", metavar="N,N", help=f"Ensemble seeds. Default: {_SEEDS}."),
    "epochs": click.option(
        "--epochs",
        metavar="N",
        help=f"Passes over the training rows. Default: {contract.DEFAULT_EPOCHS}, demo {contract.DEMO_EPOCHS}.",
    ),
    "arch": click.option(
        "--arch",
        metavar="NAME",
        help=f"What is trained: {', '.join(contract.ARCHS)}. Default: {contract.ARCH}; the others see the six features "
        "alone.",
    ),
    "folds": click.option(
        "--folds",
        metavar="SCHEME",
        help="What the verdict's folds hold out: loso, each content group once, or kfold:K, the groups spread over K "
        f"folds. Default: {contract.DEFAULT_FOLDS}.",
    ),
    "holdout": click.option(
        "--holdout",
        metavar="WHAT",
        help=f"Also train with one {' or '.join(contract.HOLDOUTS)} held out at a time; evidence beside the verdict.",
    ),
    "device": click.option(
        "--device",
        metavar="NAME",
        help="What trains: auto, cpu, cuda, mps. Default: auto, CUDA where torch can use it, else the CPU.",
    ),
    "baseline": click.option(
        "--baseline",
        metavar="M.onnx",
        help="A model to compare the ensemble with, e.g. the shipped one; a sidecar beside it tells whether it was "
        "trained on held-out sources.",
    ),
    "gate": click.option(
        "--gate",
        metavar="NAME",
        help=f"What PROMOTE needs: {' or '.join(contract.GATES)}, which asks for both gates. "
        f"Default: {contract.GATES[0]}; the expert gate is shown all the same.",
    ),
    "out_dir": click.option(
        "--out-dir",
        metavar="DIR",
        help="Run folder. Default: a new one under runs/, or the last one there if it is to be continued.",
    ),
    "box": click.option("--box", metavar="NAME", help="Name of this box in the results. Default: a random tag."),
    "ffmpeg": click.option(
        "--ffmpeg",
        metavar="PATH",
        help="The ffmpeg that encodes; if it cannot score, the bundled one does. Environment: FFMPEG_BIN.",
    ),
    "vmaf_bin": click.option(
        "--vmaf-bin",
        metavar="PATH",
        help="The vmaf tool. Environment: LIBVMAF_BIN. Default: binaries/<platform>/vmaf, else ffmpeg's filter.",
    ),
    "scorer_backend": click.option(
        "--scorer-backend",
        metavar="NAME",
        help=f"What the vmaf tool computes with: {' or '.join(contract.SCORER_BACKENDS)}. Cells of different backends "
        f"never go into one corpus. Default: {contract.DEFAULT_SCORER_BACKEND}.",
    ),
    "gpu": click.option(
        "--gpu", metavar="INDEX", help="NVIDIA GPU that encodes, as nvidia-smi counts. Default: the first."
    ),
    "render_node": click.option(
        "--render-node",
        metavar="NAME",
        help="Render node of the Intel GPU that encodes, e.g. renderD129. Default: the first with Intel's driver.",
    ),
    "geometry": click.option(
        "--geometry", metavar="WxH@FPS[:FMT]", help="Format of .yuv files that neither name nor sidecar tells."
    ),
    "anchor": click.option(
        "--anchor/--no-anchor",
        default=None,
        callback=_flag_text,
        help=f"The cell that every box shares ({contract.ANCHOR_ENCODER}, cq {contract.ANCHOR_CQ}). Default: with it.",
    ),
    "shard_only": click.option(
        "--shard-only/--with-verdict",
        default=None,
        callback=_flag_text,
        help="Only prereqs, corpus and bundle; no verdict is asked for.",
    ),
    "allow_partial": click.option(
        "--allow-partial/--no-allow-partial",
        default=None,
        callback=_flag_text,
        help="Go on without cells that fail; the verdict counts them. Default: they make it INVALID, exit code 3.",
    ),
    "stall_timeout": click.option(
        "--stall-timeout",
        metavar="SECONDS",
        help=f"Stop and retry a cell that makes no progress for so long. Default: {resolve.STALL_TIMEOUT:g}.",
    ),
    "disk_wait": click.option(
        "--disk-wait",
        metavar="SECONDS",
        help=f"How long to wait for room when the disk is full. Default: {resolve.DISK_WAIT:g}.",
    ),
    "scheduler": click.option(
        "--scheduler",
        metavar="ADDR",
        help="Address of a Dask scheduler: 127.0.0.1:8786, or tls://HOST:8786 with certificates.",
    ),
    "tls_ca": click.option("--tls-ca", metavar="FILE", help="Certificate of the authority that all share (PEM)."),
    "tls_cert": click.option("--tls-cert", metavar="FILE", help="Certificate to show (PEM)."),
    "tls_key": click.option("--tls-key", metavar="FILE", help="Its key (PEM, without a passphrase)."),
    "worker_wait": click.option(
        "--worker-wait",
        metavar="SECONDS",
        help=f"How long to wait for a worker when none can make what is left. Default: {resolve.WORKER_WAIT:g}.",
    ),
    "sign": click.option(
        "--sign", metavar="KEY", help="Sign the bundle with this SSH key; `verify --allowed-signers` checks it."
    ),
    "config": click.option("--config", "config_file", metavar="FILE", help="TOML file with options."),
    "json": click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."),
}
