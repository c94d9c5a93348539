"""The list of a mounted Secret, read again when it changes."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger("consumer")


class BadList(Exception):
    """What is in the file is no list. Says nothing of what it is: that has secrets."""

    def __init__(self) -> None:
        super().__init__("client_secrets is not a JSON list of one or more secrets")


class Secrets:
    """The values to try, in their order."""

    def __init__(self, folder: Path, changed: Callable[[int], None] = lambda _: None) -> None:
        """Raises when there is no list to begin with. `changed` is told the length of each new one."""
        self._folder = folder
        self._changed = changed
        self._lock = threading.Lock()
        self._list: tuple[str, ...] = ()
        self.refresh()

    @property
    def list(self) -> tuple[str, ...]:
        """What was read last."""
        return self._list

    def refresh(self) -> None:
        """Reads the list anew. What can't be read leaves it as it was."""
        with self._lock:
            values = _parse((self._folder / "client_secrets").read_bytes())
            if values != self._list:
                self._list = values
                self._changed(len(values))

    def refresh_or_complain(self) -> None:
        try:
            self.refresh()
        except (OSError, BadList) as error:
            log.warning("the list stays as it was: %s", error)

    def watch(self) -> BaseObserver:
        """Refreshes the list when the folder changes, until the returned observer is stopped.

        The folder is watched, not the file: the kubelet replaces the link ..data in it.
        """
        observer = Observer()
        observer.schedule(_Handler(self), str(self._folder))
        observer.daemon = True
        observer.start()
        # What changed before it was watched.
        self.refresh_or_complain()
        return observer


class _Handler(FileSystemEventHandler):
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def on_any_event(self, event: FileSystemEvent) -> None:
        # That a file is read is told, too.
        if event.event_type not in ("opened", "closed_no_write"):
            self._secrets.refresh_or_complain()


def _parse(text: bytes) -> tuple[str, ...]:
    try:
        values = json.loads(text)
    except ValueError:
        # The cause would have the text.
        raise BadList from None
    if not isinstance(values, list) or not values:
        raise BadList
    if not all(isinstance(value, str) and value for value in values):
        raise BadList
    return tuple(values)
