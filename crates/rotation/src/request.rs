//! Requests: what people ask for with the annotation `auth0-rotator.dev/request`.

/// A request as it stands in the annotation, `<verb>/<any text>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The whole text: what is remembered once the request was acted upon.
    pub text: String,
    /// What is asked for.
    pub verb: Result<Verb, RequestError>,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Rotate now.
    Rotate,
    /// The secret is compromised: rotate without staging and without grace.
    Revoke,
    /// Make the previous secret the current one again.
    Rollback,
    /// Withdraw the next secret before it is activated.
    Abort,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 4] = [Verb::Rotate, Verb::Revoke, Verb::Rollback, Verb::Abort];

    /// The verb as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Rotate => "rotate",
            Verb::Revoke => "revoke",
            Verb::Rollback => "rollback",
            Verb::Abort => "abort",
        }
    }
}

/// Why a request isn't understood. Shown to whoever wrote it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// The text is empty, or has no verb, or nothing after it.
    #[error(
        "the request must be <verb>/<any text>, such as rotate/2026-11-23: the text tells one request from the next"
    )]
    Malformed,
    /// The verb isn't known.
    #[error(
        "the request's verb is unknown: use rotate, revoke, rollback or abort, as in rotate/<any text>"
    )]
    Unknown,
    /// The text is longer than [`TEXT_LIMIT`].
    #[error("the request is longer than {TEXT_LIMIT} bytes: shorten the text after the verb")]
    TooLong,
}

/// The longest request that is taken, in bytes. It is copied into the status.
pub const TEXT_LIMIT: usize = 256;

impl Request {
    /// Reads the annotation's value. Never fails: what is wrong is a fact to report.
    pub fn parse(text: &str) -> Request {
        let verb = match text.split_once('/') {
            _ if text.len() > TEXT_LIMIT => Err(RequestError::TooLong),
            None => Err(RequestError::Malformed),
            Some((verb, rest)) if verb.is_empty() || rest.trim().is_empty() => {
                Err(RequestError::Malformed)
            }
            Some((verb, _)) => Verb::ALL
                .into_iter()
                .find(|known| known.as_str() == verb)
                .ok_or(RequestError::Unknown),
        };
        Request { text: text.to_owned(), verb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_verb_and_a_text() {
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
}
