"""`visionflow app`: pictures and questions in a browser, answered on this machine."""

from typing import Annotated

from visionflow.cli.options import Attention, Device, Dtype, Model, Threads, option, use_threads
from visionflow.cli.values import whole

HIGHEST_PORT = 65535


def app(
    model: Model = "embedded",
    port: Annotated[int, option(whole(0, HIGHEST_PORT), "N", "Where it listens; 0 for any port that is free.")] = 7860,
    dtype: Dtype = None,
    device: Device = None,
    attention: Attention = "sdpa",
    threads: Threads = None,
) -> None:
    """A web app on this machine: drop a picture, ask, choose a method, move its settings, see the page of look.

    It listens on 127.0.0.1 alone and sends nothing anywhere; Ctrl-C ends it. It needs the extra visionflow[app].
    """
    from visionflow.cli.output import quiet_libraries, working

    with working(f"loading the {model} model"):
        from visionflow.app.server import HOST, check_flask, server_of

        check_flask()
        quiet_libraries(model)
        from visionflow.app.session import Session
        from visionflow.loading.models import load_model

        use_threads(threads)
        server = server_of(Session(load_model(model, dtype, device, attention)), port)
    with server:
        print(f"The app is at http://{HOST}:{server.port}/: open it in a browser; Ctrl-C ends it", flush=True)
        server.serve_forever()
