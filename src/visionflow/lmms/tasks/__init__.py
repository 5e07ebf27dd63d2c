"""Our tasks for lmms-eval: one YAML file each; what they call is in the modules beside them."""
