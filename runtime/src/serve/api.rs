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

use core::convert::Infallible;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event as Sse, Sse as Stream};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::guard::Guard;
use super::learner::Desk;
use super::openai::{self, ApiMessage, Envelope};
use super::page;
use super::worker::{Errand, Event, Job, Offered, Work};
use crate::dialogue::Role;
use crate::engine::Sampling;
use crate::samples::Flags;
use crate::state::forget::What;
use crate::state::queue::Answer;
use crate::status::Status;

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

async fn complete(State(api): Shared, request: Request) -> Result<Response, Refusal> {
    let client = request.headers().get(header::AUTHORIZATION).cloned();
    let client = request
        .extensions()
        .get::<super::Peer>()
        .map_or_else(|| format!("{client:?}"), |peer| peer.0.clone());
    let bytes = body(request.into_body()).await?;
    let asked = parsed::<openai::Request>(&bytes)?
        .asked(&api.usual)
        .map_err(|wrong| Refusal(StatusCode::BAD_REQUEST, wrong.why, Some(wrong.field)))?;
    let (stream, count_tokens) = (asked.stream, asked.usage);
    let (out, events) = mpsc::unbounded_channel();
    if api.work.push(&client, Job { asked, out }).is_err() {
        api.status.refused.fetch_add(1, Ordering::Relaxed);
        let message = "too many requests wait already".to_owned();
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, message, None));
    }
    let envelope = Envelope {
        id: format!("chatcmpl-{:x}", api.count.fetch_add(1, Ordering::Relaxed)),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        model: api.model.clone(),
    };
    if stream {
        Ok(streamed(envelope, events, count_tokens))
    } else {
        whole(&envelope, events).await
    }
}

async fn whole(
    envelope: &Envelope,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> Result<Response, Refusal> {
    let mut text = String::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Text(piece) => text.push_str(&piece),
            Event::Ended(finish, usage) => {
                return Ok(json_of(StatusCode::OK, &envelope.whole(text.trim(), finish, usage)));
            }
            Event::Failed(why) => return Err(bad(why)),
        }
    }
    let message = "the server ends".to_owned();
    Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, message, None))
}

fn streamed(
    envelope: Envelope,
    events: mpsc::UnboundedReceiver<Event>,
    count_tokens: bool,
) -> Response {
    let first = envelope.piece(json!({"role": "assistant", "content": ""}), None);
    let pieces = UnboundedReceiverStream::new(events).map(move |event| match event {
        Event::Text(text) => vec![envelope.piece(json!({"content": text}), None).to_string()],
        Event::Ended(finish, usage) => {
            let mut last = vec![envelope.piece(json!({}), Some(finish)).to_string()];
            last.extend(count_tokens.then(|| envelope.usage(usage).to_string()));
            last.push("[DONE]".to_owned());
            last
        }
        Event::Failed(why) => {
            vec![openai::error(&why, "server_error", None, None).to_string(), "[DONE]".to_owned()]
        }
    });
    let pieces = tokio_stream::iter([vec![first.to_string()]]).chain(pieces);
    let events = Flat { inner: pieces, ready: Vec::new() };
    Stream::new(events.map(|text| Ok::<_, Infallible>(Sse::default().data(text)))).into_response()
}

/// A stream of the items of a stream of lists.
struct Flat<S> {
    inner: S,
    ready: Vec<String>,
}

impl<S: tokio_stream::Stream<Item = Vec<String>> + Unpin> tokio_stream::Stream for Flat<S> {
    type Item = String;

