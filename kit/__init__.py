"""The ensemble training kit: from reference clips to a verdict on a tiny VMAF ensemble."""

__version__ = "0.3.0"
