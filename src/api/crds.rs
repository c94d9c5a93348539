//! The CustomResourceDefinitions, as users install them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{CustomResourceExt as _, Resource as _};
use serde_json::json;

use super::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant};

/// Returns all CRDs.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![Auth0Tenant::crd(), ClientSecretRotation::crd(), ClusterAuth0Tenant::crd()];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            join_lines_of_descriptions(schema);
        }
    }
    for version in
        crds.iter_mut().filter(|crd| is_rotation(crd)).flat_map(|crd| &mut crd.spec.versions)
    {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            // Without it, kstatus takes a resource that the operator has not seen for complete.
            status.default = Some(JSON(json!({ "observedGeneration": -1 })));
        }
    }
    crds
}

fn is_rotation(crd: &CustomResourceDefinition) -> bool {
    crd.spec.names.kind == ClientSecretRotation::kind(&())
}

/// Returns the file name in `crds/` and the YAML of each CRD.
///
/// # Errors
///
/// When a CRD can't be serialized, which is a defect of this program.
pub fn crds_yaml() -> Result<Vec<(String, String)>, serde_norway::Error> {
    crds()
        .into_iter()
        .map(|crd| {
            let file = format!("{}.yaml", crd.spec.names.plural);
            Ok((file, serde_norway::to_string(&crd)?))
        })
        .collect()
}

/// Joins the lines of each paragraph in the descriptions of a schema, which have the line breaks of
/// the doc comments.
fn join_lines_of_descriptions(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = join_lines(description);
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        join_lines_of_descriptions(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        join_lines_of_descriptions(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        join_lines_of_descriptions(values);
    }
}

/// Replaces line breaks by spaces, except between paragraphs.
fn join_lines(text: &str) -> String {
    let paragraphs: Vec<_> =
        text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn joins_the_lines_of_each_paragraph() {
        assert_eq!(join_lines("One\ntwo.\n\nThree\nfour."), "One two.\n\nThree four.");
    }

    #[test]
    fn joins_the_lines_of_every_description() {
        for crd in crds() {
            assert_joined(&serde_json::to_value(crd).unwrap());
        }
    }

    fn assert_joined(value: &Value) {
        if let Some(description) = value["description"].as_str() {
            assert_eq!(description, join_lines(description));
        }
        for child in value.as_object().into_iter().flat_map(|object| object.values()) {
            assert_joined(child);
        }
        for child in value.as_array().into_iter().flatten() {
            assert_joined(child);
        }
    }
}
