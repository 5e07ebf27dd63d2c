"""Settings found on a model's own prompts: users of methods and engines, which know nothing of them."""
