"""Login of a client whose secret is rotated."""

import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from .secrets import Secrets


@dataclass(frozen=True)
class Settings:
    """The client, and where it logs in."""

    domain: str
    client_id: str
    audience: str
    endpoint: str | None = None

    @property
    def token_url(self) -> str:
        return f"{self.endpoint or f'https://{self.domain}'}/oauth/token"


class LoginError(Exception):
    """A failed login, with the number of secrets that were tried."""

    def __init__(self, message: str, tries: int) -> None:
        super().__init__(message)
        self.tries = tries


class Login:
    """Requests access tokens for a client whose secret is rotated."""

    def __init__(self, settings: Settings, secrets: Secrets, http: httpx.Client) -> None:
        self._settings = settings
        self._secrets = secrets
        self._http = http
        self._lock = threading.Lock()
        self._last_accepted: str | None = None

    def token(self) -> tuple[dict[str, Any], int]:
        """Return a new token and the number of secrets that were tried.

        Try the secret that Auth0 accepted last, then the list in order. If Auth0 rejects all of
        them, read the list again and try the new one once.
        """
        with self._lock:
            tries = 0
            for _ in range(2):
                for secret in self._candidates():
                    tries += 1
                    token = self._request_token(secret, tries)
                    if token is not None:
                        self._last_accepted = secret
                        return token, tries
                self._last_accepted = None
                self._secrets.refresh_or_log()
            raise LoginError("Auth0 rejected every secret in the list", tries)

    def _candidates(self) -> list[str]:
        """Return the secrets in the order in which to try them."""
        if self._last_accepted is None:
            return list(self._secrets.list)
        others = [secret for secret in self._secrets.list if secret != self._last_accepted]
        return [self._last_accepted, *others]

    def _request_token(self, secret: str, tries: int) -> dict[str, Any] | None:
        """Return a token, or None if Auth0 rejected the secret itself.

        That is status 401, with invalid_client or access_denied. After any other error, another
        secret would not help.
        """
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": secret,
            "audience": self._settings.audience,
        }
        try:
            response = self._http.post(self._settings.token_url, data=form)
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                return None
            token: dict[str, Any] = response.raise_for_status().json()
            return token
        except (httpx.HTTPError, ValueError) as error:
            raise LoginError(str(error), tries) from None
