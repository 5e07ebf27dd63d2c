"""The vLLM plug-in: loaded by vLLM through its entry point, idle where ``--additional-config`` names no visionflow."""


def register() -> None:
    """Let vLLM know the models that prune; called by vLLM, once or more in each of its processes."""
    from visionflow.serving.vllm import config, front_end, models

    models.register()
    config.install()
    front_end.install()
