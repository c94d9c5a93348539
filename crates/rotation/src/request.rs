//! Requests by users, made with the annotation `auth0-rotator.dev/request`.

use crate::text::bounded;

/// Value of the request annotation, `<verb>/<any text>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The value, which the status records once the request is handled. That of a request which is
    /// too long, and so never handled, is cut.
    pub text: String,
    /// The requested operation.
    pub verb: Result<Verb, RequestError>,
}

/// Operation that a user can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Rotates now.
    Rotate,
    /// Replaces a compromised secret: no staging period, no grace period.
    Revoke,
    /// Makes the previous secret the current one again.
    Rollback,
    /// Withdraws the next secret before it is activated.
    Abort,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 4] = [Self::Rotate, Self::Revoke, Self::Rollback, Self::Abort];

    /// Returns the verb as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Rollback => "rollback",
            Self::Abort => "abort",
        }
    }
}

/// Why a request is invalid. Users see the message after the name of the annotation.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// The verb or the text after it is missing.
    #[error(
        "must be <verb>/<any text>, such as rotate/2026-11-23; the text distinguishes one request \
         from the next"
    )]
    Malformed,
    /// The verb is unknown.
    #[error("unknown verb; use rotate, revoke, rollback or abort, as in rotate/<any text>")]
    Unknown,
    /// The value is longer than [`TEXT_LIMIT`].
    #[error("longer than {TEXT_LIMIT} bytes; shorten the text after the verb")]
    TooLong,
}

/// Maximum length of a request in bytes. The status keeps a copy of it.
pub const TEXT_LIMIT: usize = 256;

/// Length in characters at which a longer request is cut.
const CUT_LIMIT: usize = 60;

impl Request {
    /// Parses the value of the annotation. An invalid request is not an error of the operator: the
    /// result carries it as a fact to report.
    pub fn parse(text: &str) -> Self {
        let verb = parse_verb(text);
        let text = if verb == Err(RequestError::TooLong) { cut(text) } else { text.to_owned() };
        Self { text, verb }
    }
}

/// Returns a short text for a request that is too long. Its first character is that of no verb, so it
/// is as invalid as the request itself.
fn cut(text: &str) -> String {
    format!("\u{fffd}{}", bounded(text, CUT_LIMIT))
}

fn parse_verb(text: &str) -> Result<Verb, RequestError> {
    if text.len() > TEXT_LIMIT {
        return Err(RequestError::TooLong);
    }
    let Some((verb, rest)) = text.split_once('/') else {
        return Err(RequestError::Malformed);
    };
    if verb.is_empty() || rest.trim().is_empty() {
        return Err(RequestError::Malformed);
    }
    let known = Verb::ALL.into_iter().find(|known| known.as_str() == verb);
    known.ok_or(RequestError::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_verb_and_text() {
        assert_eq!(Request::parse("rotate/2026-11-23").verb, Ok(Verb::Rotate));
        assert_eq!(Request::parse("rotate/a/b c").verb, Ok(Verb::Rotate));
        for verb in Verb::ALL {
            assert_eq!(Request::parse(&format!("{}/now", verb.as_str())).verb, Ok(verb));
        }
        for text in ["", "/", "rotate", "rotate/", "rotate/  ", "/now"] {
            assert_eq!(Request::parse(text).verb, Err(RequestError::Malformed), "{text:?}");
        }
        for text in ["Rotate/now", "dance/now", " rotate/now"] {
            assert_eq!(Request::parse(text).verb, Err(RequestError::Unknown), "{text:?}");
        }
        let long = format!("rotate/{}", "x".repeat(TEXT_LIMIT));
        assert_eq!(Request::parse(&long).verb, Err(RequestError::TooLong));
    }

    #[test]
    fn cuts_a_request_that_is_too_long_and_never_takes_it_for_another() {
        let cut = Request::parse(&format!("rotate/{}", "x".repeat(200_000))).text;
        assert!(cut.len() < TEXT_LIMIT, "{cut}");
        let parsed = Request::parse(&cut);
        assert_eq!((parsed.text, parsed.verb), (cut, Err(RequestError::Unknown)));
    }
}
