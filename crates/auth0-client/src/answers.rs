//! What the Management API's answers say. Whatever is wrong with one, no part of it is told.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use super::{
    error::{Auth0Error, InvalidResponse},
    secret::{ClientSecret, InvalidSecret},
    tenant::{ClientInfo, ClientKind, ClientPage},
    transport::Answer,
};

#[derive(Deserialize)]
struct ClientAnswer {
    client_id: String,
    client_secret: Option<SecretString>,
    token_endpoint_auth_method: Option<String>,
    client_authentication_methods: Option<serde::de::IgnoredAny>,
    jwt_configuration: Option<JwtConfiguration>,
    client_metadata: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct JwtConfiguration {
    alg: Option<String>,
}

#[derive(Deserialize)]
struct PageAnswer {
    total: usize,
    clients: Vec<ClientAnswer>,
}

/// A client; it has to be `wanted`, if that is known.
pub(super) fn client(answer: &Answer, wanted: Option<&str>) -> Result<ClientInfo, Auth0Error> {
    facts(answer.json()?, wanted)
}

/// A page of clients.
pub(super) fn page(answer: &Answer) -> Result<ClientPage, Auth0Error> {
    let page: PageAnswer = answer.json()?;
    let clients = page.clients.into_iter().map(|client| facts(client, None));
    Ok(ClientPage { clients: clients.collect::<Result<_, _>>()?, total: page.total })
}

fn facts(answer: ClientAnswer, wanted: Option<&str>) -> Result<ClientInfo, Auth0Error> {
    if wanted.is_some_and(|wanted| wanted != answer.client_id) {
        return Err(Auth0Error::InvalidResponse(InvalidResponse::OtherClient));
    }
    let secret = match answer.client_secret.map(ClientSecret::new) {
        None | Some(Err(InvalidSecret::Empty)) => None,
        Some(Ok(secret)) => Some(secret),
        Some(Err(InvalidSecret::Unprintable)) => {
            return Err(Auth0Error::InvalidResponse(InvalidResponse::Secret));
        }
    };
    let kind = if answer.client_authentication_methods.is_some() {
        ClientKind::KeyBased
    } else if answer.token_endpoint_auth_method.as_deref() == Some("none") {
        ClientKind::Public
    } else {
        ClientKind::Confidential
    };
    let algorithm = answer.jwt_configuration.and_then(|jwt| jwt.alg);
    let text = |(key, value): (String, serde_json::Value)| Some((key, value.as_str()?.to_owned()));
    Ok(ClientInfo {
        client_id: answer.client_id,
        metadata: answer.client_metadata.into_iter().flatten().filter_map(text).collect(),
        kind,
        signs_with_secret: algorithm.as_deref() == Some("HS256"),
        secret,
    })
}
