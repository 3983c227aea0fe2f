//! The routes: each reads its request, hands it to the worker, and writes the answer.
//!
//! ```text
//! GET    /                          the page
//! POST   /v1/chat/completions       a reply, whole or as server-sent events
//! GET    /v1/models                 the one model
//! GET    /v1/annotations/next       a dialogue that waits for the person's word; 204 where none does
//! POST   /v1/annotations/{id}       {"answer": "accept" | "skip" | {"preferred": TEXT}}
//! POST   /v1/dialogues              {"messages", "answer"}: a talk so far, and the person's word on it
//! GET    /v1/dialogues              what is in the buffer
//! DELETE /v1/dialogues/{id}         forget it, and what was learned of it; without an id, everything
//! POST   /v1/rounds                 learn now; 409 where it learns already
//! GET    /v1/rounds                 what became of each round
//! GET    /v1/status, /metrics       how it stands
//! ```

mod completions;
mod person;

use core::sync::atomic::AtomicU64;
use core::time::Duration;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::Guard;
use super::learner::Desk;
use super::openai;
use super::page;
use super::worker::Work;
use crate::engine::Sampling;
use crate::status::Status;
use completions::complete;
use person::{annotate, forget, forget_all, kept, next_annotation, offer, round, rounds};

/// The most bytes of a request.
const MOST_BYTES: usize = 1 << 20;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// After how many seconds to ask again where there is no room.
const RETRY_AFTER: &str = "2";

/// What the routes share.
pub struct Api {
    /// The worker's queue.
    pub work: Arc<Work>,
    /// Where rounds are asked for.
    pub desk: Arc<Desk>,
    /// What the server tells of itself.
    pub status: Arc<Status>,
    /// Who may ask.
    pub guard: Guard,
    /// The model's name.
    pub model: String,
    /// How replies are written unless a request says otherwise.
    pub usual: Sampling,
    /// Numbers replies.
    pub count: AtomicU64,
}

type Shared = State<Arc<Api>>;

/// An error as clients of OpenAI's read it.
struct Refusal(StatusCode, String, Option<String>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal(status, message, field) = self;
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let mut response = json_of(status, &openai::error(&message, kind, field.as_deref(), None));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

fn json_of(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, message.into(), None)
}

/// All routes.
pub fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/annotations/next", get(next_annotation))
        .route("/v1/annotations/{id}", post(annotate))
        .route("/v1/dialogues", get(kept).post(offer).delete(forget_all))
        .route("/v1/dialogues/{id}", delete(forget))
        .route("/v1/rounds", get(rounds).post(round))
        .route("/v1/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "there is no such path".into(), None) })
        .method_not_allowed_fallback(|| async {
            Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "the path does not take this method".into(),
                None,
            )
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&api), admit))
        .with_state(api)
}

/// Lets a request on that may ask.
async fn admit(State(api): Shared, request: Request, next: Next) -> Response {
    // The page tells nothing of the person: it asks for the token itself.
    let admitted = match request.uri().path() {
        "/" => api.guard.is_here(request.headers()),
        _ => api.guard.admit(request.headers()),
    };
    match admitted {
        Ok(()) => next.run(request).await,
        Err((status, why)) => Refusal(status, why.into(), None).into_response(),
    }
}

/// The body, if it comes in time and is not too long.
async fn body(body: Body) -> Result<Bytes, Refusal> {
    let too_long = || {
        let message = format!("a request is at most {MOST_BYTES} bytes, and must come whole");
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, message, None)
    };
    // One that says that it is too long is not read.
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(too_long());
    }
    match tokio::time::timeout(PATIENCE, to_bytes(body, MOST_BYTES)).await {
        Err(_) => {
            Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the request did not come".into(), None))
        }
        Ok(Err(_)) => Err(too_long()),
        Ok(Ok(bytes)) => Ok(bytes),
    }
}

/// What JSON says; what is wrong with it is told with the field.
fn parsed<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Refusal> {
    let text = core::str::from_utf8(bytes).map_err(|_| bad("the body is not UTF-8"))?;
    openai::parse(text)
        .map_err(|wrong| Refusal(StatusCode::BAD_REQUEST, wrong.why, Some(wrong.field)))
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, page::policy()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, page::PAGE).into_response()
}

fn described(api: &Api) -> Value {
    json!({"id": api.model, "object": "model", "created": 0, "owned_by": "homespun"})
}

async fn models(State(api): Shared) -> Response {
    json_of(StatusCode::OK, &json!({"object": "list", "data": [described(&api)]}))
}

async fn model(State(api): Shared, Path(name): Path<String>) -> Result<Response, Refusal> {
    if name == api.model {
        return Ok(json_of(StatusCode::OK, &described(&api)));
    }
    Err(Refusal(StatusCode::NOT_FOUND, "there is no such model".into(), Some("model".into())))
}

async fn status(State(api): Shared) -> Response {
    json_of(StatusCode::OK, &api.status.json(api.work.waiting()))
}

async fn metrics(State(api): Shared) -> Response {
    let text = api.status.metrics(api.work.waiting());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
