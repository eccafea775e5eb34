import re
from pathlib import Path

from specktrack import training

ROOM = Path(str(training.__file__)).parent


def test_every_file_of_the_room_is_on_its_map_once_and_no_other() -> None:
    assert training.__doc__ is not None
    lines = training.__doc__.split("THE NETWORK")[1]
    named = re.findall(r"(?<![/\w])(\w+\.py)", lines)
    assert len(named) == len(set(named))
    assert set(named) == {path.name for path in ROOM.glob("*.py")} - {"__init__.py"}
