//! What jinja2 reads in a template's source and the engine does not, put in the engine's words.
//!
//! ```text
//! {% generation %}...{% endgeneration %}   marks a reply in training templates  -> {% if true %}...{% endif %}
//! "one \⏎two"                              a line continued within a string    -> "one two"
//! \r\n, \r                                                                     -> \n
//! ```

/// The source as the engine should read it.
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (length, tag) = match from.as_bytes().get(1) {
            Some(b'#') => verbatim(from),
            Some(b'%') => {
                let (length, tag) = tag(from, "%}");
                (length, without_generation(tag))
            }
            Some(b'{') => tag(from, "}}"),
            _ => (1, "{".to_owned()),
        };
        out.push_str(&tag);
        rest = &from[length..];
    }
    out.push_str(rest);
    out
}

/// A comment, and its length.
fn verbatim(from: &str) -> (usize, String) {
    let length = from.find("#}").map_or(from.len(), |end| end + 2);
    (length, from[..length].to_owned())
}

/// A tag up to `close` outside strings, its strings without continued lines; and its length.
fn tag(from: &str, close: &str) -> (usize, String) {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = from.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, _) if from[at..].starts_with(close) && at >= 2 => {
                out.push_str(close);
                return (at + close.len(), out);
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(_), '\\') => {
                match chars.next() {
                    Some((_, '\n')) => {}
                    Some((_, escaped)) => out.extend(['\\', escaped]),
                    None => out.push('\\'),
                }
                continue;
            }
            (Some(open), _) if c == open => quote = None,
            _ => {}
        }
        out.push(c);
    }
    (from.len(), out)
}

/// A block that changes nothing in place of a generation block, so that trimming stays as it was.
fn without_generation(tag: String) -> String {
    match tag.trim_matches(['{', '}', '%', '-', '+', ' ', '\n', '\t']) {
        "generation" => tag.replacen("generation", "if true", 1),
        "endgeneration" => tag.replacen("endgeneration", "endif", 1),
        _ => tag,
    }
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn generation_blocks_keep_their_trimming_and_other_tags_stay() {
        let source =
            "a{% if x %}\r\n  {%- generation -%} b {% endgeneration %}\n{% endif %}{{ '{%' }}";
        assert_eq!(
            prepare(source),
            "a{% if x %}\n  {%- if true -%} b {% endif %}\n{% endif %}{{ '{%' }}"
        );
        for same in [
            "{{ '%}' }}{% set a = '{% generation %}' %}",
            "{# {% generation %} #}",
            "{ {",
            "{{",
            "{%",
        ] {
            assert_eq!(prepare(same), same);
        }
    }

    #[test]
    fn a_line_is_continued_within_a_string_only() {
        let source = "x \\\n{{ \"a\\\nb\\n\\\\\\\"\\\n\" }} \\\n";
        assert_eq!(prepare(source), "x \\\n{{ \"ab\\n\\\\\\\"\" }} \\\n");
    }
}
