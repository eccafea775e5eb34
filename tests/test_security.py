"""CURVE: clients on the list are served as ever, nobody else gets anything in or out; without a list nothing starts."""

import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from test_daemon import WAIT_MS, Running, settings, speckle
from typer.testing import CliRunner

from specktrack.rt.config import ModelConfig
from specktrack.rt.daemon import Daemon
from specktrack.rt.engine import open_engine
from specktrack.rt.errors import ConfigError, InputError
from specktrack.rt.frame import Frame
from specktrack.rt.geometry import Geometry
from specktrack.rt.keys_cli import app as rt_keys
from specktrack.tools.client import ask
from specktrack.tools.peer import Keys, Peer, load_keys
from specktrack.tools.receiver import Receiver, Shown
from specktrack.tools.sender import FrameSender

SIDE = 128


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of a server, of a scanner and a viewer on its list, and of a stranger from another lab."""
    folder = tmp_path_factory.mktemp("keys")
    for lab, names in (("ours", ["scanner", "viewer"]), ("theirs", ["stranger"])):
        options = [word for name in names for word in ("--client", name)]
        assert CliRunner().invoke(rt_keys, [str(folder / lab), *options]).exit_code == 0
    return folder


def guarded(keys: Path) -> list[str]:
    ours = keys / "ours"
    return ["security.curve=true", f"security.server_key={ours}/server.key_secret", f"security.allow={ours}/allow"]


@pytest.fixture
def running(keys: Path) -> Iterator[Running]:
    running = Running(*guarded(keys))
    yield running
    running.stop()


def known(keys: Path, name: str) -> Keys:
    found = load_keys(keys / name)
    assert found is not None
    return found


def frame(seq: int) -> Frame:
    pixels = np.frombuffer(speckle(seq, SIDE), np.uint8).reshape(SIDE, SIDE)
    return Frame("probe", seq, seq * 20_000_000, "monotonic", pixels, Geometry(SIDE, SIDE))


def test_a_scanner_and_a_viewer_on_the_list_are_served(running: Running, keys: Path) -> None:
    scanner, viewer = known(keys, "ours/scanner"), known(keys, "ours/viewer")
    with (
        FrameSender(Peer(running.endpoints.frames, scanner)) as sender,
        Receiver(Peer(running.endpoints.results, viewer), None) as receiver,
    ):
        assert sender.has_receiver(WAIT_MS)
        for seq in range(2000):
            sender.send(frame(seq))
            if any(isinstance(event, Shown) for event in receiver.events(20)):
                break
        else:
            raise AssertionError("no track ever came")
    said = ask(Peer(running.endpoints.control, viewer), "describe", {})
    assert said["streams"]["probe"]["height"] == SIDE


@pytest.mark.parametrize("who", ["nobody", "stranger", "stranger who knows the server"])
def test_nobody_else_gets_anything_in_or_out(who: str, running: Running, keys: Path) -> None:
    theirs, ours = known(keys, "theirs/stranger"), known(keys, "ours/viewer")
    stranger = {"nobody": None, "stranger": theirs}.get(who, Keys(theirs.public, theirs.secret, ours.server))
    with (
        FrameSender(Peer(running.endpoints.frames, stranger)) as sender,
        FrameSender(Peer(running.endpoints.frames, known(keys, "ours/scanner"))) as scanner,
        Receiver(Peer(running.endpoints.results, stranger), None) as receiver,
    ):
        assert scanner.has_receiver(WAIT_MS)
        with pytest.raises(InputError, match="no answer"):
            ask(Peer(running.endpoints.control, stranger), "ping", {}, timeout_s=0.5)
        for seq in range(20):
            sender.send(frame(1000 + seq))
            assert scanner.has_receiver(WAIT_MS)
            assert scanner.send(frame(seq))
        said: dict[str, int] = {}
        give_up_s = time.monotonic() + WAIT_MS / 1000
        while said.get("frames_in", 0) < 20:
            assert time.monotonic() < give_up_s, f"frames were lost: {said}"
            said = ask(Peer(running.endpoints.control, ours), "stats", {})["streams"].get("probe", {})
        assert not sender.has_receiver(0)
        assert receiver.events(0) == []
    assert said["frames_in"] == 20, "frames of the stranger came in"
    assert said["gaps"] == 0


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ({"allow": "{ours}/empty"}, "security.allow .*empty holds no client's .key file .*nobody could connect"),
        ({"allow": ""}, "security.allow is missing .*make keys with: rt-keys DIR --client NAME"),
        ({"server_key": ""}, "security.server_key is missing and security.curve is on"),
        ({"server_key": "{ours}/server.key"}, "holds no secret key; give the .key_secret file"),
        ({"server_key": "{ours}/none"}, "none is no readable certificate"),
    ],
)
def test_a_server_without_keys_or_list_refuses_to_start(spoil: dict[str, str], complaint: str, keys: Path) -> None:
    changed = [f"security.{key}={json.dumps(value.format(ours=keys / 'ours'))}" for key, value in spoil.items()]
    with pytest.raises(ConfigError, match=complaint):
        Daemon(settings(*guarded(keys), *changed), open_engine(ModelConfig(name="block", engine="block")))


def test_the_command_refuses_with_one_sentence() -> None:
    command = [str(Path(sys.executable).with_name("rt-serve")), "--model", "block", "--set", "security.curve=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "security.server_key is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_publishing_scanner_proves_itself(keys: Path) -> None:
    """In mode sub the server is the visitor: the scanner's key must be known."""
    with zmq.Context() as context, context.socket(zmq.PUB) as scanner:
        endpoint = f"tcp://127.0.0.1:{scanner.bind_to_random_port('tcp://127.0.0.1')}"
        daemon = Daemon(
            settings(*guarded(keys), "frames.mode=sub", f"frames.endpoint={endpoint}"),
            open_engine(ModelConfig(name="block", engine="block")),
        )
        with pytest.raises(ConfigError, match=r"security\.scanner_key is missing"):
            daemon.bind()


def test_secrets_are_for_their_owner_alone_and_keys_are_never_written_over(keys: Path) -> None:
    secrets = list(keys.rglob("*.key_secret"))
    assert len(secrets) == 5
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    assert not list((keys / "ours" / "allow").glob("*secret"))
    before = (keys / "ours" / "server.key_secret").read_bytes()
    again = CliRunner().invoke(rt_keys, [str(keys / "ours"), "--client", "viewer"])
    assert again.exit_code != 0
    assert CliRunner().invoke(rt_keys, [str(keys / "ours"), "--client", "core-lab"]).exit_code == 0
    assert (keys / "ours" / "server.key_secret").read_bytes() == before


@pytest.mark.parametrize("name", ["../away", "a b", "allow", ".."])
def test_a_client_has_a_plain_name(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(rt_keys, [str(tmp_path / "keys"), "--client", name])
    assert result.exit_code != 0
    assert not (tmp_path / "keys").exists()


def test_a_folder_without_keys_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected client\.key_secret and server\.key in it, as rt-keys makes them"):
        load_keys(tmp_path)
