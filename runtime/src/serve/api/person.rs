//! The person's own: what is remembered, what is asked, what was learned.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Api, Refusal, Shared, bad, body, json_of, parsed};
use crate::dialogue::Role;
use crate::samples::Flags;
use crate::serve::openai::{self, ApiMessage};
use crate::serve::worker::{Errand, Offered};
use crate::state::forget::What;
use crate::state::queue::Answer;

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

pub(super) async fn next_annotation(State(api): Shared) -> Result<Response, Refusal> {
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

pub(super) async fn annotate(
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

pub(super) async fn offer(State(api): Shared, request: Body) -> Result<Response, Refusal> {
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

pub(super) async fn kept(State(api): Shared) -> Result<Response, Refusal> {
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

pub(super) async fn forget(
    State(api): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let id = number(&id)?;
    match errand(&api, |reply| Errand::Forget(What::Ids(vec![id]), reply)).await? {
        true => Ok(json_of(StatusCode::OK, &json!({"id": id, "deleted": true}))),
        false => Err(Refusal(StatusCode::NOT_FOUND, "there is nothing of it".into(), None)),
    }
}

pub(super) async fn forget_all(State(api): Shared) -> Result<Response, Refusal> {
    errand(&api, |reply| Errand::Forget(What::All, reply)).await?;
    Ok(json_of(StatusCode::OK, &json!({"deleted": true})))
}

fn number(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| bad("a dialogue's id is its number"))
}

pub(super) async fn round(State(api): Shared) -> Result<Response, Refusal> {
    let (send, answer) = oneshot::channel();
    let busy = |_| Refusal(StatusCode::CONFLICT, "a round runs already".into(), None);
    api.desk.ask(send).map_err(busy)?;
    let row = answered(answer).await?;
    Ok(json_of(StatusCode::OK, &json!(row)))
}

pub(super) async fn rounds(State(api): Shared) -> Result<Response, Refusal> {
    let rows = errand(&api, Errand::Rounds).await?;
    Ok(json_of(StatusCode::OK, &json!({"data": rows})))
}
