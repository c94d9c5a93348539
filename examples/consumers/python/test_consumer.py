"""Tests of the consumer during a rotation. Run them with python -m unittest."""

import json
import logging
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import httpx

from consumer.login import Login, LoginError, Settings
from consumer.secrets import InvalidListError, Secrets


class MountedSecret:
    """A directory laid out and updated the way the kubelet does it."""

    def __init__(self, test: unittest.TestCase, content: str) -> None:
        directory = tempfile.TemporaryDirectory()
        test.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self._versions = 0
        self.update(content)
        (self.directory / "client_secrets").symlink_to("..data/client_secrets")

    def update(self, content: str) -> None:
        """Replace the symbolic link ..data with one to a new version."""
        self._versions += 1
        version = self.directory / f"..{self._versions}"
        version.mkdir()
        (version / "client_secrets").write_text(content)
        (self.directory / "..data_tmp").symlink_to(version.name)
        (self.directory / "..data_tmp").rename(self.directory / "..data")


class FakeAuth0(ThreadingHTTPServer):
    """A token endpoint that accepts some secrets and records the secrets that it receives."""

    def __init__(self, test: unittest.TestCase) -> None:
        super().__init__(("127.0.0.1", 0), FakeAuth0Handler)
        self.accepted: list[str] = []
        self.received: list[str] = []
        self.status: int | None = None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        test.addCleanup(self.server_close)
        test.addCleanup(self.shutdown)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class FakeAuth0Handler(BaseHTTPRequestHandler):
    server: FakeAuth0

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        (secret,) = form["client_secret"]
        self.server.received.append(secret)
        is_accepted = (
            self.path == "/oauth/token"
            and form["grant_type"] == ["client_credentials"]
            and form["client_id"] == ["shop"]
            and form["audience"] == ["https://api.example"]
            and secret in self.server.accepted
        )
        body: dict = {"error": "access_denied", "error_description": "Unauthorized"}
        if is_accepted:
            body = {"access_token": "token", "token_type": "Bearer", "expires_in": 60}
        self.send_response(self.server.status or (200 if is_accepted else 401))
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


class ConsumerTest(unittest.TestCase):
    def start(self, content: str) -> None:
        self.mounted = MountedSecret(self, content)
        self.auth0 = FakeAuth0(self)
        self.secrets = Secrets(self.mounted.directory)
        settings = Settings(
            domain="acme.eu.auth0.com",
            client_id="shop",
            audience="https://api.example",
            endpoint=self.auth0.url,
        )
        http = httpx.Client(trust_env=False)
        self.addCleanup(http.close)
        self.login = Login(settings, self.secrets, http)

    def assert_login(self, *order: str) -> None:
        """Assert that a login tries these secrets in this order and that the last is accepted."""
        self.auth0.received.clear()
        token, tries = self.login.token()
        self.assertEqual(token["access_token"], "token")
        self.assertEqual(self.auth0.received, list(order))
        self.assertEqual(tries, len(order))

    def test_tries_list_in_order_and_remembers_accepted_secret(self) -> None:
        self.start('["a","b","c"]')
        self.auth0.accepted = ["b"]
        self.assert_login("a", "b")
        self.assert_login("b")
        self.mounted.update('["c","a","b"]')
        self.secrets.refresh()
        self.assert_login("b")

    def test_follows_staged_rotation_by_watching(self) -> None:
        self.start('["old"]')
        observer = self.secrets.watch()
        self.addCleanup(observer.join)
        self.addCleanup(observer.stop)
        self.auth0.accepted = ["old"]
        self.assert_login("old")

        self.mounted.update('["old","new"]')
        deadline = time.monotonic() + 10
        while len(self.secrets.list) != 2:
            self.assertLess(time.monotonic(), deadline, "the new list was not read within 10 s")
            time.sleep(0.005)
        self.assert_login("old")

        self.auth0.accepted = ["new"]
        self.assert_login("old", "new")
        self.assert_login("new")

    def test_reads_list_again_before_giving_up(self) -> None:
        self.start('["old"]')
        self.mounted.update('["new","old"]')
        self.auth0.accepted = ["new"]
        self.assert_login("old", "new")

        self.auth0.accepted = ["other"]
        with self.assertRaisesRegex(LoginError, "rejected every secret") as caught:
            self.login.token()
        self.assertEqual(caught.exception.tries, 4)

    def test_keeps_previous_list_when_content_is_invalid_and_never_logs_it(self) -> None:
        self.start('["good"]')
        self.auth0.accepted = ["good"]
        with self.assertLogs("consumer", logging.WARNING) as logged:
            for invalid in ("", "hidden", '{"hidden":1}', "[]", '[""]', '["hidden",3]', '["hidden"'):
                self.mounted.update(invalid)
                with self.assertRaises(InvalidListError):
                    self.secrets.refresh()
                self.secrets.refresh_or_log()
                self.assert_login("good")
            (self.mounted.directory / "client_secrets").unlink()
            self.secrets.refresh_or_log()
            self.assert_login("good")
        self.assertEqual(len(logged.output), 8)
        self.assertNotRegex("\n".join(logged.output), "hidden|good")
        with self.assertRaisesRegex(InvalidListError, "not a JSON array"):
            Secrets(MountedSecret(self, "invalid").directory)

    def test_tries_next_secret_only_after_401(self) -> None:
        self.start('["a","b"]')
        for status in (403, 429, 500):
            self.auth0.status = status
            with self.assertRaises(LoginError) as caught:
                self.login.token()
            self.assertEqual(caught.exception.tries, 1)


if __name__ == "__main__":
    unittest.main()
