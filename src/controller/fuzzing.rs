//! Properties of templates and Secrets that hold for every input.

use std::time::Instant;

use auth0_client::{
    ClientSecret,
    fuzzing::{MARKER, TIME_LIMIT},
};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    target_secret::{
        AllowedMetadata, Contents, NumberedSecret, Rendering, Snapshot, check_templates,
    },
    tenant::parse_list,
};
use crate::api::{FIELD_MANAGER, Keys, ListFormat, TargetSpec};

static NO_METADATA: AllowedMetadata = AllowedMetadata(Vec::new());

/// The key that templates are rendered into.
const KEY: &str = "rendered";

/// Longest text of one key in bytes.
const TEXT_LIMIT: usize = 256 * 1024;

fn spec(format: ListFormat, template: Option<&str>) -> TargetSpec {
    let template = template.map(|text| (KEY.to_owned(), text.to_owned()));
    TargetSpec {
        name: "shop-auth0".into(),
        adopt: false,
        deletion_policy: crate::api::DeletionPolicy::Retain,
        keys: Keys::default(),
        list_format: format,
        template: template.into_iter().collect(),
        labels: Default::default(),
        annotations: Default::default(),
    }
}

fn rendering(spec: &TargetSpec) -> Rendering<'_> {
    Rendering {
        spec,
        allowed_metadata: &NO_METADATA,
        resource: "shop",
        namespace: "default",
        client_id: "shop-client",
        domain: "acme.eu.auth0.com",
        origin: "https://acme.eu.auth0.com",
        owner: None,
        deleted_with_owner: false,
        keeps_owner: false,
        write_proven: None,
    }
}

