//! Which address leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};

use super::api_error::ApiError;
use super::{
    AppState, api, authorize, controls, events, history, links, metrics, mjpeg, page, scenes,
    screens, session, site, snapshot, whep, ws,
};
use fanlight_live::access::Role;

/// Largest body of a request, in bytes: a token, or an address to be signed.
pub(super) const MAX_BODY_BYTES: usize = 4 << 10;

/// All addresses.
pub(super) fn router(app: Arc<AppState>) -> Router {
    streams()
        .merge(access())
        .merge(screens_and_scenes(&app))
        .route("/livez", get(api::live))
        .route("/readyz", get(api::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/", get(root))
        .fallback(file)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            authorize::authorize,
        ))
        .with_state(app)
}

/// Pictures, and what is known of sources and viewers.
fn streams() -> Router<Arc<AppState>> {
    Router::new()
        .route("/ws", get(ws::upgrade))
        .route("/stream/{file}", get(mjpeg::stream))
        .route("/snapshot/{file}", get(snapshot::snapshot))
        .route(
            "/whep/{stream}",
            post(whep::offer)
                .options(whep::options)
                .layer(DefaultBodyLimit::max(whep::MAX_OFFER_BYTES)),
        )
        .route(
            "/whep/{stream}/{session}",
            patch(whep::change).delete(whep::end),
        )
        .route("/api/streams", get(api::streams))
        .route(
            "/api/streams/{name}/controls",
            get(controls::list).put(controls::set),
        )
        .route("/api/sources", get(api::sources))
        .route("/api/viewers", get(api::viewers))
        .route("/api/health", get(api::health))
        .route("/api/events", get(events::events))
}

/// Who may what.
fn access() -> Router<Arc<AppState>> {
    Router::new()
        .route(
            "/api/session",
            post(session::begin).delete(session::end).get(session::tell),
        )
        .route("/api/sign", post(session::sign))
        .route("/api/links", get(links::list).post(links::add))
        .route("/api/links/{name}", delete(links::revoke))
}

/// What is shown where. Requests for a screen of another relay are passed on.
fn screens_and_scenes(app: &Arc<AppState>) -> Router<Arc<AppState>> {
    let passed = middleware::from_fn_with_state(Arc::clone(app), site::pass_on);
    let of_a_screen = Router::new()
        .route("/api/screens/{name}", put(screens::direct))
        .route("/api/screens/{name}/identify", post(screens::identify))
        .route("/api/screens/{name}/popup", post(screens::popup))
        .route("/api/screens/{name}/reload", post(screens::reload))
        .route("/api/screens/{name}/history", get(history::history))
        .route_layer(passed);

    Router::new()
        .route("/api/screens", get(screens::screens))
        .route("/api/site", get(site::site))
        .merge(of_a_screen)
        .route("/api/scenes", get(scenes::list))
        .route(
            "/api/scenes/{name}",
            put(scenes::put)
                .delete(scenes::remove)
                .layer(DefaultBodyLimit::max(scenes::MAX_SCENE_BYTES)),
        )
        .route("/api/scenes/{name}/apply", post(scenes::apply))
}

/// The page, or what mjpg-streamer has here.
async fn root(state: State<Arc<AppState>>, request: Request) -> Response {
    let uri = request.uri();
    let stream = authorize::query(uri, "stream").map(ToOwned::to_owned);

    match authorize::query(uri, "action") {
        None => index(&state, &request).into_response(),
        Some("stream") => mjpeg::of(state, stream, request).await.into_response(),
        Some("snapshot") => snapshot::of(state, stream, request).await.into_response(),
        Some(_) => ApiError::bad_request("action is stream or snapshot").into_response(),
    }
}

/// The page, with the names of the streams for those who may know them.
fn index(app: &AppState, request: &Request) -> Response {
    let status = app.table().status();
    let may = request.extensions().get::<Role>().is_some();
    let names = status
        .streams
        .iter()
        .map(|stream| &stream.name)
        .filter(|_| may);

    let (kind, page) = page::index(names);
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        page,
    )
        .into_response()
}

async fn file(request: Request) -> Result<Response, ApiError> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(wrong_method().await);
    }

    let (kind, bytes) = page::file(request.uri().path()).ok_or_else(ApiError::not_found)?;
    // The files of a page belong to one version of the program.
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
    ];

    Ok((StatusCode::OK, headers, bytes).into_response())
}

async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        "this address does not take that method: see HTTP.md",
    )
}
