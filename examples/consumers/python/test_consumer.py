"""python -m unittest: a rotation as an application meets it."""

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

from consumer.login import Login, LoginFailed, Settings
from consumer.secrets import BadList, Secrets


class Mount:
    """A folder as the kubelet makes it."""

    def __init__(self, test: unittest.TestCase, content: str) -> None:
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.path = Path(folder.name)
        self._versions = 0
        self.publish(content)
        (self.path / "client_secrets").symlink_to("..data/client_secrets")

    def publish(self, content: str) -> None:
        self._versions += 1
        version = self.path / f"..{self._versions}"
        version.mkdir()
        (version / "client_secrets").write_text(content)
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").rename(self.path / "..data")


class Auth0(ThreadingHTTPServer):
    """Accepts some secrets and keeps what it was asked."""

    def __init__(self, test: unittest.TestCase) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.accepted: list[str] = []
        self.asked: list[str] = []
        self.status: int | None = None
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        test.addCleanup(self.server_close)
        test.addCleanup(self.shutdown)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Auth0

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        (secret,) = form["client_secret"]
        self.server.asked.append(secret)
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
    def begin(self, content: str) -> None:
        self.mount = Mount(self, content)
        self.auth0 = Auth0(self)
        self.secrets = Secrets(self.mount.path)
        settings = Settings(
            domain="acme.eu.auth0.com",
            client_id="shop",
            audience="https://api.example",
            endpoint=self.auth0.url,
        )
        http = httpx.Client(trust_env=False)
        self.addCleanup(http.close)
        self.login = Login(settings, self.secrets, http)

    def logs_in(self, *order: str) -> None:
        """Expects the secrets to be tried in this order, and the last to be accepted."""
        self.auth0.asked.clear()
        token, tries = self.login.token()
        self.assertEqual(token["access_token"], "token")
        self.assertEqual(self.auth0.asked, list(order))
        self.assertEqual(tries, len(order))

    def test_the_list_is_tried_in_its_order_and_what_works_is_remembered(self) -> None:
        self.begin('["a","b","c"]')
        self.auth0.accepted = ["b"]
        self.logs_in("a", "b")
        self.logs_in("b")
        self.mount.publish('["c","a","b"]')
        self.secrets.refresh()
        self.logs_in("b")

    def test_a_staged_rotation_is_followed_by_watching(self) -> None:
        self.begin('["old"]')
        observer = self.secrets.watch()
        self.addCleanup(observer.join)
        self.addCleanup(observer.stop)
        self.auth0.accepted = ["old"]
        self.logs_in("old")

        self.mount.publish('["old","new"]')
        deadline = time.monotonic() + 10
        while len(self.secrets.list) != 2:
            self.assertLess(time.monotonic(), deadline, "the pair was not read")
            time.sleep(0.005)
        self.logs_in("old")

        self.auth0.accepted = ["new"]
        self.logs_in("old", "new")
        self.logs_in("new")

    def test_a_fresh_read_comes_before_giving_up(self) -> None:
        self.begin('["old"]')
        self.mount.publish('["new","old"]')
        self.auth0.accepted = ["new"]
        self.logs_in("old", "new")

        self.auth0.accepted = ["another"]
        with self.assertRaisesRegex(LoginFailed, "refuses each secret") as caught:
            self.login.token()
        self.assertEqual(caught.exception.tries, 4)

    def test_junk_leaves_the_list_as_it_was_and_is_not_shown(self) -> None:
        self.begin('["good"]')
        self.auth0.accepted = ["good"]
        with self.assertLogs("consumer", logging.WARNING) as logged:
            for junk in ("", "hunter2", '{"hunter2":1}', "[]", '[""]', '["hunter2",3]', '["hunter2"'):
                self.mount.publish(junk)
                with self.assertRaises(BadList):
                    self.secrets.refresh()
                self.secrets.refresh_or_complain()
                self.logs_in("good")
            (self.mount.path / "client_secrets").unlink()
            self.secrets.refresh_or_complain()
            self.logs_in("good")
        self.assertEqual(len(logged.output), 8)
        self.assertNotRegex("\n".join(logged.output), "hunter2|good")
        with self.assertRaisesRegex(BadList, "not a JSON list"):
            Secrets(Mount(self, "junk").path)

    def test_other_answers_are_no_reason_to_try_another_secret(self) -> None:
        self.begin('["a","b"]')
        for status in (403, 429, 500):
            self.auth0.status = status
            with self.assertRaises(LoginFailed) as caught:
                self.login.token()
            self.assertEqual(caught.exception.tries, 1)


if __name__ == "__main__":
    unittest.main()
