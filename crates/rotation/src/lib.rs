//! What to do next with an Auth0 client secret: pure, no IO, no clock
