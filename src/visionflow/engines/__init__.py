"""What carries out a plan: `visionflow.engines.hf` on models of transformers."""
