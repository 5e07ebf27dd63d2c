"""Pruning inside a serving engine, without the engine: what a request becomes, and how long each sequence is."""
