"""What a box is (detect), what it can encode with (one module per family) and whether that really works (probe)."""
