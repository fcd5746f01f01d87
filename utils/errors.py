"""Errors that a user can mend. Each message is one line: the file or key, the value found, what
was expected and the remedy."""


class RoseError(Exception):
    """Base of every error that a script prints as one line, without a traceback, before it exits
    with code 2."""


class ConfigError(RoseError):
    """A key of the command line or of a config file is unknown, has the wrong type or an
    impossible value."""


class TileError(RoseError):
    """A tile dataset, or one file of it, cannot be used."""


class PrepareError(RoseError):
    """A raster or vector source cannot be made into tiles."""


class CheckpointError(RoseError):
    """A checkpoint cannot be read, or does not fit the network or the run."""


class ModelError(RoseError, ValueError):
    """A network cannot be built as asked, or was given a batch that it cannot take."""


class ReportError(RoseError):
    """A folder holds no run that a report could be made of, or a file of it cannot be read."""


def one_line(error: Exception) -> str:
    """What an error of a library says, in one short line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()),
                type(error).__name__)[:160]


def message_of(error: RoseError | OSError) -> str:
    """Return what `error` says, in one line."""
    if isinstance(error, OSError):  # a full disk, a folder that may not be written
        return (f"{error.filename or 'input or output'}: {error.strerror or one_line(error)}; "
                "free space, or give another path")
    # an error from a data loading process carries that process's traceback before its own line
    lines = [line for line in str(error).splitlines() if line.strip()]
    message = lines[-1] if "Traceback" in lines[0] or "Caught" in lines[0] else " ".join(lines)
    return message.removeprefix(f"{type(error).__module__}.{type(error).__qualname__}: ")