    fn poll_next(
        mut self: core::pin::Pin<&mut Self>,
        context: &mut core::task::Context<'_>,
    ) -> core::task::Poll<Option<String>> {
        use core::task::Poll;
        loop {
            if !self.ready.is_empty() {
                return Poll::Ready(Some(self.ready.remove(0)));
            }
            match core::pin::Pin::new(&mut self.inner).poll_next(context) {
                Poll::Ready(Some(items)) => self.ready = items,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
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

/// Hands an errand to the worker and waits for its answer.
async fn errand<T>(
    api: &Api,
    errand: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Errand,
) -> Result<T, Refusal> {
    let (send, answer) = oneshot::channel();
    let full = |_| Refusal(StatusCode::SERVICE_UNAVAILABLE, "too much waits already".into(), None);
    api.work.errand(errand(send)).map_err(full)?;
    answered(answer).await
}

/// The answer, once it is there.
async fn answered<T>(answer: oneshot::Receiver<Result<T, String>>) -> Result<T, Refusal> {
    let ended = |_| Refusal(StatusCode::SERVICE_UNAVAILABLE, "the server ends".into(), None);
    let failed = |why| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why, None);
    answer.await.map_err(ended)?.map_err(failed)
}

async fn next_annotation(State(api): Shared) -> Result<Response, Refusal> {
    let Some(question) = errand(&api, Errand::Ask).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let row = json!({
        "id": question.arrival,
        "messages": question.messages,
        "response": question.response,
    });
    Ok(json_of(StatusCode::OK, &row))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    answer: Answer,
}

async fn annotate(
    State(api): Shared,
    Path(id): Path<String>,
    request: Body,
) -> Result<Response, Refusal> {
    let id = number(&id)?;
    let bytes = body(request).await?;
    let Said { answer } = parsed(&bytes)?;
    if answer.is_empty() {
        return Err(bad("answer: the preferred reply is empty"));
    }
    match errand(&api, |reply| Errand::Annotate(id, answer, reply)).await? {
        true => Ok(json_of(StatusCode::OK, &json!({"id": id}))),
        false => {
            Err(Refusal(StatusCode::NOT_FOUND, "the dialogue is not in the buffer".into(), None))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Talk {
    messages: Vec<ApiMessage>,
    #[serde(default)]
    answer: Option<Answer>,
}

async fn offer(State(api): Shared, request: Body) -> Result<Response, Refusal> {
    let bytes = body(request).await?;
    let Talk { messages, answer } = parsed(&bytes)?;
    let wrong =
        |field: &str, why: &str| Refusal(StatusCode::BAD_REQUEST, why.into(), Some(field.into()));
    if answer.as_ref().is_some_and(Answer::is_empty) {
        return Err(wrong("answer", "the preferred reply is empty"));
    }
    let messages = openai::messages(messages)
        .map_err(|wrong| Refusal(StatusCode::BAD_REQUEST, wrong.why, Some(wrong.field)))?;
    if messages.last().is_none_or(|last| last.role != Role::Assistant) {
        return Err(wrong("messages", "the last message is not the assistant's"));
    }
    let offered = errand(&api, |reply| Errand::Offer(messages, answer, reply)).await?;
    let Offered { arrival, kept, noted, domain } = offered;
    let row = json!({"id": arrival, "kept": kept, "noted": noted, "domain": domain});
    Ok(json_of(StatusCode::OK, &row))
}

async fn kept(State(api): Shared) -> Result<Response, Refusal> {
    let kept = errand(&api, Errand::Kept).await?;
    let rows: Vec<Value> = kept
        .iter()
        .map(|one| {
            let (held, question) = (&one.held, one.held.question());
            json!({
                "id": held.arrival,
                "domain": one.domain,
                "messages": question.messages,
                "response": held.dialogue.response(),
                "preferred": held.dialogue.preferred,
                "annotated": held.is_annotated(),
                "skipped": held.flags.contains(Flags::SKIPPED),
            })
        })
        .collect();
    let bins = api.status.bins();
    Ok(json_of(StatusCode::OK, &json!({"bins": bins, "used": rows.len(), "data": rows})))
}

async fn forget(State(api): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    let id = number(&id)?;
    match errand(&api, |reply| Errand::Forget(What::Ids(vec![id]), reply)).await? {
        true => Ok(json_of(StatusCode::OK, &json!({"id": id, "deleted": true}))),
        false => Err(Refusal(StatusCode::NOT_FOUND, "there is nothing of it".into(), None)),
    }
}

async fn forget_all(State(api): Shared) -> Result<Response, Refusal> {
    errand(&api, |reply| Errand::Forget(What::All, reply)).await?;
    Ok(json_of(StatusCode::OK, &json!({"deleted": true})))
}

fn number(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| bad("a dialogue's id is its number"))
}

async fn round(State(api): Shared) -> Result<Response, Refusal> {
    let (send, answer) = oneshot::channel();
    let busy = |_| Refusal(StatusCode::CONFLICT, "a round runs already".into(), None);
    api.desk.ask(send).map_err(busy)?;
    let row = answered(answer).await?;
    Ok(json_of(StatusCode::OK, &json!(row)))
}

async fn rounds(State(api): Shared) -> Result<Response, Refusal> {
    let rows = errand(&api, Errand::Rounds).await?;
    Ok(json_of(StatusCode::OK, &json!({"data": rows})))
}

async fn status(State(api): Shared) -> Response {
    json_of(StatusCode::OK, &api.status.json(api.work.waiting()))
}

async fn metrics(State(api): Shared) -> Response {
    let text = api.status.metrics(api.work.waiting());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
