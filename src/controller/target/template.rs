//! Templates of further keys, rendered in bounded time and memory.
//!
//! The engine's fuel pays for what is made, but for a list's text only once it is written, and a
//! list of a few bytes can have a text of gigabytes: `[1] * 100000000`, or a list of lists of lists.
//! So templates can't make lists: they have variables, filters, `if` and `for`, and no names,
//! literals of lists, arithmetic or functions. That is what a file with credentials in it needs.

use minijinja::{
    Environment, UndefinedBehavior, Value,
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};
use zeroize::Zeroizing;

/// How much work a template may make, in minijinja's instructions.
const FUEL: u64 = 50_000;

/// The longest text that a template may make, in bytes: what a Secret may have at most.
const TEXT_LIMIT: usize = 256 * 1024;

/// Filters that put one list into another, or two together.
const MAKERS_OF_LISTS: [&str; 5] = ["batch", "slice", "chain", "zip", "groupby"];

/// The statements that there are.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// Renders a template. `None` when it can't be; why is not told, for it could quote what was
/// rendered.
pub(super) fn render(template: &str, values: Value) -> Option<Zeroizing<String>> {
    let text = Some(template).filter(|template| makes_no_lists(template))?;
    let text = environment().render_str(text, values).ok().map(Zeroizing::new);
    text.filter(|text| text.len() <= TEXT_LIMIT)
}

/// Parentheses belong to filters and tests, brackets to what they are an index of, commas to
/// arguments; then there are no literals of lists, tuples or maps, and no calls.
fn makes_no_lists(template: &str) -> bool {
    let (mut before, mut last, mut depth) = (None, None, 0usize);
    for token in tokenize(template, false, syntax()) {
        let Ok((token, _)) = token else { return false };
        let fine = match &token {
            Token::Plus | Token::Mul | Token::Pow | Token::BraceOpen | Token::BraceClose => false,
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
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(syntax());
    for filter in MAKERS_OF_LISTS {
        environment.remove_filter(filter);
    }
    environment
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use minijinja::context;

    use super::*;
    use crate::auth0::fuzzing::PATIENCE;

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
            (
                "{{ client_secret | replace('o', 'a') ~ '!' }}, {* [1] + \"()\"",
                "ane!, {* [1] + \"()\"",
            ),
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
        ] {
            assert_eq!(rendered(template), None, "{}", &template[..template.len().min(60)]);
        }
        assert!(started.elapsed() < PATIENCE);
    }
}
