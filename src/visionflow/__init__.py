"""See how a multimodal LLM uses its image tokens, layer by layer, and stop paying for the ones it does not use."""
