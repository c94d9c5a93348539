//! The files that the program reads and the one that it writes.

use std::path::Path;

use auth0_simulator::{ClientSeed, Simulator};
use serde_json::json;

use crate::Failure;

/// Reads a file; an error names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()).into())
}

/// Reads the clients to start with.
pub(crate) fn clients(path: &Path) -> Result<Vec<ClientSeed>, Failure> {
    parse_clients(&read(path)?).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// JSON is read as the YAML that it is.
fn parse_clients(text: &[u8]) -> Result<Vec<ClientSeed>, String> {
    serde_norway::from_slice(text).map_err(|error| {
        let message = error.to_string();
        // The message about a wrong type quotes the value, which may be a secret.
        let quotes = message.contains("invalid type") || message.contains("invalid value");
        if !quotes {
            return message;
        }
        let place = error.location().map_or_else(String::new, |at| {
            format!(" at line {} column {}", at.line(), at.column())
        });
        format!(
            "a value has the wrong type{place}: write a list of clients, texts in quotes, \
             `scopes` as a list"
        )
    })
}

/// Writes the addresses, all at once: a reader sees no half of it.
pub(crate) fn write_ready(path: &Path, simulator: &Simulator) -> Result<(), Failure> {
    let text = json!({
        "url": simulator.url(),
        "admin_url": simulator.admin_url(),
        "addr": simulator.addr(),
        "admin_addr": simulator.admin_addr(),
        "domain": simulator.domain(),
        "audience": simulator.audience(),
        "pid": std::process::id(),
    });
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    std::fs::write(&unfinished, format!("{text}\n"))
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|error| format!("can't write {}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read_from_yaml_and_json() {
        let yaml = "- client_id: shop\n  client_secret: s\n  scopes: ['read:clients']\n";
        let json = r#"[{"client_id": "shop", "fields": {"client_metadata": {"team": "a"}}}]"#;
        assert_eq!(parse_clients(yaml.as_bytes()).unwrap()[0].scopes, ["read:clients"]);
        assert_eq!(parse_clients(json.as_bytes()).unwrap()[0].client_id, "shop");
    }

    #[test]
    fn an_error_doesnt_quote_a_secret() {
        for text in
            ["- {client_id: a, client_secret: [hush-hush]}", "- client_secret: {a: 4711}", "- 4711"]
        {
            let error = parse_clients(text.as_bytes()).unwrap_err();
            assert!(!error.contains("hush") && !error.contains("4711"), "{error}");
            assert!(error.contains("line 1"), "{error}");
        }
        let error = parse_clients(b"- {clientid: a}").unwrap_err();
        assert!(error.contains("clientid") && error.contains("client_id"), "{error}");
    }
}
