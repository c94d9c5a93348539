"""List of client secrets in a mounted Secret, kept up to date."""

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger("consumer")


class InvalidListError(Exception):
    """The file isn't a valid list. The message omits its content, which may contain secrets."""

    def __init__(self) -> None:
        super().__init__("client_secrets is not a JSON array of one or more secrets")


class Secrets:
    """The list of client secrets, in the order in which to try them."""

    def __init__(self, directory: Path, on_change: Callable[[int], None] = lambda _: None) -> None:
        """Read the list, and raise an error if there is no valid one.

        `on_change` is called with the length of each new list, including the first.
        """
        self._directory = directory
        self._on_change = on_change
        self._lock = threading.Lock()
        self._list: tuple[str, ...] = ()
        self.refresh()

    @property
    def list(self) -> tuple[str, ...]:
        """The list that was read last."""
        return self._list

    def refresh(self) -> None:
        """Read the list again, or raise an error and keep the previous list."""
        with self._lock:
            values = _parse_list((self._directory / "client_secrets").read_bytes())
            if values != self._list:
                self._list = values
                self._on_change(len(values))

    def refresh_or_log(self) -> None:
        """Read the list again, or log why the previous list is kept."""
        try:
            self.refresh()
        except (OSError, InvalidListError) as error:
            log.warning("keeping the previous list: %s", error)

    def watch(self) -> BaseObserver:
        """Refresh the list whenever the directory changes, until the returned observer is stopped.

        Watch the directory, not the file, because the kubelet replaces the symbolic link ..data in
        it.
        """
        observer = Observer()
        observer.schedule(_RefreshHandler(self), str(self._directory))
        observer.daemon = True
        observer.start()
        # The file may have changed before the watch started.
        self.refresh_or_log()
        return observer


class _RefreshHandler(FileSystemEventHandler):
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def on_any_event(self, event: FileSystemEvent) -> None:
        # Reading a file causes events too, but changes nothing.
        if event.event_type not in ("opened", "closed_no_write"):
            self._secrets.refresh_or_log()


def _parse_list(text: bytes) -> tuple[str, ...]:
    try:
        values = json.loads(text)
    except ValueError:
        # Without the cause, because that contains the text.
        raise InvalidListError from None
    if not isinstance(values, list) or not values:
        raise InvalidListError
    if not all(isinstance(value, str) and value for value in values):
        raise InvalidListError
    return tuple(values)
