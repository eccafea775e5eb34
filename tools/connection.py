"""What every kind of viewer begins with: its subscriptions, and the points it was asked to set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from specktrack.rt.points import PointsFile
from specktrack.tools.client import PointsSetter
from specktrack.tools.peer import Peer
from specktrack.tools.receiver import Receiver


@dataclass(frozen=True)
class ViewOptions:
    """Where a viewer listens, and what it has tracked."""

    results: Peer | str
    frames: str | None  # None: no pictures
    control: Peer | str
    stream: str | None = None  # None: the first one heard
    drawn: PointsFile | None = None
    loop_length: int | None = None


@contextmanager
def connected(options: ViewOptions) -> Iterator[tuple[Receiver, Callable[[], None]]]:
    """The receiver, and a check to call now and then: it raises the error that kept the points from being set."""
    with Receiver(options.results, options.frames, options.stream) as receiver:
        if options.drawn is None:
            yield receiver, lambda: None
            return
        setter = PointsSetter(options.control, options.drawn, receiver.heard, options.loop_length)
        try:
            yield receiver, setter.check
        finally:
            setter.close()
