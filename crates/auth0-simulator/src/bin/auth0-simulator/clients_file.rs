//! The file of initial clients (`--clients`).

use std::path::Path;

use auth0_simulator::ClientSeed;

use crate::{BoxError, read_file};

/// Reads the initial clients from a YAML or JSON file.
pub(crate) fn read(path: &Path) -> Result<Vec<ClientSeed>, BoxError> {
    parse(&read_file(path)?)
        .map_err(|error| format!("invalid clients file {}: {error}", path.display()).into())
}

/// Parses YAML. JSON is a subset of YAML.
fn parse(text: &[u8]) -> Result<Vec<ClientSeed>, String> {
    serde_norway::from_slice(text).map_err(|error| {
        let message = error.to_string();
        // The message about a wrong type quotes the value, which can be a secret.
        let quotes_value = message.contains("invalid type") || message.contains("invalid value");
        if !quotes_value {
            return message;
        }
        let location = match error.location() {
            Some(at) => format!(" at line {} column {}", at.line(), at.column()),
            None => String::new(),
        };
        format!(
            "wrong type{location}: expected a list of clients with strings in quotes and scopes \
             as a list, for example [{{client_id: \"shop\", scopes: [\"read:clients\"]}}]"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_yaml_and_json() {
        let yaml = "- client_id: shop\n  client_secret: s\n  scopes: ['read:clients']\n";
        let json = r#"[{"client_id": "shop", "fields": {"client_metadata": {"team": "a"}}}]"#;
        assert_eq!(parse(yaml.as_bytes()).unwrap()[0].scopes, ["read:clients"]);
        assert_eq!(parse(json.as_bytes()).unwrap()[0].client_id, "shop");
    }

    #[test]
    fn error_does_not_quote_a_secret() {
        for text in
            ["- {client_id: a, client_secret: [hush-hush]}", "- client_secret: {a: 4711}", "- 4711"]
        {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(!error.contains("hush") && !error.contains("4711"), "{error}");
            assert!(error.contains("line 1"), "{error}");
        }
        let error = parse(b"- {clientid: a}").unwrap_err();
        assert!(error.contains("clientid") && error.contains("client_id"), "{error}");
    }
}
