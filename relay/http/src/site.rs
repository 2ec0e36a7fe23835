//! `/api/site`: cameras, relays and screens of the whole site, as this relay and the others of `http_peers` know them; and requests
//! for screens that only another relay reaches, which are passed on to it. The others are asked when somebody asks this one, at
//! most once a second, and only for what they know themselves: so nobody asks in a circle. On the HTTP thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fanlight_daemon::clock;
use fanlight_daemon::keys::KeyPath;
use fanlight_daemon::trust::{self, TrustError};
use fanlight_live::ScreenState;
use fanlight_live::access::Role;
use fanlight_proto::clock::Time;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_rustls::rustls::ClientConfig;

use super::AppState;
use super::api::{self, answer};
use super::api_error::ApiError;
use super::authorize::query;
use super::client::{self, RelayAddress};
use super::gateway::Peer;
use super::router::MAX_BODY_BYTES;
use super::screens;

/// The header of a request that a relay passes on: who has asked it.
pub(crate) const BY: &str = "x-fanlight-by";

/// Other relays of a site: each is asked for each look at all of it.
pub const MAX_PEERS: usize = 16;

/// Rows of cameras, and of screens, in what is told of a site.
const MAX_ROWS: usize = 4096;

/// What others said is told again for so long.
const FRESH: Duration = Duration::from_secs(1);

/// Longest that one may take to answer, beside what it is asked to wait.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Which other relays there are.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// Where they are.
    pub addresses: Vec<RelayAddress>,
    /// The token that lets us in there.
    pub token: Option<KeyPath>,
    /// The authorities that may have signed their certificates; none: those of this host.
    pub ca_file: Option<PathBuf>,
}

/// This relay and the others.
#[derive(Debug)]
pub(super) struct Site {
    peers: Peers,
    tls: Option<Arc<ClientConfig>>,
    known: Mutex<(Option<Time>, Arc<[Told]>)>,
}

/// What one of the others says.
#[derive(Clone, Debug)]
struct Told {
    address: RelayAddress,
    said: Result<Value, String>,
}

impl Site {
    /// # Errors
    /// When the authorities cannot be read.
    pub(super) fn load(peers: Peers) -> Result<Self, TrustError> {
        let has_tls = peers.addresses.iter().any(RelayAddress::has_tls);
        let config = || trust::client_config(peers.ca_file.as_deref(), &[]).map(Arc::new);
        Ok(Self {
            tls: has_tls.then(config).transpose()?,
            peers,
            known: Mutex::default(),
        })
    }

    /// What all of them say, no older than [`FRESH`].
    async fn told(&self) -> Arc<[Told]> {
        let mut known = self.known.lock().await;
        let is_fresh = |at: Time| clock::now().saturating_since(at) < FRESH;
        if self.peers.addresses.is_empty() || known.0.is_some_and(is_fresh) {
            return Arc::clone(&known.1);
        }

        let asked = self.peers.addresses.iter().map(|address| {
            let (peers, tls, address) = (self.peers.clone(), self.tls.clone(), address.clone());
            tokio::spawn(async move {
                let said = said(&peers, tls.as_ref(), &address).await;
                Told { address, said }
            })
        });
        let mut all = Vec::with_capacity(MAX_PEERS);
        for told in asked.collect::<Vec<_>>() {
            all.extend(told.await);
        }
        *known = (Some(clock::now()), all.into());
        Arc::clone(&known.1)
    }

    /// The relay that reaches the screen `name`, when this one does not.
    pub(super) async fn elsewhere(&self, app: &AppState, name: &str) -> Option<RelayAddress> {
        let status = app.table().status();
        let here = status.screen(name);
        if here.is_some_and(|screen| screen.state != ScreenState::Away) {
            return None;
        }

        let told = self.told().await;
        let has = |told: &&Told| {
            let said = told.said.as_ref().ok();
            let rows = said.and_then(|said| said["screens"].as_array());
            let mut rows = rows.into_iter().flatten();
            rows.any(|row| {
                row["name"] == name && row["takes_directions"] == true && row["state"] != "away"
            })
        };
        told.iter().find(has).map(|told| told.address.clone())
    }

    /// Directs a screen by another relay for `by`; what it says.
    pub(super) async fn direct(
        &self,
        relay: &RelayAddress,
        screen: &str,
        wanted: &Value,
        by: &str,
    ) -> Value {
        let (path, body) = (screen_path(screen), wanted.to_string());
        let request = client::Request {
            method: "PUT",
            path: &path,
            token: None,
            by: Some(by),
            body: &body,
        };
        let said = ask(&self.peers, self.tls.as_ref(), relay, request, TIMEOUT).await;
        let said = said.and_then(|said| {
            serde_json::from_str(&said.body).map_err(|_| format!("it answers {}", said.status))
        });
        said.unwrap_or_else(|problem| unreachable(relay, &problem).body())
    }

