//! Which values Pods take from the target Secret when they start: in environment variables and
//! `subPath` mounts, which are never updated.

use k8s_openapi::api::core::v1::{
    Container, KeyToPath, Pod, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use rotation::TakenValues;

use crate::api::TargetSpec;

/// Content of a data key of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The list, or the fallback.
    Pair,
    /// The current value.
    Current,
    /// No value.
    None,
}

/// A target Secret, and the content of its data keys.
pub(super) struct PublishedSecret<'s> {
    spec: &'s TargetSpec,
}

/// A volume with the Secret, and the keys that it has. Without items, it has all of them.
struct SecretVolume<'p> {
    name: &'p str,
    items: Option<&'p [KeyToPath]>,
}

impl<'s> PublishedSecret<'s> {
    pub(super) fn new(spec: &'s TargetSpec) -> Self {
        Self { spec }
    }

    /// Returns which values a Pod takes when it starts, if it runs.
    pub(super) fn taken_by_pod(&self, pod: &Pod) -> TakenValues {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        match &pod.spec {
            Some(spec) if !matches!(phase, Some("Succeeded" | "Failed")) => self.taken(spec),
            _ => TakenValues::default(),
        }
    }

    /// Returns which values the Pods of a workload take when they start. A user lists a workload
    /// because that is so: if nothing shows which, they take the pair.
    pub(super) fn taken_by_workload(&self, template: Option<&PodTemplateSpec>) -> TakenValues {
        let pair = TakenValues { pair: true, current_only: false };
        let Some(spec) = template.and_then(|template| template.spec.as_ref()) else { return pair };
        let taken = self.taken(spec);
        if taken.pair || taken.current_only {
            return taken;
        }
        let contents = self.mounted_contents(spec);
        if contents.contains(&Content::Current) && !contents.contains(&Content::Pair) {
            return TakenValues { pair: false, current_only: true };
        }
        pair
    }

