//! `/api/scenes`: named sets of directions, which administrators make and apply to all their screens at once. They stand in a
//! JSON file that relays may share. On the HTTP thread.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::keys::KeyPath;
use fanlight_live::access::Role;
use fanlight_proto::limits::MAX_VIEWER_NAME;
use fanlight_proto::message::StreamName;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AppState;
use super::api::answer;
use super::api_error::{ApiError, check_admin};
use super::gateway::Peer;
use super::screens::{self, Wanted};

/// Scenes that there may be.
const MAX_SCENES: usize = 64;

/// Screens of one scene.
const MAX_SCREENS: usize = 256;

/// Largest body of a request, in bytes: a scene of 256 screens with the longest directions fits.
pub(super) const MAX_SCENE_BYTES: usize = 512 << 10;

/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = (MAX_SCENES * MAX_SCENE_BYTES) as u64;

/// What the screens of a scene are to do, by their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scene {
    screens: BTreeMap<String, Wanted>,
}

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Counts the changes.
    version: u64,
    scenes: BTreeMap<String, Scene>,
}

/// All scenes of a relay.
#[derive(Debug)]
pub(super) struct Scenes {
    /// None: there is no place to keep them.
    file: Option<PathBuf>,
    kept: RwLock<Kept>,
}

impl Scenes {
    /// Those of `file`, which need not be there yet.
    pub(super) fn load(file: Option<PathBuf>) -> Self {
        let kept = file.as_deref().map_or_else(|| Ok(Kept::default()), read);
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!("there are no scenes: their file cannot be read: {error}");
            Kept::default()
        });
        Self {
            file,
            kept: RwLock::new(kept),
        }
    }

    /// Reads the file again when somebody else changes it, for ever on a task.
    pub(super) async fn follow(&self) {
        let Some(file) = &self.file else {
            return std::future::pending().await;
        };
        let watch = FileWatch::new("the file of scenes", [KeyPath::File(file.clone())]);
        watch
            .follow(|| read(file), |kept| *self.kept.write() = kept)
            .await;
    }

    fn get(&self, name: &str) -> Result<Scene, ApiError> {
        let kept = self.kept.read();
        kept.scenes
            .get(name)
            .cloned()
            .ok_or_else(|| unknown(&kept, name))
    }

    /// Changes what stands in the file, as another relay may have left it a moment ago; its version then.
    fn change(
        &self,
        change: impl FnOnce(&mut Kept) -> Result<(), ApiError>,
    ) -> Result<u64, ApiError> {
        let Some(file) = &self.file else {
            let message = "the relay has no file for scenes: set http_scenes, or run it as a service with a state directory";
            return Err(ApiError::new(StatusCode::CONFLICT, "no_file", message));
        };

        let mut kept = self.kept.write();
        let unwritable = |error: io::Error| {
            let message = format!("the file of scenes cannot be changed: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unwritable", message)
        };
        let mut newer = read(file).map_err(unwritable)?;
        change(&mut newer)?;
        newer.version += 1;
        write(file, &newer).map_err(unwritable)?;
        *kept = newer;
        Ok(kept.version)
    }
}

/// `GET /api/scenes`.
pub(super) async fn list(State(app): State<Arc<AppState>>) -> Response {
    let kept = app.scenes.kept.read().clone();
    let scene = |(name, scene): (String, Scene)| json!({ "name": name, "screens": scene.screens });
    let scenes: Vec<_> = kept.scenes.into_iter().map(scene).collect();
    answer(
        StatusCode::OK,
        json!({ "version": kept.version, "scenes": scenes }),
    )
}

/// `PUT /api/scenes/NAME`: makes a scene, or replaces it.
pub(super) async fn put(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    UrlPath(name): UrlPath<String>,
    body: Result<Json<Scene>, JsonRejection>,
) -> Result<Response, ApiError> {
    check_admin(role, "scenes are")?;
    let name = name.parse::<StreamName>();
    let name = name.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let scene = screens::parsed(body)?;
    check(&scene)?;
    let version = app.scenes.change(|kept| {
        let is_new = !kept.scenes.contains_key(name.as_str());
        if is_new && kept.scenes.len() >= MAX_SCENES {
            let message = format!("there are {MAX_SCENES} scenes, which is the most: remove some");
            return Err(ApiError::new(StatusCode::CONFLICT, "too_many", message));
        }
        kept.scenes.insert(name.to_string(), scene);
        Ok(())
    })?;
    tracing::info!(scene = %name, version, "a scene is changed");
    Ok(answer(StatusCode::OK, json!({ "version": version })))
}

