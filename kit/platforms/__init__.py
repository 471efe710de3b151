"""Platform detection, one module for each encoder family, and the probe of encoders."""
