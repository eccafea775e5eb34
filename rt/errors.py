"""Every error a user can cause, with one voice: what was wrong, what was expected, what helps."""


class SpeckError(Exception):
    """An expected failure: its text is one sentence for the user and is shown without a traceback."""


class ConfigError(SpeckError):
    """A setting is unknown or has a wrong value; one line for each."""


class InputError(SpeckError):
    """A file or an argument the user gave cannot be used."""


class WireError(SpeckError):
    """A message breaks the protocol (docs/protocol.md)."""


class EngineError(SpeckError):
    """An engine or a model file cannot be used here."""


class ControlError(SpeckError):
    """A control request that cannot be done; `code` is the short name the client receives."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