/// `DELETE /api/scenes/NAME`.
pub(super) async fn remove(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    UrlPath(name): UrlPath<String>,
) -> Result<StatusCode, ApiError> {
    check_admin(role, "scenes are")?;
    let version = app.scenes.change(|kept| {
        let removed = kept.scenes.remove(&name);
        removed.map(drop).ok_or_else(|| unknown(kept, &name))
    })?;
    tracing::info!(scene = %name, version, "a scene is removed");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/scenes/NAME/apply`: directs all its screens at once, and says how each took it.
pub(super) async fn apply(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Extension(peer): Extension<Peer>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_admin(role, "scenes are")?;
    let scene = app.scenes.get(&name)?;
    let by = screens::by(role, &peer, &headers);
    let mut asked = Vec::with_capacity(scene.screens.len());
    for (screen, wanted) in scene.screens {
        let answered = match app.site.elsewhere(&app, &screen).await {
            Some(relay) => Err((relay, json!(wanted))),
            None => Ok(screens::order(&app, &screen, wanted.direction(by.clone())?)),
        };
        asked.push((screen, answered));
    }

    let mut rows: Vec<Value> = Vec::with_capacity(asked.len());
    for (screen, answered) in asked {
        let mut row = match answered {
            Ok(answered) => {
                let told = screens::told(&app, answered).await;
                told.map_or_else(|error| error.body(), screens::place)
            }
            Err((relay, wanted)) => app.site.direct(&relay, &screen, &wanted, &by).await,
        };
        row["name"] = screen.into();
        rows.push(row);
    }
    Ok(answer(StatusCode::ACCEPTED, json!({ "screens": rows })))
}

fn check(scene: &Scene) -> Result<(), ApiError> {
    if scene.screens.len() > MAX_SCREENS {
        let message = format!("screens are at most {MAX_SCREENS}");
        return Err(ApiError::bad_request(message));
    }

    for (name, wanted) in &scene.screens {
        if !(1..=MAX_VIEWER_NAME).contains(&name.len()) {
            let message = format!("the name of a screen has 1 to {MAX_VIEWER_NAME} bytes");
            return Err(ApiError::bad_request(message));
        }
        wanted.check()?;
    }
    Ok(())
}

fn unknown(kept: &Kept, name: &str) -> ApiError {
    let names: Vec<_> = kept.scenes.keys().map(String::as_str).collect();
    let message = format!(
        "there is no scene {name:?}: there are {}",
        screens::listed(&names)
    );
    ApiError::new(StatusCode::NOT_FOUND, "no_such_scene", message)
}

fn read(file: &Path) -> io::Result<Kept> {
    let mut text = String::new();
    match File::open(file) {
        Ok(found) => drop(found.take(MAX_FILE_BYTES).read_to_string(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
    }
    serde_json::from_str(&text).map_err(io::Error::other)
}

fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    let newer = file.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&newer)?
        .write_all(serde_json::to_string_pretty(kept)?.as_bytes())?;
    fs::rename(newer, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_relays_with_one_file_lose_no_scene_of_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("scenes.json");
        let relays = [(); 2].map(|()| Scenes::load(Some(file.clone())));
        for (relay, name) in relays.iter().zip(["morning", "evening"]) {
            let insert = |kept: &mut Kept| {
                kept.scenes.insert(name.to_owned(), Scene::default());
                Ok(())
            };
            relay.change(insert).unwrap();
        }

        let kept = Scenes::load(Some(file.clone())).kept.into_inner();
        assert_eq!((kept.version, kept.scenes.len()), (2, 2));
        fs::write(&file, "no json").unwrap();
        assert!(
            relays[0].change(|_| Ok(())).is_err(),
            "what is not understood stays"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), "no json");
    }

    #[test]
    fn a_scene_out_of_its_bounds_is_refused() {
        let scene = |body: Value| check(&serde_json::from_value(body).unwrap());
        assert_eq!(scene(json!({ "screens": { "hall": {} } })), Ok(()));
        assert!(scene(json!({ "screens": { "": {} } })).is_err());
        assert!(scene(json!({ "screens": { "hall": { "cycle_s": 0.1 } } })).is_err());
        let many: BTreeMap<_, _> = (0..=MAX_SCREENS)
            .map(|n| (n.to_string(), json!({})))
            .collect();
        assert!(scene(json!({ "screens": many })).is_err());
    }
}