    fn taken(&self, pod: &PodSpec) -> TakenValues {
        let volumes = self.volumes(pod);
        let mut taken = TakenValues::default();
        for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
            let mut contents = self.environment(container);
            for mount in container.volume_mounts.iter().flatten() {
                contents.extend(self.sub_path(mount, &volumes));
            }
            if contents.contains(&Content::Pair) {
                taken.pair = true;
            } else if contents.contains(&Content::Current) {
                taken.current_only = true;
            }
        }
        taken
    }

    fn environment(&self, container: &Container) -> Vec<Content> {
        let mut contents = Vec::new();
        for variable in container.env.iter().flatten() {
            let key =
                variable.value_from.as_ref().and_then(|source| source.secret_key_ref.as_ref());
            if let Some(key) = key.filter(|key| key.name == self.spec.name) {
                contents.push(self.content(&key.key));
            }
        }
        for source in container.env_from.iter().flatten() {
            if source.secret_ref.as_ref().is_some_and(|secret| secret.name == self.spec.name) {
                contents.push(Content::Pair);
            }
        }
        contents
    }

    /// Returns what a mount with `subPath` takes from the Secret.
    fn sub_path(&self, mount: &VolumeMount, volumes: &[SecretVolume<'_>]) -> Option<Content> {
        let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
        if mount.sub_path_expr.is_some() {
            // The path depends on the environment.
            return Some(Content::Pair);
        }
        let path = mount.sub_path.as_deref()?;
        let Some(items) = volume.items else { return Some(self.content(path)) };
        let mut contents = items
            .iter()
            .filter(|item| item.path == path || item.path.starts_with(&format!("{path}/")))
            .map(|item| self.content(&item.key))
            .collect::<Vec<_>>();
        contents.sort_by_key(|content| *content as u8);
        contents.first().copied()
    }

    /// Returns what the volumes of a Pod hold.
    fn mounted_contents(&self, pod: &PodSpec) -> Vec<Content> {
        let mut contents = Vec::new();
        for volume in self.volumes(pod) {
            match volume.items {
                Some(items) => contents.extend(items.iter().map(|item| self.content(&item.key))),
                None => contents.push(Content::Pair),
            }
        }
        contents
    }

    fn volumes<'p>(&self, pod: &'p PodSpec) -> Vec<SecretVolume<'p>> {
        let volumes = pod.volumes.iter().flatten();
        volumes.flat_map(|volume| self.sources(volume)).collect()
    }

    fn sources<'p>(&self, volume: &'p Volume) -> Vec<SecretVolume<'p>> {
        let name = volume.name.as_str();
        let mut sources = Vec::new();
        if let Some(source) = &volume.secret
            && source.secret_name.as_deref() == Some(self.spec.name.as_str())
        {
            sources.push(SecretVolume { name, items: source.items.as_deref() });
        }
        let projected = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        for source in projected.filter_map(|source| source.secret.as_ref()) {
            if source.name == self.spec.name {
                sources.push(SecretVolume { name, items: source.items.as_deref() });
            }
        }
        sources
    }

    fn content(&self, key: &str) -> Content {
        let keys = &self.spec.keys;
        if key == keys.list || key == keys.fallback {
            return Content::Pair;
        }
        if key == keys.current {
            return Content::Current;
        }
        match self.spec.template.get(key) {
            Some(text) if text.contains("client_secrets") => Content::Pair,
            Some(text) if text.contains("client_secret_fallback") => Content::Pair,
            Some(text) if text.contains("client_secret") => Content::Current,
            _ => Content::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOTHING: TakenValues = TakenValues { pair: false, current_only: false };
    const PAIR: TakenValues = TakenValues { pair: true, current_only: false };
    const CURRENT: TakenValues = TakenValues { pair: false, current_only: true };
    const BOTH: TakenValues = TakenValues { pair: true, current_only: true };

    fn target() -> TargetSpec {
        serde_json::from_value(json!({
            "name": "shop-auth0",
            "template": {
                "auth0.env": "SECRET={{ client_secret }}", "name": "{{ client_id }}",
                "all.env": "SECRETS={{ client_secrets | json }}",
            },
        }))
        .unwrap()
    }

    fn env(keys: &[&str]) -> Value {
        let variables: Vec<Value> = keys
            .iter()
            .map(|key| {
                let source = json!({ "secretKeyRef": { "name": "shop-auth0", "key": key } });
                json!({ "name": "X", "valueFrom": source })
            })
            .collect();
        json!({ "name": "c", "env": variables })
    }

    fn mount(extra: Value) -> Value {
        let mut mount = json!({ "name": "v", "mountPath": "/auth0" });
        mount.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!([{ "name": "c", "volumeMounts": [mount] }])
    }

    #[test]
    fn pods_take_values_when_they_start() {
        let volume = json!([{ "name": "v", "secret": { "secretName": "shop-auth0" } }]);
        let projected = json!([{ "name": "v", "projected": { "sources": [
            { "secret": { "name": "shop-auth0" } },
        ] } }]);
        let items = json!([{ "name": "v", "secret": {
            "secretName": "shop-auth0", "items": [{ "key": "client_secret", "path": "a/b" }],
        } }]);
        let env_from = |secret: &str| json!([{ "name": "c", "envFrom": [{ "secretRef": { "name": secret } }] }]);
        let (key, list) =
            (json!({ "subPath": "client_secret" }), json!({ "subPath": "client_secrets" }));
        for (spec, expected) in [
            (json!({ "containers": mount(json!({})), "volumes": volume }), NOTHING),
            (json!({ "containers": mount(json!({})), "volumes": projected }), NOTHING),
            (json!({ "containers": mount(key), "volumes": volume }), CURRENT),
            (json!({ "containers": mount(list), "volumes": projected }), PAIR),
            (
                json!({ "containers": mount(json!({ "subPath": "domain" })), "volumes": volume }),
                NOTHING,
            ),
            (json!({ "containers": mount(json!({ "subPath": "a" })), "volumes": items }), CURRENT),
            (
                json!({ "containers": mount(json!({ "subPath": "a/b" })), "volumes": items }),
                CURRENT,
            ),
            (
                json!({ "containers": mount(json!({ "subPathExpr": "$(X)" })), "volumes": projected }),
                PAIR,
            ),
            (json!({ "containers": [env(&["client_secret"])] }), CURRENT),
            (json!({ "containers": [env(&["client_secret", "client_secret_fallback"])] }), PAIR),
            (json!({ "containers": [env(&["client_secrets"]), env(&["client_secret"])] }), BOTH),
            (json!({ "containers": [env(&["client_id", "domain", "name", "unknown"])] }), NOTHING),
            (json!({ "containers": [env(&["auth0.env"])] }), CURRENT),
            (json!({ "containers": [env(&["all.env"])] }), PAIR),
            (json!({ "containers": env_from("other") }), NOTHING),
            (
                json!({ "containers": env_from("other"), "initContainers": env_from("shop-auth0") }),
                PAIR,
            ),
        ] {
            let target = target();
            let pod = json!({ "metadata": { "name": "p" }, "spec": spec });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let taken = PublishedSecret::new(&target).taken_by_pod(&pod);
            assert_eq!(taken, expected, "{spec}");
        }
    }

    #[test]
    fn listed_workloads_take_the_pair_unless_it_is_certain_that_they_do_not() {
        let items = |key: &str| {
            let items = json!([{ "key": key, "path": "x" }]);
            json!([{ "name": "v", "secret": { "secretName": "shop-auth0", "items": items } }])
        };
        for (spec, expected) in [
            (json!({ "containers": [] }), PAIR),
            (json!({ "containers": mount(json!({})), "volumes": items("client_secrets") }), PAIR),
            (json!({ "containers": mount(json!({})), "volumes": items("client_secret") }), CURRENT),
            (json!({ "containers": [env(&["client_secret"])] }), CURRENT),
            (json!({ "containers": [env(&["client_id"])] }), PAIR),
        ] {
            let target = target();
            let template = serde_json::from_value(json!({ "spec": spec })).unwrap();
            let taken = PublishedSecret::new(&target).taken_by_workload(Some(&template));
            assert_eq!(taken, expected, "{spec}");
        }
    }
}
