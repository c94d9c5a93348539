"""Command line of the consumer: see README.md."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import httpx

from .login import Login, LoginError, Settings
from .secrets import InvalidListError, Secrets

log = logging.getLogger("consumer")


def print_json(**line: object) -> None:
    """Print a line of JSON to standard output."""
    print(json.dumps(line), flush=True)


def log_in_periodically(login: Login, seconds: float) -> None:
    """Log in every `seconds` until the process exits, and print the outcome of each login.

    A real service would keep each token until shortly before it expires (expires_in) and log in
    only then.
    """
    last_accepted = time.monotonic()
    while True:
        next_login = time.monotonic() + seconds
        outcome = "accepted"
        try:
            _, tries = login.token()
        except LoginError as error:
            outcome, tries = "failed", error.tries
            log.error("%s", error)
        now = time.monotonic()
        print_json(login=outcome, tries=tries, gap=now - last_accepted)
        if outcome == "accepted":
            last_accepted = now
        time.sleep(max(0.0, next_login - time.monotonic()))


def main() -> None:
    """Log in once, or periodically if LOGIN_EVERY is set."""
    directory = Path(os.environ.get("AUTH0_SECRET_DIR", "/var/run/auth0"))
    settings = Settings(
        domain=os.environ["AUTH0_DOMAIN"],
        client_id=(directory / "client_id").read_text(),
        audience=os.environ["AUTH0_AUDIENCE"],
        endpoint=os.environ.get("AUTH0_ENDPOINT"),
    )
    secrets = Secrets(directory, on_change=lambda length: print_json(list=length))
    with httpx.Client(timeout=10) as http:
        login = Login(settings, secrets, http)
        if every := os.environ.get("LOGIN_EVERY"):
            secrets.watch()
            log_in_periodically(login, float(every))
        else:
            login.token()


if __name__ == "__main__":
    logging.basicConfig(format="consumer: %(message)s", level=logging.WARNING)
    # The kernel ignores SIGTERM for the first process of a container unless it has a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        main()
    except KeyError as error:
        sys.exit(f"consumer: {error.args[0]} is not set")
    except (OSError, ValueError, InvalidListError, LoginError) as error:
        sys.exit(f"consumer: {error}")
