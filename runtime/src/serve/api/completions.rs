//! `/v1/chat/completions`: a reply, whole or as server-sent events.

use core::convert::Infallible;
use core::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event as Sse, Sse as Stream};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Refusal, Shared, bad, body, json_of, parsed};
use crate::serve::openai::{self, Envelope};
use crate::serve::worker::{Event, Job};
use crate::state::now;

pub(super) async fn complete(State(api): Shared, request: Request) -> Result<Response, Refusal> {
    let client = request.headers().get(header::AUTHORIZATION).cloned();
    let client = request
        .extensions()
        .get::<crate::serve::Peer>()
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
        created: now(),
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
