"""ONNX files: export, checks, sidecar, registry, runtime, repair."""
