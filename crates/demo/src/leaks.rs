//! The search for secrets where none may be.

use auth0_simulator::ValuesEver;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;

/// A text in which no secret may occur.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What was searched, and where something was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) values: usize,
    pub(crate) bytes: usize,
    /// The names of the places.
    pub(crate) places: Vec<String>,
    /// The names of the places that hold a secret or a token.
    pub(crate) found_in: Vec<String>,
}

/// Searches for every client secret and token that ever existed, as it is and in base64.
pub(crate) fn search(places: &[Place], ever: &ValuesEver) -> Search {
    let values: Vec<&str> =
        ever.secrets.iter().chain(&ever.tokens).map(|value| value.expose_secret()).collect();
    let needles: Vec<String> =
        values.iter().flat_map(|value| [(*value).to_owned(), STANDARD.encode(value)]).collect();
    search_texts(places, &needles, values.len())
}

fn search_texts(places: &[Place], needles: &[String], values: usize) -> Search {
    let holds = |place: &&Place| needles.iter().any(|needle| place.text.contains(needle));
    Search {
        values,
        places: places.iter().map(|place| place.name.clone()).collect(),
        bytes: places.iter().map(|place| place.text.len()).sum(),
        found_in: places.iter().filter(holds).map(|place| place.name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_leak_is_named() {
        let place = |name: &str, text: &str| Place { name: name.into(), text: text.into() };
        let places = [place("log", "rotation 2 started"), place("Events", "it is c2VjcmV0")];
        let needles = ["secret".to_owned(), STANDARD.encode("secret")];
        let found = search_texts(&places, &needles, 1);
        assert_eq!(found.found_in, ["Events"]);
        assert_eq!((found.values, found.bytes), (1, 32));
    }
}
