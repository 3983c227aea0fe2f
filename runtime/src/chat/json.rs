//! The filter `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii` off,
//! so `", "` and `": "` on one line, or an item a line with `indent`, and nothing escaped for HTML.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Deeper values are refused.
const MAX_DEPTH: usize = 100;

fn bad(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadSerialization, problem.into())
}

fn string(text: &str, out: &mut String) -> Result<(), Error> {
    *out += &serde_json::to_string(text).map_err(|e| bad(e.to_string()))?;
    Ok(())
}

fn line(indent: Option<usize>, depth: usize, out: &mut String) {
    if let Some(indent) = indent {
        out.push('\n');
        out.extend(core::iter::repeat_n(' ', indent * depth));
    }
}

fn write(
    value: &Value,
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(bad("the value is too deep"));
    }
    let kind = value.kind();
    let (open, close) = match kind {
        ValueKind::None => {
            out.push_str("null");
            return Ok(());
        }
        ValueKind::Bool => {
            out.push_str(if value.is_true() { "true" } else { "false" });
            return Ok(());
        }
        ValueKind::Number => {
            out.push_str(&value.to_string());
            return Ok(());
        }
        ValueKind::String => return string(value.as_str().unwrap_or_default(), out),
        ValueKind::Map => ('{', '}'),
        ValueKind::Seq | ValueKind::Iterable => ('[', ']'),
        _ => return Err(bad(format!("a value that is {kind} is no JSON"))),
    };
    out.push(open);
    let mut empty = true;
    for item in value.try_iter()? {
        if !core::mem::replace(&mut empty, false) {
            *out += if indent.is_some() { "," } else { ", " };
        }
        line(indent, depth + 1, out);
        if kind == ValueKind::Map {
            string(&item.to_string(), out)?;
            *out += ": ";
            write(&value.get_item(&item)?, indent, depth + 1, out)?;
        } else {
            write(&item, indent, depth + 1, out)?;
        }
    }
    if !empty {
        line(indent, depth, out);
    }
    out.push(close);
    Ok(())
}

/// `value | tojson(indent=None)`; the other options of `json.dumps` are not read.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut out = String::new();
    write(value, indent.map(|n| n.min(64)), 0, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    #[test]
    fn the_layout_is_pythons() {
        // json.dumps(x, ensure_ascii=False), and the same with indent=2.
        let value = context! {
            a => vec![Value::from(1), Value::from(2.5), Value::from(true), Value::from(()),
                Value::from("é<&>\n\u{1}\u{7f}\"")],
            b => context! {},
            c => Vec::<Value>::new(),
        };
        let dumps = |indent: Option<usize>| {
            tojson(&value, Kwargs::from_iter([("indent", Value::from(indent))])).unwrap()
        };
        assert_eq!(
            dumps(None),
            "{\"a\": [1, 2.5, true, null, \"é<&>\\n\\u0001\u{7f}\\\"\"], \"b\": {}, \"c\": []}"
        );
        assert_eq!(
            dumps(Some(2)).lines().take(3).collect::<Vec<_>>(),
            ["{", "  \"a\": [", "    1,"]
        );
        assert!(dumps(Some(2)).ends_with("  ],\n  \"b\": {},\n  \"c\": []\n}"));
    }
}
