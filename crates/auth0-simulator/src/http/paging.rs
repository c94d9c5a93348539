//! The query of `GET /api/v2/clients`: two pagings, a choice of fields, filters.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::tenant::fields::Fields;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 100;

/// Which fields of a client are wanted (`fields`, `include_fields`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    names: Vec<String>,
    exclude: bool,
}

impl Selection {
    /// Reads the query of `GET /clients/{id}`, which has nothing else.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut selection = Self::default();
        for (name, value) in pairs(query) {
            if !selection.take(&name, &value)? {
                return Err(unknown_parameter(&name));
            }
        }
        Ok(selection)
    }

    /// Whether the parameter was one of the two.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, ApiError> {
        match name {
            "fields" => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.names = names.map(Into::into).collect();
            }
            "include_fields" => self.exclude = !flag(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn apply(&self, mut client: Fields) -> Fields {
        if !self.names.is_empty() {
            client.retain(|name, _| self.names.iter().any(|wanted| wanted == name) != self.exclude);
        }
        client
    }
}

/// How the list is cut up.
#[derive(Debug, PartialEq, Eq)]
enum Paging {
    Offset {
        page: usize,
        per_page: usize,
        totals: bool,
    },
    /// After the client with this id, in the order of ids.
    Checkpoint {
        after: Option<String>,
        take: usize,
    },
}

/// The whole query of `GET /clients`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListQuery {
    selection: Selection,
    paging: Paging,
    /// Field and the values it may have.
    filters: Vec<(&'static str, Vec<Value>)>,
}

#[derive(Default)]
struct Raw {
    page: Option<usize>,
    per_page: Option<usize>,
    totals: Option<bool>,
    from: Option<String>,
    take: Option<usize>,
}

impl ListQuery {
    /// Reads the query; limits as the OpenAPI document has them.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut selection = Selection::default();
        let mut raw = Raw::default();
        let mut filters = Vec::new();
        for (name, value) in pairs(query) {
            if selection.take(&name, &value)? {
                continue;
            }
            match name.as_str() {
                "page" => raw.page = Some(number(&name, &value, 0, usize::MAX)?),
                "per_page" => raw.per_page = Some(number(&name, &value, 0, LARGEST_PAGE)?),
                "take" => raw.take = Some(number(&name, &value, 1, LARGEST_PAGE)?),
                "include_totals" => raw.totals = Some(flag(&name, &value)?),
                "from" => raw.from = Some(read_cursor(&value)?),
                "is_global" => filters.push(("global", vec![flag(&name, &value)?.into()])),
                "is_first_party" => {
                    filters.push(("is_first_party", vec![flag(&name, &value)?.into()]));
                }
                "app_type" => {
                    filters.push(("app_type", value.split(',').map(Into::into).collect()));
                }
                "external_client_id" => {
                    filters.push(("external_client_id", vec![value.as_str().into()]));
                }
                "q" => return Err(ApiError::invalid_query("'The simulator doesn't serve q'")),
                _ => return Err(unknown_parameter(&name)),
            }
        }
        Ok(Self { selection, paging: raw.paging()?, filters })
    }

    /// The answer's body for all clients in the order of their ids.
    pub(crate) fn answer(&self, clients: Vec<Fields>) -> Value {
        let wanted: Vec<Fields> = clients.into_iter().filter(|client| self.keeps(client)).collect();
        match &self.paging {
            Paging::Offset { page, per_page, totals } => {
                let total = wanted.len();
                let start = page.saturating_mul(*per_page);
                let clients = self.select(wanted.into_iter().skip(start).take(*per_page));
                if !*totals {
                    return clients;
                }
                json!({"start": start, "limit": per_page, "total": total, "clients": clients})
            }
            Paging::Checkpoint { after, take } => {
                let rest = wanted
                    .into_iter()
                    .filter(|client| after.as_deref().is_none_or(|after| id_of(client) > after));
                let mut page: Vec<Fields> = rest.take(take + 1).collect();
                let more = page.len() > *take;
                page.truncate(*take);
                let last = page.last().map(|client| write_cursor(id_of(client)));
                let mut body = json!({"clients": self.select(page.into_iter())});
                if let (true, Some(next)) = (more, last) {
                    body["next"] = next.into();
                }
                body
            }
        }
    }

    fn keeps(&self, client: &Fields) -> bool {
        self.filters
            .iter()
            .all(|(field, values)| client.get(*field).is_some_and(|value| values.contains(value)))
    }

    fn select(&self, clients: impl Iterator<Item = Fields>) -> Value {
        clients.map(|client| Value::Object(self.selection.apply(client))).collect()
    }
}

impl Raw {
    fn paging(self) -> Result<Paging, ApiError> {
        let checkpoint = self.from.is_some() || self.take.is_some();
        let offset = self.page.is_some() || self.per_page.is_some() || self.totals == Some(true);
        match (checkpoint, offset) {
            (true, true) => Err(ApiError::invalid_query(
                "'from and take can't be used together with page, per_page and include_totals'",
            )),
            (true, false) => {
                Ok(Paging::Checkpoint { after: self.from, take: self.take.unwrap_or(DEFAULT_PAGE) })
            }
            (false, _) => Ok(Paging::Offset {
                page: self.page.unwrap_or(0),
                per_page: self.per_page.unwrap_or(DEFAULT_PAGE),
                totals: self.totals.unwrap_or(false),
            }),
        }
    }
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned()
}

fn id_of(client: &Fields) -> &str {
    client.get("client_id").and_then(Value::as_str).unwrap_or_default()
}

fn write_cursor(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

fn read_cursor(text: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ApiError::invalid_query("'Not a value that next held' on property from"))
}

fn unknown_parameter(name: &str) -> ApiError {
    ApiError::invalid_query(format_args!("'Additional properties not allowed: {name}'"))
}

fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| {
        ApiError::invalid_query(format_args!("'Expected type boolean' on property {name}"))
    })
}

fn number(name: &str, value: &str, least: usize, most: usize) -> Result<usize, ApiError> {
    let number: usize = value.parse().map_err(|_| {
        ApiError::invalid_query(format_args!("'Expected type integer' on property {name}"))
    })?;
    if number < least {
        let text = format!("'Value {number} is less than minimum {least}' on property {name}");
        return Err(ApiError::invalid_query(text));
    }
    if number > most {
        let text = format!("'Value {number} is greater than maximum {most}' on property {name}");
        return Err(ApiError::invalid_query(text));
    }
    Ok(number)
}

#[cfg(test)]
#[path = "paging_tests.rs"]
mod tests;
