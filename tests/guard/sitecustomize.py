"""Loaded by Python at start-up in every process of a script under test.

Found through PYTHONPATH, so that the script itself stays as a reader copies it. It cuts
the network (anything but this machine's own addresses) and turns each warning that a
reader would see into an error, except the third-party noise listed in catalog.toml.

Environment: ``GALLERY_CATALOG``, path of catalog.toml; ``GALLERY_NETWORK_LOG``, path of
a file that gets one line for each refused connection, so that a script that swallows
the error is caught all the same.
"""

import os
import sys

# Addresses and names of this machine, which multi-process pages need.
LOCAL = {"localhost", "::1", "::", "0.0.0.0", "", None}


def refuse_network(event: str, arguments: tuple) -> None:
    """Audit hook: raise ConnectionError where a script reaches beyond this machine."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if not isinstance(address, tuple):  # a Unix socket's path
            return
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in LOCAL or str(host).startswith("127."):
        return
    with open(os.environ["GALLERY_NETWORK_LOG"], "a") as log:
        log.write(f"{event} {host}\n")
    raise ConnectionError(
        f"this script asked for {host}, but examples run without a network: "
        "use data that comes inside a package (catalog.toml lists some)"
    )


def be_strict(catalog: str) -> None:
    """Make visible warnings errors, but for the noise that ``catalog`` lists."""
    import builtins
    import tomllib
    import warnings

    with open(catalog, "rb") as file:
        noise = tomllib.load(file)["noise"]
    warnings.filterwarnings("error")
    for quiet in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
        warnings.filterwarnings("ignore", category=quiet)  # as Python does by default
    warnings.filterwarnings("ignore", category=ResourceWarning)
    warnings.filterwarnings("error", module="__main__")
    for entry in noise:
        warnings.filterwarnings(
            "ignore",
            message=entry["message"],
            category=getattr(builtins, entry["category"]),
            module=entry["module"],
        )


sys.addaudithook(refuse_network)
be_strict(os.environ["GALLERY_CATALOG"])