    /// Has another relay answer a request.
    async fn pass(&self, relay: &RelayAddress, by: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
            return ApiError::bad_request("the body is too long").into_response();
        };

        let limit = TIMEOUT + screens::longest_wait(&parts.uri);
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = client::Request {
            method: parts.method.as_str(),
            path,
            token: None,
            by: Some(by),
            body: &String::from_utf8_lossy(&body),
        };
        match ask(&self.peers, self.tls.as_ref(), relay, request, limit).await {
            Err(problem) => unreachable(relay, &problem).into_response(),
            Ok(said) => {
                let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::BAD_GATEWAY);
                let headers = [
                    (header::CONTENT_TYPE, "application/json"),
                    (header::CACHE_CONTROL, "no-store"),
                ];
                (status, headers, said.body).into_response()
            }
        }
    }
}

/// `GET /api/site`; with `own`, only what this relay knows itself.
pub(super) async fn site(State(app): State<Arc<AppState>>, uri: Uri) -> Response {
    let own = json!({
        "relays": [{ "name": app.settings.name }],
        "cameras": api::list(&app, clock::now()),
        "screens": screens::all(&app)["screens"],
    });
    let told = match query(&uri, "own") {
        Some(_) => Arc::default(),
        None => app.site.told().await,
    };
    answer(StatusCode::OK, merged(&own, &told))
}

/// Middleware of requests for one screen: passes on what only another relay can answer.
pub(super) async fn pass_on(
    State(app): State<Arc<AppState>>,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let is_admin = request.extensions().get::<Role>() == Some(&Role::Admin);
    let is_passed_on = request.headers().contains_key(BY);
    let name = params.iter().find(|(key, _)| *key == "name");
    let peer = request.extensions().get::<Peer>().cloned();
    if let (Some((_, name)), Some(peer)) = (name.filter(|_| is_admin && !is_passed_on), peer)
        && let Some(relay) = app.site.elsewhere(&app, name).await
    {
        let by = screens::by(Role::Admin, &peer, request.headers());
        return app.site.pass(&relay, &by, request).await;
    }
    next.run(request).await
}

/// What the relay at `address` knows itself.
async fn said(
    peers: &Peers,
    tls: Option<&Arc<ClientConfig>>,
    address: &RelayAddress,
) -> Result<Value, String> {
    let request = client::Request {
        method: "GET",
        path: "/api/site?own=1",
        token: None,
        by: None,
        body: "",
    };
    let said = ask(peers, tls, address, request, TIMEOUT).await?;
    match said.status {
        200 => serde_json::from_str(&said.body).map_err(|error| format!("no JSON: {error}")),
        401 => Err("it does not know the token in http_peer_token".to_owned()),
        status => Err(format!("it answers {status}")),
    }
}

/// Asks with the token, as it is in its file now.
async fn ask(
    peers: &Peers,
    tls: Option<&Arc<ClientConfig>>,
    address: &RelayAddress,
    request: client::Request<'_>,
    limit: Duration,
) -> Result<client::Answer, String> {
    let token = peers.token.as_ref().map(KeyPath::token).transpose();
    let token = token.map_err(|error| format!("http_peer_token: {error}"))?;
    let request = client::Request {
        token: token.as_ref().map(|token| token.as_str()),
        ..request
    };
    let said = request.ask(address, tls, limit).await;
    said.map_err(|error| error.to_string())
}

fn unreachable(relay: &RelayAddress, problem: &str) -> ApiError {
    let message = format!("the screen is at {relay}, which does not answer: {problem}");
    ApiError::new(StatusCode::BAD_GATEWAY, "relay_unreachable", message)
}

/// The address of a screen: of its name only letters, digits, `-`, `.`, `_` and `~` stand for themselves (RFC 3986, section
/// 2.3).
#[must_use]
pub fn screen_path(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let name: String = name.bytes().map(byte).collect();
    format!("/api/screens/{name}")
}

