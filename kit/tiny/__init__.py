"""The tiny heads: feature tables, fits, evaluation and registration, on the kit's own trainer, metrics and exporter."""
