//! The objects that the operator could have written a value to.

use std::fmt::Debug;

use anyhow::Result;
use auth0_rotator::api::{Auth0Tenant, ClientSecretRotation, ClusterAuth0Tenant};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Namespace, Secret},
        events::v1::Event,
    },
};
use kube::{Api, Client, Resource, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};

use super::Document;

/// Reads the objects of a namespace, or of all namespaces, and those without a namespace. Of Secrets
/// only the metadata is read, because their data holds the values.
pub async fn object_documents(client: &Client, namespace: Option<&str>) -> Result<Vec<Document>> {
    let reader = Reader { client, namespace };
    let secrets: Api<Secret> = reader.api();
    let secrets = secrets.list_metadata(&ListParams::default()).await?;
    Ok(vec![
        document("SecretMetadata.json", &secrets.items)?,
        reader.read::<ClientSecretRotation>("ClientSecretRotations.json").await?,
        reader.read::<Auth0Tenant>("Auth0Tenants.json").await?,
        list::<ClusterAuth0Tenant>("ClusterAuth0Tenants.json", &Api::all(client.clone())).await?,
        reader.read::<Event>("Events.json").await?,
        reader.read::<Deployment>("Deployments.json").await?,
        reader.read::<StatefulSet>("StatefulSets.json").await?,
        reader.read::<DaemonSet>("DaemonSets.json").await?,
        reader.read::<Lease>("Leases.json").await?,
        reader.read::<ConfigMap>("ConfigMaps.json").await?,
        list::<Namespace>("Namespaces.json", &Api::all(client.clone())).await?,
    ])
}

struct Reader<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
}

impl Reader<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    async fn read<K>(&self, name: &str) -> Result<Document>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        list::<K>(name, &self.api()).await
    }
}

async fn list<K>(name: &str, api: &Api<K>) -> Result<Document>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    document(name, &api.list(&ListParams::default()).await?.items)
}

fn document(name: &str, objects: &impl Serialize) -> Result<Document> {
    Ok(Document::new(name, serde_json::to_string_pretty(objects)?))
}
