use super::*;

fn clients(count: usize) -> Vec<Fields> {
    (0..count)
        .map(|number| {
            let client = json!({
                "client_id": format!("client-{number:03}"),
                "name": format!("n{number}"),
                "app_type": if number % 2 == 0 { "spa" } else { "native" },
            });
            let Value::Object(client) = client else { unreachable!() };
            client
        })
        .collect()
}

fn list(query: &str, count: usize) -> Value {
    ListQuery::parse(Some(query)).unwrap().response_body(clients(count))
}

fn error_message(query: &str) -> String {
    let error = ListQuery::parse(Some(query)).unwrap_err();
    assert_eq!(error.code, Some("invalid_query_string"));
    error.message
}

#[test]
fn returns_an_array_of_fifty_without_totals() {
    assert_eq!(list("", 60).as_array().unwrap().len(), 50);
    assert_eq!(list("page=1&per_page=40", 60).as_array().unwrap().len(), 20);
    assert_eq!(list("page=9", 60), json!([]));
    assert_eq!(list("page=18446744073709551615&per_page=100", 60), json!([]));
}

#[test]
fn totals_include_start_and_limit() {
    let page = list("page=2&per_page=3&include_totals=true&fields=client_id", 8);
    assert_eq!(
        page,
        json!({
            "start": 6, "limit": 3, "total": 8,
            "clients": [{"client_id": "client-006"}, {"client_id": "client-007"}],
        })
    );
}

#[test]
fn checkpoint_paging_returns_every_client_once() {
    let mut seen = Vec::new();
    let mut query = "take=3&fields=name".to_string();
    loop {
        let page = list(&query, 8);
        let names = page["clients"].as_array().unwrap();
        seen.extend(names.iter().map(|client| client["name"].as_str().unwrap().to_string()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("take=3&fields=name&from={next}");
    }
    let expected: Vec<String> = (0..8).map(|number| format!("n{number}")).collect();
    assert_eq!(seen, expected);
    assert!(list("take=8", 8).get("next").is_none(), "a full last page has no next");
}

#[test]
fn includes_or_excludes_fields() {
    let first = |query| list(query, 1)[0].clone();
    assert_eq!(first("fields=name, client_id"), json!({"client_id": "client-000", "name": "n0"}));
    assert_eq!(
        first("fields=name&include_fields=false"),
        json!({"app_type": "spa", "client_id": "client-000"})
    );
    assert_eq!(first("fields=&include_fields=true").as_object().unwrap().len(), 3);
}

#[test]
fn filters_before_paging() {
    assert_eq!(list("app_type=native&include_totals=true", 8)["total"], 4);
    assert_eq!(list("app_type=native,spa", 8).as_array().unwrap().len(), 8);
    assert_eq!(list("is_first_party=true", 8), json!([]));
}

#[test]
fn rejects_values_outside_the_documented_limits() {
    assert!(error_message("per_page=101").contains("maximum 100"));
    assert!(error_message("take=101").contains("maximum 100"));
    assert!(error_message("take=0").contains("minimum 1"));
    assert!(error_message("page=-1").contains("integer"));
    assert!(error_message("include_totals=1").contains("boolean"));
    assert!(error_message("limit=5").contains("Additional properties not allowed: limit"));
    assert!(error_message("take=5&page=0").contains("together"));
    assert!(error_message("from=%2A").contains("from"));
    assert!(FieldSelection::parse(Some("page=1")).is_err());
    assert_eq!(list("per_page=0", 3), json!([]));
}
