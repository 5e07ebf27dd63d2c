"""Measured speed and memory: models of real shapes, methods side by side, beside what the arithmetic allows."""
