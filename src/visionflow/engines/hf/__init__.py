"""Plans on unmodified models of transformers: hooks, masks, KV caches, and where each family keeps its parts."""
