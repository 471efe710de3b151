"""A stand-in for the ``vmaf`` tool: parses its recorded options as strictly and scores with the real libvmaf.

Run as ``python vmaf_stand_in.py FFMPEG MODE ARGS…``; the scores are those of that ffmpeg's libvmaf filter, which reads
the two inputs, named pipes too. Modes imitate recorded faults of the real tool, or CUDA.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

VALUES = {
    "--reference",
    "--distorted",
    "--width",
    "--height",
    "--pixel_format",
    "--bitdepth",
    "--model",
    "--output",
    "--threads",
    "--feature",
    "--cpumask",
    "--gpumask",
    "--frame_cnt",
    "--frame_skip_ref",
    "--frame_skip_dist",
    "--subsample",
}
FLAGS = {"--xml", "--json", "--csv", "--sub", "--quiet", "--no_prediction", "--version"}
CPU_ONLY = ("integer_aim", "integer_adm3", "integer_motion3")


def options(words: list[str], mode: str) -> dict[str, list[str]]:
    """Parse options with their values; report an unknown option and exit with status 0."""
    parsed: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word in VALUES and not (mode == "refuses" and word == "--threads"):
            parsed.setdefault(word, []).append(next(rest))
        elif word in FLAGS:
            parsed[word] = []
        else:
            names = sorted(VALUES | FLAGS) if mode != "no-gpu" else sorted((VALUES | FLAGS) - {"--gpumask"})
            usage = "\n".join(["", "Usage: vmaf [options]", "", "Supported options:", *(f" {name}:" for name in names)])
            print(f"vmaf: unrecognized option '{word}'\n{usage}", file=sys.stderr)  # noqa: T201
            sys.exit(0)
    return parsed


def source(given: dict[str, list[str]], option: str) -> list[str]:
    path = given[option][0]
    if "--width" not in given:
        return ["-f", "yuv4mpegpipe", "-i", path]
    deep = given["--bitdepth"] != ["8"]
    return [
        "-f",
        "rawvideo",
        "-pixel_format",
        "yuv420p10le" if deep else "yuv420p",
        "-video_size",
        f"{given['--width'][0]}x{given['--height'][0]}",
        "-i",
        path,
    ]


def main(ffmpeg: str, mode: str, words: list[str]) -> int:
    given = options(words, mode)
    if "--version" in given:
        sys.stderr.write("3.1.0\n" if mode == "3.1" else "3.2.0\n")
        return 0
    models = "|".join(model.replace(":", "\\:") for model in given["--model"])
    if mode == "dies":
        return 234
    log = given["--output"][0]
    filters = f"[1:v][0:v]libvmaf=log_fmt=json:log_path={log}:model='{models}':shortest=1:repeatlast=0"
    done = subprocess.run(
        [
            ffmpeg,
            "-nostdin",
            "-loglevel",
            "error",
            "-y",
            *source(given, "--reference"),
            *source(given, "--distorted"),
            "-filter_complex",
            filters,
            "-f",
            "null",
            "-",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print("could not load libvmaf model" if "model" in done.stderr else done.stderr, file=sys.stderr)  # noqa: T201
        return 255
    value = json.loads(Path(log).read_text())
    value["version"] = "3.1.0" if mode == "3.1" else "3.2.0"
    masked = given.get("--gpumask") == ["-1"]
    on_gpu = mode.startswith("cuda") and not masked
    for frame in value["frames"]:
        if on_gpu or mode == "3.1":
            for name in CPU_ONLY:
                del frame["metrics"][name]
        if (on_gpu and mode == "cuda-wrong") or mode == "wrong":
            frame["metrics"]["teacher"] = max(0, frame["metrics"]["teacher"] - 1.2)
    if mode == "cuda-absent" and not masked:
        print("problem during vmaf_cuda_state_init, using CPU", file=sys.stderr)  # noqa: T201
    Path(log).write_text(json.dumps(value))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
