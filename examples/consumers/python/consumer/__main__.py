"""python -m consumer: see README.md."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import httpx

from .login import Login, LoginFailed, Settings
from .secrets import BadList, Secrets

log = logging.getLogger("consumer")


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def repeat(login: Login, every: float) -> None:
    """Logs in until it is ended, and writes how it went.

    A service would keep each token until shortly before its end (expires_in) and log in that often
    only.
    """
    accepted = time.monotonic()
    while True:
        due = time.monotonic() + every
        outcome = "accepted"
        try:
            _, tries = login.token()
        except LoginFailed as error:
            outcome, tries = "failed", error.tries
            log.error("%s", error)
        now = time.monotonic()
        say(login=outcome, tries=tries, gap=now - accepted)
        if outcome == "accepted":
            accepted = now
        time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    folder = Path(os.environ.get("AUTH0_SECRET_DIR", "/var/run/auth0"))
    settings = Settings(
        domain=os.environ["AUTH0_DOMAIN"],
        client_id=(folder / "client_id").read_text(),
        audience=os.environ["AUTH0_AUDIENCE"],
        endpoint=os.environ.get("AUTH0_ENDPOINT"),
    )
    secrets = Secrets(folder, changed=lambda length: say(list=length))
    with httpx.Client(timeout=10) as http:
        login = Login(settings, secrets, http)
        if every := os.environ.get("LOGIN_EVERY"):
            secrets.watch()
            repeat(login, float(every))
        else:
            login.token()


if __name__ == "__main__":
    logging.basicConfig(format="consumer: %(message)s", level=logging.WARNING)
    # The first process of a container isn't ended by a signal that it doesn't handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        main()
    except KeyError as error:
        sys.exit(f"consumer: {error.args[0]} is not set")
    except (OSError, ValueError, BadList, LoginFailed) as error:
        sys.exit(f"consumer: {error}")
