"""Contract test: the unmodified auth0-python library against the simulator.

Environment variables:
  DOMAIN, ADMIN_URL         addresses of the simulator
  CLIENT_ID, CLIENT_SECRET  client with all scopes
  PRIVATE_KEY, PUBLIC_KEY   files with an RSA key pair in PEM
  SSL_CERT_FILE             file with the simulator's certificate authority, for httpx
  REQUESTS_CA_BUNDLE        the same file, for requests

Exits with 0 if every assertion holds.
"""

import os
import time

import requests
from auth0.authentication import GetToken, RevokeToken
from auth0.authentication.exceptions import Auth0Error, RateLimitError
from auth0.management import ManagementClient
from auth0.management.core.api_error import ApiError
from auth0.management.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)

DOMAIN = os.environ["DOMAIN"]
ADMIN_URL = os.environ["ADMIN_URL"]
CLIENT_ID = os.environ["CLIENT_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]
AUDIENCE = f"https://{DOMAIN}/api/v2/"

# The library retries by default. These tests check the first response.
NO_RETRIES = {"max_retries": 0}


def assert_raises(expected, call):
    """Returns the error that the call raises. Fails unless it has exactly the expected class."""
    try:
        call()
    except expected as error:
        assert type(error) is expected, f"{type(error)} instead of {expected}"
        return error
    raise AssertionError(f"{expected.__name__} was not raised")


def inject_fault(**fault):
    response = requests.post(f"{ADMIN_URL}/faults", json=fault, timeout=10)
    assert response.status_code == 201, response.text


def check_token_and_revocation():
    token = GetToken(DOMAIN, CLIENT_ID, client_secret=CLIENT_SECRET)
    response = token.client_credentials(AUDIENCE)
    assert response["token_type"] == "Bearer" and response["expires_in"] == 86400, response.keys()
    assert "update:client_keys" in response["scope"].split(" ")

    wrong = GetToken(DOMAIN, CLIENT_ID, client_secret="wrong")
    error = assert_raises(Auth0Error, lambda: wrong.client_credentials(AUDIENCE))
    assert (error.status_code, error.error_code) == (401, "access_denied"), error
    assert error.message == "Unauthorized"

    error = assert_raises(Auth0Error, lambda: token.client_credentials("https://elsewhere"))
    assert (error.status_code, error.error_code) == (403, "access_denied"), error

    revoke = RevokeToken(DOMAIN, CLIENT_ID, client_secret=CLIENT_SECRET)
    assert revoke.revoke_refresh_token("any") == ""
    wrong = RevokeToken(DOMAIN, CLIENT_ID, client_secret="wrong")
    error = assert_raises(Auth0Error, lambda: wrong.revoke_refresh_token("any"))
    assert (error.status_code, error.error_code) == (401, "invalid_client"), error
    error = assert_raises(Auth0Error, lambda: revoke.revoke_refresh_token(""))
    assert (error.status_code, error.error_code) == (400, "invalid_request"), error

    inject_fault(match={"operation": "token"}, action={"kind": "rate_limited", "reset_in_s": 30})
    error = assert_raises(RateLimitError, lambda: token.client_credentials(AUDIENCE))
    assert (error.status_code, error.error_code) == (429, "too_many_requests"), error
    assert 0 < error.reset_at - time.time() <= 31, error.reset_at


def check_private_key_jwt():
    with open(os.environ["PRIVATE_KEY"]) as private, open(os.environ["PUBLIC_KEY"]) as public:
        key, pem = private.read(), public.read()
    for algorithm in ["RS256", "RS384", "PS256"]:
        client_id = f"signer-{algorithm}"
        requests.put(
            f"{ADMIN_URL}/clients/{client_id}",
            json={
                "public_keys": [{"pem": pem, "algorithm": algorithm}],
                "scopes": ["read:clients"],
            },
            timeout=10,
        ).raise_for_status()
        for signed_with in ["RS256", "RS384", "PS256"]:
            token = GetToken(
                DOMAIN,
                client_id,
                client_assertion_signing_key=key,
                client_assertion_signing_alg=signed_with,
            )
            if signed_with == algorithm:
                assert token.client_credentials(AUDIENCE)["scope"] == "read:clients"
            else:
                error = assert_raises(Auth0Error, lambda: token.client_credentials(AUDIENCE))
                assert (error.status_code, error.error_code) == (401, "invalid_client"), error


def check_client_lifecycle(management):
    created = management.clients.create(
        name="checkout",
        app_type="non_interactive",
        client_metadata={"team": "shop"},
        grant_types=["client_credentials"],
    )
    client_id, first = created.client_id, created.client_secret
    assert len(client_id) == 32 and len(first) == 64
    assert created.token_endpoint_auth_method == "client_secret_post"

    got = management.clients.get(client_id)
    assert got.client_secret == first and got.client_metadata == {"team": "shop"}
    selected = management.clients.get(client_id, fields="client_id,name", include_fields=True)
    assert selected.name == "checkout" and selected.client_secret is None
    remaining = management.clients.get(client_id, fields="client_secret", include_fields=False)
    assert remaining.name == "checkout" and remaining.client_secret is None

    updated = management.clients.update(client_id, description="pays", client_secret="staged")
    assert updated.description == "pays"
    assert management.clients.get(client_id).client_secret == "staged"
    assert RevokeToken(DOMAIN, client_id, client_secret="staged").revoke_refresh_token("x") == ""

    rotated = management.clients.rotate_secret(client_id)
    assert rotated.client_id == client_id and rotated.client_secret not in (first, "staged")
    assert management.clients.get(client_id).client_secret == rotated.client_secret
    revoke = RevokeToken(DOMAIN, client_id, client_secret=rotated.client_secret)
    assert revoke.revoke_refresh_token("x") == ""

    management.clients.delete(client_id)
    error = assert_raises(NotFoundError, lambda: management.clients.get(client_id))
    assert error.body["errorCode"] == "inexistent_client", error.body


def check_pagination(management):
    names = {f"page-{number}" for number in range(7)}
    ids = [management.clients.create(name=name).client_id for name in sorted(names)]
    pager = management.clients.list(per_page=3, fields="client_id,name", include_fields=True)
    assert pager.response.limit == 3 and pager.response.total >= 7
    assert len(pager.items) == 3 and pager.items[0].client_secret is None
    listed = [client.name for client in pager]
    assert names <= set(listed) and len(listed) == len(set(listed)) == pager.response.total
    for client_id in ids:
        management.clients.delete(client_id)


def check_errors(management):
    clients = management.clients
    error = assert_raises(NotFoundError, lambda: clients.rotate_secret("unknown"))
    assert error.body["errorCode"] == "inexistent_client", error.body
    error = assert_raises(BadRequestError, lambda: clients.update(CLIENT_ID, name="<a>"))
    assert error.body["errorCode"] == "invalid_body", error.body
    error = assert_raises(BadRequestError, lambda: clients.list(per_page=101))
    assert error.body["statusCode"] == 400, error.body

    unauthorized = ManagementClient(domain=DOMAIN, token="invalid.token")
    error = assert_raises(UnauthorizedError, lambda: unauthorized.clients.get(CLIENT_ID))
    assert error.body["error"] == "Unauthorized", error.body

    requests.put(
        f"{ADMIN_URL}/clients/reader",
        json={"client_secret": "reads", "scopes": ["read:clients"]},
        timeout=10,
    ).raise_for_status()
    reader = ManagementClient(domain=DOMAIN, client_id="reader", client_secret="reads")
    assert reader.clients.get(CLIENT_ID).client_secret is None
    error = assert_raises(ForbiddenError, lambda: reader.clients.rotate_secret(CLIENT_ID))
    assert error.body["errorCode"] == "insufficient_scope", error.body
    assert "update:client_keys" in error.body["message"], error.body

    limited = {"kind": "rate_limited", "reset_in_s": 30}
    inject_fault(match={"operation": "clients.get"}, action=limited)
    get = lambda: clients.get(CLIENT_ID, request_options=NO_RETRIES)
    error = assert_raises(TooManyRequestsError, get)
    assert error.body["errorCode"] == "too_many_requests", error.body
    assert error.headers["x-ratelimit-remaining"] == "0", error.headers
    assert 0 < int(error.headers["x-ratelimit-reset"]) - time.time() <= 31, error.headers
    assert error.headers["retry-after"] == "30", error.headers

    inject_fault(match={"operation": "clients.get"}, action={"kind": "html", "status": 502})
    error = assert_raises(ApiError, get)
    assert error.status_code == 502, error


def main():
    check_token_and_revocation()
    check_private_key_jwt()
    # The library requests its token with the client credentials.
    management = ManagementClient(
        domain=DOMAIN, client_id=CLIENT_ID, client_secret=CLIENT_SECRET
    )
    check_client_lifecycle(management)
    check_pagination(management)
    check_errors(management)


if __name__ == "__main__":
    main()
