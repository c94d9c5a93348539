//! Query parameters of `GET /clients` and `GET /clients/{id}`: field selection, filters, and offset
//! or checkpoint pagination.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{error::ApiError, tenant::client_fields::Fields};

const DEFAULT_PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 100;

/// Fields of a client to return (`fields`, `include_fields`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelection {
    names: Vec<String>,
    exclude: bool,
}

impl FieldSelection {
    /// Parses the query of `GET /clients/{id}`, which has no other parameters.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut selection = Self::default();
        for (name, value) in pairs(query) {
            if !selection.parse_parameter(&name, &value)? {
                return Err(unknown_parameter(&name));
            }
        }
        Ok(selection)
    }

    /// Parses `fields` or `include_fields`. Returns false for other parameters.
    fn parse_parameter(&mut self, name: &str, value: &str) -> Result<bool, ApiError> {
        match name {
            "fields" => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.names = names.map(Into::into).collect();
            }
            "include_fields" => self.exclude = !parse_boolean(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Removes the fields that are not selected.
    pub(crate) fn apply(&self, mut client: Fields) -> Fields {
        if !self.names.is_empty() {
            client.retain(|name, _| self.names.contains(name) != self.exclude);
        }
        client
    }
}

/// Pagination of the list.
#[derive(Debug, PartialEq, Eq)]
enum Paging {
    Offset {
        page: usize,
        per_page: usize,
        include_totals: bool,
    },
    Checkpoint {
        /// The page starts after the client with this id, in id order.
        after: Option<String>,
        take: usize,
    },
}

/// A filter: a field and the values that it may have.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    field: &'static str,
    values: Vec<Value>,
}

impl Filter {
    fn new<V: Into<Value>>(field: &'static str, values: impl IntoIterator<Item = V>) -> Self {
        Self { field, values: values.into_iter().map(Into::into).collect() }
    }

    fn matches(&self, client: &Fields) -> bool {
        match client.get(self.field) {
            Some(value) => self.values.contains(value),
            None => false,
        }
    }
}

/// Query of `GET /clients`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListQuery {
    selection: FieldSelection,
    paging: Paging,
    filters: Vec<Filter>,
}

/// Pagination parameters as given in the query.
#[derive(Default)]
struct PagingParameters {
    page: Option<usize>,
    per_page: Option<usize>,
    include_totals: Option<bool>,
    /// Client id decoded from the cursor.
    from: Option<String>,
    take: Option<usize>,
}

impl ListQuery {
    /// Parses the query. The limits are those of Auth0's OpenAPI document.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut selection = FieldSelection::default();
        let mut paging = PagingParameters::default();
        let mut filters = Vec::new();
        for (name, value) in pairs(query) {
            if selection.parse_parameter(&name, &value)? {
                continue;
            }
            match name.as_str() {
                "page" => paging.page = Some(parse_number(&name, &value, 0, usize::MAX)?),
                "per_page" => {
                    paging.per_page = Some(parse_number(&name, &value, 0, MAX_PAGE_SIZE)?)
                }
                "take" => paging.take = Some(parse_number(&name, &value, 1, MAX_PAGE_SIZE)?),
                "include_totals" => paging.include_totals = Some(parse_boolean(&name, &value)?),
                "from" => paging.from = Some(decode_cursor(&value)?),
                "is_global" => filters.push(Filter::new("global", [parse_boolean(&name, &value)?])),
                "is_first_party" => {
                    filters.push(Filter::new("is_first_party", [parse_boolean(&name, &value)?]));
                }
                "app_type" => {
                    filters.push(Filter::new("app_type", value.split(',')));
                }
                "external_client_id" => {
                    filters.push(Filter::new("external_client_id", [value.as_str()]));
                }
                "q" => return Err(ApiError::invalid_query("'The simulator doesn't support q'")),
                _ => return Err(unknown_parameter(&name)),
            }
        }
        Ok(Self { selection, paging: paging.into_paging()?, filters })
    }

    /// Returns the response body. `clients` contains all clients in id order.
    pub(crate) fn response_body(&self, clients: Vec<Fields>) -> Value {
        let matching: Vec<Fields> =
            clients.into_iter().filter(|client| self.matches(client)).collect();
        match &self.paging {
            Paging::Offset { page, per_page, include_totals } => {
                let total = matching.len();
                let start = page.saturating_mul(*per_page);
                let clients = self.select(matching.into_iter().skip(start).take(*per_page));
                if !*include_totals {
                    return clients;
                }
                json!({"start": start, "limit": per_page, "total": total, "clients": clients})
            }
            Paging::Checkpoint { after, take } => {
                let rest = matching
                    .into_iter()
                    .filter(|client| after.as_deref().is_none_or(|after| id_of(client) > after));
                let mut page: Vec<Fields> = rest.take(take + 1).collect();
                let has_more = page.len() > *take;
                page.truncate(*take);
                let last = page.last().map(|client| encode_cursor(id_of(client)));
                let mut body = json!({"clients": self.select(page.into_iter())});
                if let (true, Some(next)) = (has_more, last) {
                    body["next"] = next.into();
                }
                body
            }
        }
    }

    fn matches(&self, client: &Fields) -> bool {
        self.filters.iter().all(|filter| filter.matches(client))
    }

    fn select(&self, clients: impl Iterator<Item = Fields>) -> Value {
        clients.map(|client| Value::Object(self.selection.apply(client))).collect()
    }
}

impl PagingParameters {
    fn into_paging(self) -> Result<Paging, ApiError> {
        let is_checkpoint = self.from.is_some() || self.take.is_some();
        let is_offset =
            self.page.is_some() || self.per_page.is_some() || self.include_totals == Some(true);
        match (is_checkpoint, is_offset) {
            (true, true) => Err(ApiError::invalid_query(
                "'from and take can't be used together with page, per_page and include_totals'",
            )),
            (true, false) => Ok(Paging::Checkpoint {
                after: self.from,
                take: self.take.unwrap_or(DEFAULT_PAGE_SIZE),
            }),
            (false, _) => Ok(Paging::Offset {
                page: self.page.unwrap_or(0),
                per_page: self.per_page.unwrap_or(DEFAULT_PAGE_SIZE),
                include_totals: self.include_totals.unwrap_or(false),
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

pub(super) fn encode_cursor(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

fn decode_cursor(text: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::invalid_query("'Expected the value of next' on property from");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    String::from_utf8(bytes).map_err(|_| invalid())
}

fn unknown_parameter(name: &str) -> ApiError {
    ApiError::invalid_query(format_args!("'Additional properties not allowed: {name}'"))
}

fn parse_boolean(name: &str, value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| {
        ApiError::invalid_query(format_args!("'Expected type boolean' on property {name}"))
    })
}

fn parse_number(
    name: &str,
    value: &str,
    minimum: usize,
    maximum: usize,
) -> Result<usize, ApiError> {
    let number: usize = value.parse().map_err(|_| {
        ApiError::invalid_query(format_args!("'Expected type integer' on property {name}"))
    })?;
    if number < minimum {
        let text = format!("'Value {number} is less than minimum {minimum}' on property {name}");
        return Err(ApiError::invalid_query(text));
    }
    if number > maximum {
        let text = format!("'Value {number} is greater than maximum {maximum}' on property {name}");
        return Err(ApiError::invalid_query(text));
    }
    Ok(number)
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
