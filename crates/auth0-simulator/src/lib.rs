//! A stateful Auth0 over HTTP for tests, demos and trials
