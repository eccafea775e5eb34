"""A client written from docs/protocol.md alone: pyzmq and msgpack, nothing of this project."""

import struct
from typing import Any

import msgpack
import zmq

Header = dict[str, Any]


class Client:
    """Sends frames, sets points and receives results, as a lab's own script would."""

    def __init__(self, frames: str, results: str, control: str, stream: str) -> None:
        self.stream, self.next_id = stream, 0
        self.context = zmq.Context()
        self.frames = self.context.socket(zmq.PUSH)
        self.results = self.context.socket(zmq.SUB)
        self.control = self.context.socket(zmq.DEALER)
        for socket, endpoint in ((self.frames, frames), (self.results, results), (self.control, control)):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, 20)
            socket.connect(endpoint)
        self.frames.setsockopt(zmq.SNDHWM, 2)
        for kind in ("track", "beat", "status"):
            self.results.setsockopt(zmq.SUBSCRIBE, f"{kind}/{stream}".encode())

    def send_frame(self, seq: int, pixels: bytes, height: int, width: int, **more: Any) -> bool:
        """False when the server takes nothing now: a live feed drops the frame."""
        header = {"v": 1, "stream": self.stream, "seq": seq, "t_acq_ns": seq * 20_000_000, "clock": "monotonic"}
        header |= {"height": height, "width": width, "channels": 1, "dtype": "u1", "mm_per_px": [0.3, 0.3]} | more
        try:
            self.frames.send_multipart([b"frame/" + self.stream.encode(), msgpack.packb(header), pixels], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self, timeout_ms: int) -> tuple[str, Header, list[tuple[float, ...]]] | None:
        """Kind, header and, of a track, its points (x, y, confidence); None when nothing came in time."""
        if not self.results.poll(timeout_ms):
            return None
        topic, header, *arrays = self.results.recv_multipart()
        kind = topic.decode().partition("/")[0]
        points = list(struct.iter_unpack("<3f", arrays[0])) if kind == "track" else []
        return kind, msgpack.unpackb(header), points

    def request(self, cmd: str, timeout_ms: int, **args: Any) -> Header | None:
        """The reply to this request; None when there was none in time."""
        self.next_id += 1
        self.control.send(msgpack.packb({"v": 1, "id": self.next_id, "cmd": cmd, "args": args}))
        while self.control.poll(timeout_ms):
            reply: Header = msgpack.unpackb(self.control.recv())
            if reply["id"] == self.next_id:  # an older one answers a request we gave up
                return reply
        return None

    def close(self) -> None:
        """Free the sockets."""
        self.context.destroy(linger=0)
