"""Logins of a client whose secret changes."""

import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from .secrets import Secrets


@dataclass(frozen=True)
class Settings:
    domain: str
    client_id: str
    audience: str
    endpoint: str | None = None

    @property
    def token_url(self) -> str:
        return f"{self.endpoint or f'https://{self.domain}'}/oauth/token"


class LoginFailed(Exception):
    def __init__(self, why: str, tries: int) -> None:
        super().__init__(why)
        self.tries = tries


class Login:
    def __init__(self, settings: Settings, secrets: Secrets, http: httpx.Client) -> None:
        self._settings = settings
        self._secrets = secrets
        self._http = http
        self._lock = threading.Lock()
        self._works: str | None = None

    def token(self) -> tuple[dict[str, Any], int]:
        """Returns a token, and how many secrets were tried for it.

        The secret that worked last is tried first, then the list in its order, and once more what
        a fresh read of it has.
        """
        with self._lock:
            tries = 0
            for _ in range(2):
                for secret in self._candidates():
                    tries += 1
                    token = self._ask(secret, tries)
                    if token is not None:
                        self._works = secret
                        return token, tries
                self._works = None
                self._secrets.refresh_or_complain()
            raise LoginFailed("Auth0 refuses each secret of the list", tries)

    def _candidates(self) -> list[str]:
        first = [] if self._works is None else [self._works]
        return first + [secret for secret in self._secrets.list if secret != self._works]

    def _ask(self, secret: str, tries: int) -> dict[str, Any] | None:
        """Returns None when it was the secret that Auth0 didn't accept.

        That is a 401, with invalid_client or access_denied. Another secret is of no use against
        any other answer.
        """
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": secret,
            "audience": self._settings.audience,
        }
        try:
            answer = self._http.post(self._settings.token_url, data=form)
            if answer.status_code == HTTPStatus.UNAUTHORIZED:
                return None
            token: dict[str, Any] = answer.raise_for_status().json()
            return token
        except (httpx.HTTPError, ValueError) as error:
            raise LoginFailed(str(error), tries) from None
