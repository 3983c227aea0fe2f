//! The page that `GET /` answers: one document with its style and script inside, and the policy that
//! lets nothing else run.
//!
//! ```text
//! page/head.html  <style> page.css </style>  page/page.html  <script> page/*.js </script>
//! ```

use std::sync::LazyLock;

use axum::http::HeaderValue;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

/// The whole document.
pub const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/page.css"),
    "</style>\n",
    include_str!("page/page.html"),
    "<script type=\"module\">\n",
    include_str!("page/page.js"),
    include_str!("page/talk.js"),
    include_str!("page/asked.js"),
    include_str!("page/remembered.js"),
    include_str!("page/chart.js"),
    include_str!("page/learned.js"),
    include_str!("page/views.js"),
    "</script>\n</body>\n</html>\n",
);

/// The `Content-Security-Policy` that the page is served with: its own script and style by their
/// hashes, calls of this server, and nothing else.
pub fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let text = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(inside(PAGE, "script")),
            hash(inside(PAGE, "style")),
        );
        HeaderValue::from_maybe_shared(text).expect("it is ASCII")
    });
    POLICY.clone()
}

/// What stands in the first element of this name, as a browser hashes it.
///
/// # Panics
/// If there is none.
fn inside<'t>(text: &'t str, name: &str) -> &'t str {
    let (_, rest) = text.split_once(&format!("<{name}")).expect("its begin");
    let (_, rest) = rest.split_once('>').expect("the end of its tag");
    rest.split_once(&format!("</{name}>")).expect("its end").0
}

/// SHA-256 in Base64.
fn hash(text: &str) -> String {
    Base64::encode_string(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The document without what is in its script and its style.
    fn markup() -> String {
        PAGE.replacen(inside(PAGE, "script"), "", 1).replacen(inside(PAGE, "style"), "", 1)
    }

    /// Names of all attributes: what stands before `=` outside of quotes, in a tag.
    fn attributes(markup: &str) -> Vec<String> {
        let mut names = Vec::new();
        for tag in markup.split('<').skip(1) {
            // Every other part is in quotes, as this document uses no other ones.
            for part in tag.split('"').step_by(2) {
                names.extend(part.strip_suffix('=').map(|part| {
                    part.rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase()
                }));
            }
        }
        names
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        // FIPS 180-4's examples.
        assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(inside("<p><style a=\"b\">x{}\n</style>", "style"), "x{}\n");
    }

    #[test]
    fn there_is_one_script_and_one_style_and_both_are_in_the_policy() {
        for name in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{name}")).count(), 1, "{name}");
            assert_eq!(PAGE.matches(&format!("</{name}")).count(), 1, "{name}");
        }
        let policy = policy();
        let policy = policy.to_str().expect("ASCII");
        for name in ["script", "style"] {
            let source = format!("{name}-src 'sha256-{}';", hash(inside(PAGE, name)));
            assert!(policy.contains(&source), "{policy}");
        }
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_markup_has_no_handlers_and_no_styles_of_its_own() {
        let names = attributes(&markup());
        assert!(names.iter().any(|name| name == "aria-labelledby"), "{names:?}");
        for name in &names {
            assert!(!name.starts_with("on") && name != "style" && name != "src", "{name}");
        }
        assert_eq!(attributes("<p onclick=\"x=1\" id=\"style=\">"), ["onclick", "id"]);
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        let own = PAGE.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "//cdn", "url(", "@import", "import(", "import "] {
            assert!(!own.contains(word), "{word}");
        }
        assert!(PAGE.len() < 64 << 10, "{} bytes", PAGE.len());
    }

    #[test]
    fn text_is_never_read_as_markup() {
        let script = inside(PAGE, "script");
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(word), "{word}");
        }
        assert!(script.contains("node.textContent = text"));
    }
}
