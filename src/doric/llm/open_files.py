"""The limit of open files of this process. Each call in flight has a connection, which counts as an open file."""

from contextlib import suppress

from doric.core.errors import SettingsError

SPARE = 100
"""Files beside the connections: outputs, lock files, data files, those of the event loop and of the libraries."""


def allow_connections(count: int) -> None:
    """Raise the limit of this process if it is too low for so many connections at once.

    A process usually starts with a limit of 1,024 (Linux) or 256 (macOS), and may raise it up to its hard limit. There
    is room for a second client with as many calls, the judge, if the hard limit allows it. Raises `SettingsError` if it
    does not even allow `count` connections. Windows has no such limit.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    least, wanted = count + SPARE, 2 * count + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    for limit in (most, least):  # macOS has one more limit, below its hard limit
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
            break
    if (allowed := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < least:
        raise SettingsError(
            f"{count:,} calls at once need {least:,} open files, and this machine allows {allowed:,}",
            hint="Make fewer calls at once, or raise the limit with ulimit -n.",
        )
