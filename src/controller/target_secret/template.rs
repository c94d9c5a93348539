//! Templates of further keys: plain substitution of five variables.
//!
//! A file with credentials needs values, not a programming language: `.env` and properties files take
//! `{{ client_secret }}`, JSON and YAML take `{{ client_secret | json }}`, and the list is written
//! `{{ client_secrets | json }}` or `{{ client_secrets | lines }}`. Without loops and functions the
//! output is bounded by the template and the values, and no template can be expensive.

use zeroize::Zeroizing;

/// Longest rendered text in bytes; a Secret holds 1 MiB in all.
const TEXT_LIMIT: usize = 256 * 1024;

/// The values that a template can name.
pub(super) struct Variables<'a> {
    pub(super) client_id: &'a str,
    pub(super) domain: &'a str,
    pub(super) client_secret: &'a str,
    /// Empty when there is no fallback.
    pub(super) client_secret_fallback: &'a str,
    pub(super) client_secrets: &'a [&'a str],
}

/// Why a template cannot be rendered. The text is for its author and quotes only the template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("a {{{{ has no matching }}}}")]
    Unclosed,
    #[error("{{{{ {0} }}}} is unknown")]
    Unknown(String),
    #[error("{{{{ client_secrets }}}} is a list: write it with | json or | lines")]
    ListWithoutFormat,
    #[error("the text is longer than 256 KiB")]
    TooLong,
}

/// Renders a template: `{{ name }}` or `{{ name | format }}`, everything else is copied.
pub(super) fn render(
    template: &str,
    variables: &Variables<'_>,
) -> Result<Zeroizing<String>, TemplateError> {
    let mut text = Zeroizing::new(String::new());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        push(&mut text, &rest[..start])?;
        let after = &rest[start + 2..];
        let end = after.find("}}").ok_or(TemplateError::Unclosed)?;
        push(&mut text, &variables.substitute(after[..end].trim())?)?;
        rest = &after[end + 2..];
    }
    push(&mut text, rest)?;
    Ok(text)
}

impl Variables<'_> {
    fn substitute(&self, expression: &str) -> Result<Zeroizing<String>, TemplateError> {
        let unknown = || TemplateError::Unknown(expression.chars().take(40).collect());
        let (name, format) = match expression.split_once('|') {
            Some((name, format)) => (name.trim(), Some(format.trim())),
            None => (expression, None),
        };
        let value = match name {
            "client_id" => self.client_id,
            "domain" => self.domain,
            "client_secret" => self.client_secret,
            "client_secret_fallback" => self.client_secret_fallback,
            "client_secrets" => {
                return match format {
                    Some("json") => Ok(json(self.client_secrets)),
                    Some("lines") => Ok(lines(self.client_secrets)),
                    Some(_) => Err(unknown()),
                    None => Err(TemplateError::ListWithoutFormat),
                };
            }
            _ => return Err(unknown()),
        };
        match format {
            None => Ok(Zeroizing::new(value.to_owned())),
            Some("json") => Ok(json(value)),
            Some(_) => Err(unknown()),
        }
    }
}

/// Returns a JSON array of the values.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Zeroizing<String> {
    // Strings and lists of strings always serialize.
    Zeroizing::new(serde_json::to_string(value).unwrap_or_default())
}

/// Returns the values, each followed by a line feed.
pub(super) fn lines(values: &[&str]) -> Zeroizing<String> {
    Zeroizing::new(values.iter().flat_map(|value| [*value, "\n"]).collect())
}

fn push(text: &mut Zeroizing<String>, part: &str) -> Result<(), TemplateError> {
    if text.len() + part.len() > TEXT_LIMIT {
        return Err(TemplateError::TooLong);
    }
    text.push_str(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, TemplateError> {
        let variables = Variables {
            client_id: "id",
            domain: "acme.eu.auth0.com",
            client_secret: "o\"ne",
            client_secret_fallback: "two",
            client_secrets: &["o\"ne", "two"],
        };
        render(template, &variables).map(|text| text.to_string())
    }

    #[test]
    fn renders_files_that_hold_credentials() {
        for (template, expected) in [
            ("SECRET={{ client_secret }}\n", "SECRET=o\"ne\n"),
            ("a={{client_id}}\nb={{ domain }}", "a=id\nb=acme.eu.auth0.com"),
            ("fallback={{ client_secret_fallback }}", "fallback=two"),
            (
                "{\"secret\": {{ client_secret | json }}, \"all\": {{client_secrets|json}}}",
                "{\"secret\": \"o\\\"ne\", \"all\": [\"o\\\"ne\",\"two\"]}",
            ),
            ("{{ client_secrets | lines }}", "o\"ne\ntwo\n"),
            ("no variables, { } and %} are copied\n", "no variables, { } and %} are copied\n"),
            ("", ""),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn rejects_everything_that_is_not_a_variable() {
        for template in [
            "{{ password }}",
            "{{ client_secret",
            "{{ client_secrets }}",
            "{{ client_secrets[0] }}",
            "{{ client_secret | upper }}",
            "{{ client_secret | lines }}",
            "{{ [1] * 100000000 }}",
            "{{ client_secret ~ client_secret }}",
            "{{}}",
        ] {
            assert!(rendered(template).is_err(), "{template}");
        }
    }

    #[test]
    fn output_is_bounded() {
        let template = "{{ client_secret }}x".repeat(60_000);
        assert_eq!(rendered(&template), Err(TemplateError::TooLong));
    }
}
