"""`rt-ask`: what the control socket answers, on a shell."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_daemon import WAIT_MS, Running, first_track
from typer.testing import CliRunner

from specktrack.rt.errors import ControlError, InputError
from specktrack.tools.ask import app


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(f"record.folder={tmp_path}")
    yield running
    running.stop()


def test_a_stream_is_described_and_recorded(running: Running, tmp_path: Path) -> None:
    first_track(running.client)
    where = ["--control", running.endpoints.control, "--wait", str(WAIT_MS / 1000)]
    said = CliRunner().invoke(app, ["describe", "stream=probe", *where])
    assert json.loads(said.output)["streams"]["probe"]["n_points"] == 0
    CliRunner().invoke(app, ["record", "stream=probe", "action=start", "path=heart", *where])
    said = CliRunner().invoke(app, ["record", "stream=probe", "action=stop", *where])
    assert json.loads(said.output)["path"] == str(tmp_path / "heart.rec")


def test_points_are_given_as_yaml(running: Running) -> None:
    first_track(running.client)
    options = ["stream=probe", "kind=points", "points=[[40, 40], [60, 50]]", "--control", running.endpoints.control]
    assert json.loads(CliRunner().invoke(app, ["set_points", *options]).output)["count"] == 2


def test_what_the_server_refuses_is_said_in_its_words(running: Running) -> None:
    result = CliRunner().invoke(app, ["reanchor", "stream=nobody", "--control", running.endpoints.control])
    assert isinstance(result.exception, ControlError)
    assert "No frame of stream 'nobody' has arrived" in str(result.exception)


@pytest.mark.parametrize(("text", "complaint"), [("stream", "expected KEY=VALUE"), ("a=[1, 2", "the value is no YAML")])
def test_arguments_that_are_none_are_said(text: str, complaint: str) -> None:
    result = CliRunner().invoke(app, ["stats", text])
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)