/// Returns the Secret that the API server stores for a manifest: we own all of its fields.
fn stored(manifest: &[u8]) -> Value {
    let mut secret: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let owned = |pointer: &str| -> Value {
        let names = secret.pointer(pointer).and_then(Value::as_object);
        names.into_iter().flatten().map(|(name, _)| (format!("f:{name}"), json!({}))).collect()
    };
    let fields = json!({
        "f:data": owned("/data"),
        "f:metadata": {
            "f:labels": owned("/metadata/labels"), "f:annotations": owned("/metadata/annotations"),
        },
    });
    secret["metadata"]["managedFields"] = json!([{
        "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }]);
    secret
}

/// A template is rejected without quoting what it renders, or is rendered fast, to a text that fits a
/// Secret, and to the same text every time.
///
/// # Panics
/// If the property does not hold.
pub fn template(text: &str) {
    let started = Instant::now();
    let spec = spec(ListFormat::Json, Some(text));
    if let Some(rejection) = check_templates(&spec) {
        assert!(!format!("{rejection:?}").contains(MARKER));
    }
    let Some(secret) = client_secret(MARKER) else { return };
    for fallback in [None, Some(numbered(1, &secret))] {
        let contents = Contents { current: numbered(2, &secret), fallback };
        let once = rendering(&spec).render(&contents, None);
        let stored = stored(&once.json(None)).to_string();
        let Some(snapshot) = Snapshot::parse(&stored) else {
            panic!("a rendered Secret must parse")
        };
        assert!(once.matches(&snapshot), "it would be written again and again");
        assert!(rendering(&spec).render(&contents, None).matches(&snapshot), "it differs");
        let length = snapshot.text(KEY).map(|text| text.len());
        assert!(length.is_none_or(|length| length <= TEXT_LIMIT), "{length:?} bytes");
    }
    assert!(started.elapsed() < TIME_LIMIT, "it takes {:?}", started.elapsed());
}

fn client_secret(value: &str) -> Option<ClientSecret> {
    ClientSecret::new(SecretString::from(value)).ok()
}

fn numbered(number: u64, secret: &ClientSecret) -> NumberedSecret {
    NumberedSecret { number, secret: secret.clone() }
}

/// A target Secret with both values and a template, for the benchmarks.
#[derive(Debug)]
pub struct SampleSecret {
    spec: TargetSpec,
    secret: ClientSecret,
}

impl SampleSecret {
    /// Returns the sample.
    ///
    /// # Panics
    /// Never: its value is a valid secret.
    #[expect(clippy::new_without_default, reason = "it is no value with a default")]
    pub fn new() -> Self {
        let template = "CLIENT_ID={{ client_id }}\nSECRETS={{ client_secrets | json }}\n";
        let secret = client_secret(&"s".repeat(64));
        let Some(secret) = secret else { panic!("a secret of 64 characters is valid") };
        Self { spec: spec(ListFormat::Json, Some(template)), secret }
    }

    /// Renders it, and returns the length of its manifest.
    pub fn render(&self) -> usize {
        let contents = Contents {
            current: numbered(2, &self.secret),
            fallback: Some(numbered(1, &self.secret)),
        };
        rendering(&self.spec).render(&contents, None).json(None).len()
    }
}

/// A published Secret reads back the same: the values, their numbers, and the list in its order, in
/// either format.
///
/// # Panics
/// If the property does not hold.
pub fn list(current: &str, fallback: Option<&str>, lines: bool) {
    let Some(current) = client_secret(current) else { return };
    let fallback = fallback.and_then(client_secret);
    let spec = spec(if lines { ListFormat::Lines } else { ListFormat::Json }, None);
    let contents = Contents {
        current: numbered(7, &current),
        fallback: fallback.as_ref().map(|secret| numbered(6, secret)),
    };
    let stored = stored(&rendering(&spec).render(&contents, None).json(None)).to_string();
    let Some(snapshot) = Snapshot::parse(&stored) else { panic!("a rendered Secret must parse") };
    let values = snapshot.own_values();
    assert!(values.current.as_ref() == Some(&current) && values.fallback == fallback);
    let numbers = snapshot.numbers();
    assert_eq!(numbers.current, Some(7));
    assert_eq!(numbers.fallback, fallback.is_some().then_some(6));
    assert!(!snapshot.is_tampered(&spec.keys, &values));
    let text = snapshot.text(&spec.keys.list).unwrap_or_default();
    let listed = parse_list(&text, values.current.as_ref()).unwrap_or_default();
    let expected: Vec<ClientSecret> = std::iter::once(current).chain(fallback).collect();
    assert!(listed == expected, "the list differs");
}

/// Any content of a target Secret or a credentials Secret is read or ignored.
///
/// # Panics
/// If a value is read that could not be one, or a list is longer than the limit.
pub fn secret(json: &str, list: &str) {
    let spec = spec(ListFormat::Json, None);
    if let Some(snapshot) = Snapshot::parse(json) {
        let values = snapshot.stored_values(&spec.keys);
        for value in values.current.iter().chain(&values.fallback) {
            assert!(client_secret(value.expose()).as_ref() == Some(value));
        }
        let _ = (snapshot.is_tampered(&spec.keys, &values), snapshot.numbers());
        let _ =
            (snapshot.created_fields().is_some(), snapshot.resource_version(), snapshot.owner());
        if let Some(current) = values.current {
            let contents = Contents { current: numbered(2, &current), fallback: None };
            let rendered = rendering(&spec).render(&contents, Some(&snapshot));
            let _ = (rendered.matches(&snapshot), rendered.foreign_leftovers(&snapshot));
        }
    }
    let listed = parse_list(list, None).unwrap_or_default();
    assert!(
        listed.len() <= 4 && listed.iter().all(|value| client_secret(value.expose()).is_some())
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns random sequences of pieces of templates.
    fn templates() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "{{ client_secret }}",
            "{{client_id}}",
            "{{ domain | json }}",
            "{{ client_secret_fallback }}",
            "{{ client_secrets | json }}",
            "{{ client_secrets | lines }}",
            "{{ client_secrets }}",
            "{{ client_secret | upper }}",
            "{{ client_id",
            "}}",
            "{{ nobody }}",
            "{{ [1] * 100000000 }}",
            "{% for a in client_secrets %}",
            "CLIENT=\u{e4}\n",
        ]);
        prop_oneof![
            9 => prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
            1 => "\\PC{0,200}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn templates_are_rejected_or_rendered_to_a_text_that_fits_a_secret(text in templates()) {
            template(&text);
        }
    }

    proptest! {
        #[test]
        fn published_secret_reads_back_the_same(
            current in "\\PC{1,80}|\\[\\PC{0,20}|\\[\"[a-z]{1,5}\"\\]", fallback in prop::option::of("\\PC{1,80}"),
            lines: bool,
        ) {
            list(&current, fallback.as_deref(), lines);
        }

        #[test]
        fn any_secret_is_read_or_ignored(
            data in prop::collection::btree_map(
                prop::sample::select(vec!["client_secret", "client_secret_fallback", "client_secrets", "domain"]),
                "[A-Za-z0-9+/]{0,24}={0,2}|\\PC{0,20}", 0..4),
            annotations in prop::collection::btree_map(
                prop::sample::select(vec![
                    crate::api::CURRENT_ANNOTATION, crate::api::FALLBACK_ANNOTATION,
                    crate::api::KEYS_ANNOTATION, crate::api::OWNER_ANNOTATION,
                ]), "[0-9]{0,24}|[a-z_]{0,8},[a-z_]{0,8}|\\PC{0,20}", 0..4),
            owned: bool, list in "\\PC{0,200}|\\[(\"[a-z]{0,3}\",?){0,6}\\]|([a-z]{0,3}\r?\n){0,6}",
        ) {
            let mut json = json!({ "metadata": { "annotations": annotations }, "data": data });
            if owned {
                json = stored(json.to_string().as_bytes());
            }
            secret(&json.to_string(), &list);
        }
    }
}
