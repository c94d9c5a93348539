//! The chart's values, as their schema tells them.

use anyhow::{Context as _, Result, bail};
use serde_norway::{Mapping, Value};

const BEGIN: &str = "<!-- values: written by make manifests -->\n";
const END: &str = "<!-- end of the values -->";

/// How wide a comment may be.
const WIDTH: usize = 100;

/// `values.yaml`: all defaults, with what each value is for.
pub(crate) fn yaml(schema: &Value) -> Result<String> {
    let mut text = String::from("# Written from values.schema.json by make manifests.\n");
    write(properties(schema).context("the schema has no properties")?, 0, &mut text)?;
    Ok(text)
}

fn write(properties: &Mapping, depth: usize, text: &mut String) -> Result<()> {
    let indent = "  ".repeat(depth);
    for (name, node) in properties {
        let name = name.as_str().context("a property has no name")?;
        let inner = properties_of_group(node);
        if inner.is_none() && default(node).is_none() {
            continue;
        }
        if depth == 0 {
            text.push('\n');
        }
        for line in wrapped(description(node, name)?, WIDTH - indent.len() - 2) {
            text.push_str(&format!("{indent}# {line}\n"));
        }
        match (inner, default(node)) {
            (Some(inner), _) => {
                text.push_str(&format!("{indent}{name}:\n"));
                write(inner, depth + 1, text)?;
            }
            (None, Some(value)) => text.push_str(&format!("{indent}{name}: {}\n", inline(value)?)),
            (None, None) => {}
        }
    }
    Ok(())
}

/// The README with its table of values as the schema has them.
pub(crate) fn readme(readme: &str, schema: &Value) -> Result<String> {
    let missing = || format!("the chart's README has no place for the values: {BEGIN}{END}");
    let (before, rest) = readme.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    let mut rows = String::new();
    row(properties(schema).context("the schema has no properties")?, "", &mut rows)?;
    let head = "| value | type | default | what it is for |\n| --- | --- | --- | --- |\n";
    Ok(format!("{before}{BEGIN}\n{head}{rows}\n{END}{after}"))
}

fn row(properties: &Mapping, prefix: &str, rows: &mut String) -> Result<()> {
    for (name, node) in properties {
        let name = format!("{prefix}{}", name.as_str().context("a property has no name")?);
        if let Some(inner) = properties_of_group(node) {
            row(inner, &format!("{name}."), rows)?;
            continue;
        }
        let default = match default(node) {
            Some(value) => format!("`{}`", inline(value)?),
            None => String::new(),
        };
        let kind = kind(node).with_context(|| format!("{name} has no type"))?;
        let purpose = description(node, &name)?;
        rows.push_str(&format!("| `{name}` | {kind} | {default} | {purpose} |\n"));
    }
    Ok(())
}

/// What a value can be, in a word or two.
fn kind(node: &Value) -> Result<String> {
    if let Some(values) = node.get("enum").and_then(Value::as_sequence) {
        let values: Result<Vec<_>> =
            values.iter().map(|value| Ok(format!("`{}`", inline(value)?))).collect();
        return Ok(values?.join(", "));
    }
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        return Ok(reference.rsplit('/').next().unwrap_or_default().to_owned());
    }
    if let Some(choices) = node.get("anyOf").and_then(Value::as_sequence) {
        let kinds: Result<Vec<_>> =
            choices.iter().filter(|choice| choice.get("const").is_none()).map(kind).collect();
        return Ok(kinds?.join(" or "));
    }
    match node.get("type") {
        Some(Value::String(kind)) if kind == "array" => {
            let items = node.get("items").context("an array without items")?;
            Ok(format!("list of {}", kind_of_items(items)?))
        }
        Some(Value::String(kind)) => Ok(kind.clone()),
        Some(Value::Sequence(kinds)) => {
            Ok(kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "))
        }
        _ => bail!("neither enum, $ref, anyOf nor type"),
    }
}

fn kind_of_items(items: &Value) -> Result<String> {
    Ok(format!("{}s", kind(items)?))
}

fn properties(node: &Value) -> Option<&Mapping> {
    node.get("properties")?.as_mapping()
}

/// The values of a group of values. What has a default as a whole is a value.
fn properties_of_group(node: &Value) -> Option<&Mapping> {
    if default(node).is_some() { None } else { properties(node) }
}

fn default(node: &Value) -> Option<&Value> {
    node.get("default")
}

fn description<'a>(node: &'a Value, name: &str) -> Result<&'a str> {
    node.get("description")
        .and_then(Value::as_str)
        .with_context(|| format!("{name} has no description"))
}

/// A value on one line.
fn inline(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => scalar(text),
        Value::Sequence(values) => {
            let values: Result<Vec<_>> = values.iter().map(inline).collect();
            format!("[{}]", values?.join(", "))
        }
        Value::Mapping(entries) => {
            let entries: Result<Vec<_>> = entries
                .iter()
                .map(|(key, value)| Ok(format!("{}: {}", inline(key)?, inline(value)?)))
                .collect();
            format!("{{{}}}", entries?.join(", "))
        }
        Value::Tagged(_) => bail!("a default has a tag"),
    })
}

/// Plain where YAML reads a string from it, else quoted.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let reads_back = serde_norway::from_str::<Value>(text)
        .is_ok_and(|value| value == Value::String(text.to_owned()));
    if reads_back && text.chars().all(is_plain) { text.to_owned() } else { format!("{text:?}") }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
