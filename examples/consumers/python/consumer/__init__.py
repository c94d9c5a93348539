"""Logs in to Auth0 with the secrets of a mounted file."""
