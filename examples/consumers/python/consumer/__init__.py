"""Log in to Auth0 with the client secrets of a mounted Secret."""