/// One list of what all say: a row for each camera and each screen, the best that any relay has, and the relays that have it.
fn merged(own: &Value, told: &[Told]) -> Value {
    let (mut cameras, mut screens) = (BTreeMap::new(), BTreeMap::new());
    let mut relays = Vec::with_capacity(1 + told.len());
    let others = told.iter().map(|it| (Some(&it.address), it.said.as_ref()));
    for (address, said) in std::iter::once((None, Ok(own))).chain(others) {
        let url = address.map(ToString::to_string);
        let name = said
            .ok()
            .and_then(|said| said["relays"][0]["name"].as_str());
        let name = name.or(url.as_deref()).unwrap_or_default().to_owned();
        if let Ok(said) = said {
            add(&mut cameras, &said["cameras"], &name, camera_rank);
            add(&mut screens, &said["screens"], &name, screen_rank);
        }
        relays.push(json!({
            "name": name, "url": url, "reachable": said.is_ok(), "problem": said.err(),
        }));
    }
    json!({
        "relays": relays,
        "cameras": cameras.into_values().collect::<Vec<_>>(),
        "screens": screens.into_values().collect::<Vec<_>>(),
    })
}

/// How good a row is: whether it is of the present, and how new.
type Rank = (bool, bool, u64, String);

fn camera_rank(row: &Value) -> Rank {
    let is_live = row["state"] == "live";
    (row["source_gone"] == false, is_live, 0, String::new())
}

fn screen_rank(row: &Value) -> Rank {
    let direction = &row["direction"];
    let version = direction["version"].as_u64().unwrap_or_default();
    let origin = direction["origin"].as_str().unwrap_or_default();
    let is_there = row["state"].is_string() && row["state"] != "away";
    (
        is_there,
        row["takes_directions"] == true,
        version,
        origin.to_owned(),
    )
}

/// Adds what a relay lists to the rows that others have.
fn add(rows: &mut BTreeMap<String, Value>, list: &Value, relay: &str, rank: fn(&Value) -> Rank) {
    for row in list.as_array().into_iter().flatten() {
        let (Some(name), true) = (row["name"].as_str(), row.is_object()) else {
            continue;
        };
        if rows.len() >= MAX_ROWS && !rows.contains_key(name) {
            continue;
        }

        let known = rows.entry(name.to_owned()).or_insert_with(|| {
            let mut row = row.clone();
            row["relays"] = Value::Null;
            row
        });
        let mut relays = match known["relays"].take() {
            Value::Array(relays) => relays,
            _ => Vec::new(),
        };
        if rank(row).0 {
            relays.push(relay.into());
        }
        if rank(row) > rank(known) {
            known.clone_from(row);
        }
        known["relays"] = relays.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(state: &str, version: u64, streams: &[&str]) -> Value {
        json!({
            "name": "lobby", "state": state, "takes_directions": true, "relays": ["itself"],
            "direction": { "version": version, "origin": "0a", "streams": streams },
        })
    }

    fn told(name: &str, said: Result<Value, String>) -> Told {
        Told {
            address: format!("http://{name}").parse().unwrap(),
            said,
        }
    }

    #[test]
    fn a_screen_is_one_row_by_the_newest_that_any_relay_knows() {
        let camera = |gone| json!({ "name": "cam", "source_gone": gone, "state": "live" });
        let site = |name, screen: Value, gone| {
            json!({
                "relays": [{ "name": name }], "cameras": [camera(gone)], "screens": [screen],
            })
        };
        let own = site("own", screen("away", 9, &["cam9"]), true);
        let others = [
            told(
                "left",
                Ok(site("left", screen("showing", 2, &["cam2"]), false)),
            ),
            told(
                "right",
                Ok(site("right", screen("asked", 3, &["cam3"]), false)),
            ),
            told("gone", Err("no answer".to_owned())),
            told(
                "mad",
                Ok(json!({ "screens": [7, { "name": 7 }, "x"], "cameras": { "name": "cam" } })),
            ),
        ];
        let site = merged(&own, &others);
        let [screen, camera] = ["screens", "cameras"].map(|list| site[list][0].clone());
        assert_eq!(site["screens"].as_array().unwrap().len(), 1, "{site}");
        assert_eq!(screen["direction"]["streams"], json!(["cam3"]));
        assert_eq!(screen["relays"], json!(["left", "right"]));
        assert_eq!(
            (&camera["source_gone"], &camera["relays"]),
            (&json!(false), &json!(["left", "right"]))
        );
        let reached: Vec<_> = site["relays"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["reachable"] == true)
            .collect();
        assert_eq!(reached, [true, true, true, false, true]);
        assert_eq!(site["relays"][3]["problem"], "no answer");
    }

    #[test]
    fn any_name_of_a_screen_fits_a_path() {
        assert_eq!(screen_path("lobby-left"), "/api/screens/lobby-left");
        assert_eq!(
            screen_path("Küche 2/ä?"),
            "/api/screens/K%C3%BCche%202%2F%C3%A4%3F"
        );
    }
}
