"""ONNX files: export, checks, sidecar, registry, runtime, repair."""

import os

from kit.system import telemetry

telemetry.disable(os.environ)  # onnxruntime reads it when it is loaded, and every module that loads it is in here
