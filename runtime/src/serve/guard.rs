//! Who may ask: who knows the token, at a name that is this server's.
//!
//! A page of another site that a person visits can send requests to this machine, and with a name whose
//! address it changes (DNS rebinding) read the replies: so `Host` and `Origin` must be ours.

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};

/// What a request must have.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// `Authorization: Bearer TOKEN`, if there is one.
    pub token: Option<String>,
    /// Names of this machine beside the loopback ones.
    pub names: Vec<String>,
    /// Whether any `Host` will do: on a socket of the file system there is none to speak of.
    pub any_host: bool,
}

/// Names of the loopback interface.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Guard {
    /// Whether a request with these headers may go on; else why not.
    ///
    /// # Errors
    /// The status to refuse it with, and why.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        self.is_here(headers)?;
        let Some(token) = &self.token else { return Ok(()) };
        let given = text(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if given.is_some_and(|given| same(given, token)) {
            return Ok(());
        }
        Err((StatusCode::UNAUTHORIZED, "the token is missing or another"))
    }

    /// Whether it is meant for this machine, whoever asks: enough for what tells nothing of the person.
    ///
    /// # Errors
    /// The status to refuse it with, and why.
    pub fn is_here(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if !self.any_host && !text(headers, &HOST).is_some_and(|host| self.is_ours(host)) {
            return Err((StatusCode::FORBIDDEN, "the Host header names another machine"));
        }
        if let Some(origin) = text(headers, &ORIGIN) {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !host.is_some_and(|host| self.is_ours(host)) {
                return Err((StatusCode::FORBIDDEN, "the Origin header names another site"));
            }
        }
        Ok(())
    }

    /// Whether `host`, with or without a port, is this machine.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let is = |ours: &str| name.eq_ignore_ascii_case(ours);
        LOOPBACK.iter().any(|ours| is(ours)) || self.names.iter().any(|ours| is(ours))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Compares in a time that does not tell where they differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | a ^ b) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(guard: &Guard, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        guard.admit(&map).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn other_names_other_sites_and_other_tokens_are_refused() {
        let open = Guard { names: vec!["pi.home".into()], ..Guard::default() };
        for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1", "pi.home:80"] {
            assert_eq!(admit(&open, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "", "pi.home.x"]
        {
            assert_eq!(admit(&open, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(admit(&open, &[]), 403);
        for (origin, status) in [
            ("http://localhost:8080", 200),
            ("https://pi.home", 200),
            ("https://evil.example", 403),
            ("null", 403),
            ("file://localhost", 403),
        ] {
            assert_eq!(
                admit(&open, &[("host", "localhost"), ("origin", origin)]),
                status,
                "{origin}"
            );
        }
        let closed = Guard { token: Some("secret".into()), ..Guard::default() };
        for (value, status) in [
            ("Bearer secret", 200),
            ("Bearer secre", 401),
            ("Bearer secrets", 401),
            ("secret", 401),
        ] {
            let headers = [("host", "localhost"), ("authorization", value)];
            assert_eq!(admit(&closed, &headers), status, "{value}");
        }
        assert_eq!(admit(&closed, &[("host", "localhost")]), 401);
        // What needs no token still needs the name.
        for (host, may) in [("localhost", true), ("evil.example", false)] {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            assert_eq!(closed.is_here(&headers).is_ok(), may, "{host}");
        }
        assert_eq!(admit(&Guard { any_host: true, ..Guard::default() }, &[]), 200);
    }
}
