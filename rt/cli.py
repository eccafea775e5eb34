"""Entry points of the runtime's commands: rt-serve here, rt-track by its own file."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
import yaml

from specktrack.rt import console
from specktrack.rt.config import DaemonConfig, load_config
from specktrack.rt.headers import NOTICE

app = console.new_app()

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="YAML file with settings that differ.", metavar="FILE")] = None,
    model: Annotated[str | None, typer.Option(help="Shipped model or a model file.", metavar="NAME|FILE")] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of echotracker, ...", metavar="FILE")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnxruntime, block, ...", metavar="NAME")] = None,
    frames: Annotated[str | None, typer.Option(help="Where frames come in.", metavar="URL")] = None,
    results: Annotated[str | None, typer.Option(help="Where results go out.", metavar="URL")] = None,
    control: Annotated[str | None, typer.Option(help="Where requests are answered.", metavar="URL")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting; repeatable.", metavar="KEY=VALUE")
    ] = None,
    check_config: Annotated[bool, typer.Option("--check-config", help="Print all settings and stop.")] = False,
) -> None:
    """Track a live ultrasound stream and publish trajectories and strain.

    Research use only; not a medical device.
    """
    from specktrack.rt.track_config import model_choice

    chosen = {"name": model} if weights is None else model_choice(model or "specknet-s", weights)
    options = {
        **{f"model.{key}": value for key, value in chosen.items()},
        "model.engine": engine,
        "frames.endpoint": frames,
        "results.endpoint": results,
        "control.endpoint": control,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    settings = load_config(config, [*overrides, *(set_ or ())])
    if check_config:
        print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), end="")
        return
    _serve(settings)


def serve_main() -> None:
    """rt-serve."""
    console.run(app)


def track_main() -> None:
    """rt-track."""
    from specktrack.rt.track import app as track_app

    console.run(track_app)


def _serve(settings: DaemonConfig) -> None:
    from specktrack.rt.daemon import Daemon
    from specktrack.rt.windowed import delay_of, open_model

    console.start_logging()
    engine = open_model(settings.model)
    try:
        daemon = Daemon(settings, engine)
        endpoints = daemon.bind()
        stop_on_signal(daemon.stop)
        print(f"frames   {endpoints.frames} ({settings.frames.mode})")
        print(f"results  {endpoints.results}")
        print(f"control  {endpoints.control}")
        if endpoints.metrics:
            print(f"metrics  {endpoints.metrics}")
        print(f"model    {engine.model} on {engine.name}{_delay(delay_of(engine))}")
        print(NOTICE, flush=True)
        daemon.run()
    finally:
        engine.close()


def _delay(frames: int) -> str:
    return f"; answers come window by window, up to {frames} frames late" if frames else ""


def stop_on_signal(stop: Callable[[], None]) -> None:
    """The first SIGTERM or SIGINT stops in order, the second one at once."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop()
        # The system's own handler ends the process even while a long native call keeps Python from running ours.
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)


if __name__ == "__main__":
    serve_main()
