//! What has to hold of templates and Secrets, whatever is in them.

use std::time::Instant;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    target::{Contents, Rendering, Snapshot, check_template},
    tenants::parse_list,
};
use crate::api::{Keys, ListFormat, MANAGER, TargetSpec};
use auth0_client::{
    ClientSecret,
    fuzzing::{MARKER, TIME_LIMIT},
};

/// The key that templates are rendered into.
const KEY: &str = "rendered";

/// The longest text that is published for one key, in bytes.
const LONGEST: usize = 256 * 1024;

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
        resource: "shop",
        namespace: "default",
        client_id: "shop-client",
        domain: "acme.eu.auth0.com",
        owner: None,
        goes_with_owner: false,
    }
}

/// A Secret with that manifest, as the API server has it: we own all of its fields.
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
        "manager": MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }]);
    secret
}

/// A template is refused without a word of what it makes, or rendered soon, into what a Secret can
/// hold, and the same every time.
///
/// # Panics
/// When something else is so.
pub fn template(text: &str) {
    let started = Instant::now();
    let spec = spec(ListFormat::Json, Some(text));
    let refusal = check_template(&spec);
    if let Some(refusal) = &refusal {
        assert!(!format!("{refusal:?}").contains(MARKER));
    }
    let Some(secret) = taken(MARKER) else { return };
    for fallback in [None, Some((1, secret.clone()))] {
        let contents = Contents { current: (2, secret.clone()), fallback };
        let once = rendering(&spec).render(&contents, None);
        let stored = stored(&once.json(None)).to_string();
        let Some(snapshot) = Snapshot::parse(&stored) else { panic!("what is written is read") };
        assert!(once.is_as(&snapshot), "it would be written for ever");
        assert!(rendering(&spec).render(&contents, None).is_as(&snapshot), "it is another one");
        let length = snapshot.text(KEY).map(|text| text.len());
        assert!(length.is_none_or(|length| length <= LONGEST), "{length:?} bytes");
    }
    assert!(started.elapsed() < TIME_LIMIT, "it takes {:?}", started.elapsed());
}

fn taken(value: &str) -> Option<ClientSecret> {
    ClientSecret::new(SecretString::from(value)).ok()
}

/// What is published is read back as it is: the values, their numbers, and the list in the order to
/// try, in either format.
///
/// # Panics
/// When something else is read.
pub fn list(current: &str, fallback: Option<&str>, lines: bool) {
    let Some(current) = taken(current) else { return };
    let fallback = fallback.and_then(taken);
    let spec = spec(if lines { ListFormat::Lines } else { ListFormat::Json }, None);
    let contents = Contents {
        current: (7, current.clone()),
        fallback: fallback.clone().map(|value| (6, value)),
    };
    let stored = stored(&rendering(&spec).render(&contents, None).json(None)).to_string();
    let Some(snapshot) = Snapshot::parse(&stored) else { panic!("what is written is read") };
    let values = snapshot.values(&spec.keys);
    assert!(values.current.as_ref() == Some(&current) && values.fallback == fallback);
    assert_eq!(snapshot.numbers(), (Some(7), fallback.is_some().then_some(6)));
    assert!(!snapshot.is_edited(&spec.keys, &values));
    let text = snapshot.text(&spec.keys.list).unwrap_or_default();
    let listed = parse_list(&text, values.current.as_ref()).unwrap_or_default();
    let expected: Vec<ClientSecret> = std::iter::once(current).chain(fallback).collect();
    assert!(listed == expected, "the list is another one");
}

/// Whatever stands in a target Secret, or in one with credentials: it is read or passed over.
///
/// # Panics
/// When a value is taken that could not be one, or a list has more than is ever tried.
pub fn secret(json: &str, list: &str) {
    let spec = spec(ListFormat::Json, None);
    if let Some(snapshot) = Snapshot::parse(json) {
        let values = snapshot.values(&spec.keys);
        for value in values.current.iter().chain(&values.fallback) {
            assert!(taken(value.expose()).as_ref() == Some(value));
        }
        let _ = (snapshot.is_edited(&spec.keys, &values), snapshot.numbers());
        let _ = (snapshot.created_by_us(), snapshot.version(), snapshot.owner());
        if let Some(current) = values.current {
            let contents = Contents { current: (2, current), fallback: None };
            let rendered = rendering(&spec).render(&contents, Some(&snapshot));
            let _ = (rendered.is_as(&snapshot), rendered.strays(&snapshot));
        }
    }
    let listed = parse_list(list, None).unwrap_or_default();
    assert!(listed.len() <= 4 && listed.iter().all(|value| taken(value.expose()).is_some()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of templates, put together at random.
    fn templates() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "{{ client_secret }}",
            "{{ client_secrets | join(',') }}",
            "{{ client_secrets | tojson }}",
            "{% for a in client_secrets %}",
            "{% endfor %}",
            "{% if client_secret_fallback %}",
            "{% else %}",
            "{% endif %}",
            "{% set a = domain ~ domain %}",
            "{% set a = a ~ a %}",
            "{{ a }}",
            "{{ 'x' * 100000000 }}",
            "{% for i in range(100000) %}",
            "{{ i }}",
            "{{ a | replace('a', a) }}",
            "{{ domain | indent(100000000) }}",
            "{{ client_id",
            "}}",
            "{{ nobody }}",
            "{# a note #}",
            "{{ [1] * 100000000 }}",
            "{{ '%099999999d' | format(1) }}",
            "{{ client_secrets[9] }}",
            "CLIENT=\u{e4}\n",
            "{{ 1 // 0 }}",
            "{{ 2 ** 4000000000 }}",
        ]);
        prop_oneof![
            9 => prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat()),
            1 => "\\PC{0,200}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn templates_are_refused_or_rendered_soon_into_what_a_secret_holds(text in templates()) {
            template(&text);
        }
    }

    proptest! {
        #[test]
        fn what_is_published_is_read_back(
            current in "\\PC{1,80}|\\[\\PC{0,20}|\\[\"[a-z]{1,5}\"\\]", fallback in prop::option::of("\\PC{1,80}"),
            lines: bool,
        ) {
            list(&current, fallback.as_deref(), lines);
        }

        #[test]
        fn any_secret_is_read_or_passed_over(
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
