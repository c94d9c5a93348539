//! Templates of further keys, rendered in bounded time and memory.
//!
//! The engine's fuel pays for instructions, not for what one of them makes: `[1] * 100000000` is a
//! list whose text has gigabytes, `indent(1000000000)` makes one at once, and `replace` upon
//! `replace` soon does. So templates have variables, `if`, `for`, and a few filters that make
//! nothing longer than a Secret can hold; no literals of lists, arithmetic, `~`, names or functions.
//! That is what a file with credentials in it needs.

use std::io;

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, Value, filters,
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
    tests as conditions,
};
use zeroize::Zeroizing;

/// How much work a template may make, in minijinja's instructions.
const FUEL: u64 = 50_000;

/// The longest text that a template or a filter may make, in bytes: what a Secret may have at most
/// is not much more.
const TEXT_LIMIT: usize = 256 * 1024;

/// The statements that there are.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// Renders a template. `None` when it can't be; why is not told, for it could quote what was
/// rendered.
pub(super) fn render(template: &str, values: Value) -> Option<Zeroizing<String>> {
    let text = Some(template).filter(|template| is_plain(template))?;
    let environment = environment();
    let mut made = Bounded(Zeroizing::new(Vec::new()));
    let template = environment.template_from_str(text).ok()?;
    template.render_captured_to(values, &mut made).ok()?;
    let text = str::from_utf8(&made.0).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

/// What is rendered, up to the limit.
struct Bounded(Zeroizing<Vec<u8>>);

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.0.len() + part.len() > TEXT_LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parentheses belong to filters and tests, brackets to what they are an index of, commas to
/// arguments; then there are no literals of lists, tuples or maps, and no calls.
fn is_plain(template: &str) -> bool {
    let (mut before, mut last, mut depth) = (None, None, 0usize);
    for token in tokenize(template, false, syntax()) {
        let Ok((token, _)) = token else { return false };
        let fine = match &token {
            Token::Plus | Token::Mul | Token::Pow | Token::Tilde => false,
            Token::BraceOpen | Token::BraceClose => false,
            Token::Comma => depth > 0,
            Token::ParenOpen => {
                depth += 1;
                let named = matches!(last, Some(Token::Ident(_)));
                named && matches!(before, Some(Token::Pipe | Token::Ident("is" | "not")))
            }
            Token::ParenClose => {
                depth = depth.saturating_sub(1);
                true
            }
            Token::BracketOpen => match &last {
                Some(Token::Ident(name)) => {
                    !["in", "if", "else", "and", "or", "not", "is"].contains(name)
                }
                Some(Token::BracketClose | Token::ParenClose) => true,
                _ => false,
            },
            Token::Ident(name) if matches!(last, Some(Token::BlockStart)) => {
                STATEMENTS.contains(name)
            }
            _ => true,
        };
        if !fine {
            return false;
        }
        (before, last) = (last, Some(token));
    }
    true
}

fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(syntax());
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", replace);
    environment.add_filter("tojson", to_json);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", conditions::is_defined);
    environment.add_test("endingwith", conditions::is_endingwith);
    environment.add_test("startingwith", conditions::is_startingwith);
    environment.add_test("undefined", conditions::is_undefined);
    environment
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a text is too long")
}

/// The texts of a list, with what is to stand between two of them.
fn join(list: &Value, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut text = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        let item = item.as_str().ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "only lists of texts are joined")
        })?;
        let before = if index == 0 { "" } else { between.as_str() };
        if text.len() + before.len() + item.len() > TEXT_LIMIT {
            return Err(too_long());
        }
        text.extend([before, item]);
    }
    Ok(text)
}

/// A text with another one in the place of a part, wherever that is.
fn replace(text: String, part: String, by: String) -> Result<String, Error> {
    let length = text.len() + text.matches(&part).count().saturating_mul(by.len());
    if length > TEXT_LIMIT { Err(too_long()) } else { Ok(text.replace(&part, &by)) }
}

/// As JSON, without spaces.
fn to_json(value: &Value) -> Result<String, Error> {
    let text = serde_json::to_string(value).map_err(|_| too_long())?;
    if text.len() > TEXT_LIMIT { Err(too_long()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use minijinja::context;

    use super::*;
    use auth0_client::fuzzing::TIME_LIMIT;

    fn rendered(template: &str) -> Option<String> {
        let values = context! { client_secret => "one", client_secrets => ["one", "two"] };
        render(template, values).map(|text| text.to_string())
    }

    #[test]
    fn what_files_with_credentials_need_is_there() {
        for (template, expected) in [
            ("SECRET={{ client_secret }}\n", "SECRET=one\n"),
            ("{{ client_secrets | join(', ') | upper }}", "ONE, TWO"),
            ("{{ client_secrets | tojson }}", "[\"one\",\"two\"]"),
            (
                "{% for secret in client_secrets %}{{ loop.index }}{{ secret }};{% endfor %}",
                "1one;2two;",
            ),
            (
                "{% if client_secrets | length == 2 %}{{ client_secrets[1] }}{% else %}-{% endif %}",
                "two",
            ),
            ("{{ client_secret | replace('o', 'a') }}!, {* [1] + \"()\"", "ane!, {* [1] + \"()\""),
            ("{% if client_secret is startingwith('o') %}yes{% endif %}", "yes"),
            ("{% raw %}{{ [1] * 2 }}{% endraw %}", "{{ [1] * 2 }}"),
        ] {
            assert_eq!(rendered(template).as_deref(), Some(expected), "{template}");
        }
    }

    #[test]
    fn a_short_template_makes_no_text_of_gigabytes() {
        let started = Instant::now();
        let doubled = "{% set a = [a, a] %}".repeat(40);
        for template in [
            "{{ [1] * 100000000 }}",
            "{{ ([1] * 100000000) ~ '' }}",
            "{{ client_secrets * 40000000 }}",
            &format!("{{% set a = [1] %}}{doubled}{{{{ a }}}}"),
            &format!("{{% set a = 1 %}}{}{{{{ a }}}}", "{% set a = (a, a) %}".repeat(40)),
            &format!("{{{{ client_secrets{} }}}}", " | batch(99, client_secrets)".repeat(9)),
            "{% for a in [[1, 1]] %}{{ a }}{% endfor %}",
            "{% for a in 1, 1 %}{{ a }}{% endfor %}",
            "{{ client_secrets if [1] else 1 }}",
            "{{ range(100000) }}",
            "{{ dict(a=1) }}",
            "{{ {'a': 1} }}",
            "{% with a = 1 %}{{ a }}{% endwith %}",
            "{{ client_secret | indent(1000000000, true) }}",
            "{{ '%1000000000d' | format(1) }}",
            &format!("{{{{ client_secret{} }}}}", " | replace('', 'aaaaaaaaaaaaaaaa')".repeat(20)),
            &format!("{{{{ client_secrets | tojson{} }}}}", " | tojson".repeat(60)),
            &format!("{{{{ client_secret{} }}}}", " ~ client_secret".repeat(9)),
            &format!(
                "{{% for a in client_secrets %}}{}{{% endfor %}}",
                "{{ client_secret }}".repeat(800)
            )
            .repeat(60),
        ] {
            assert_eq!(rendered(template), None, "{}", &template[..template.len().min(60)]);
        }
        assert!(started.elapsed() < TIME_LIMIT);
    }
}
