//! A report as blocks, written as Markdown and as one HTML file.

/// A part of a report. Texts may have `code` between backticks and **bold** between double stars.
pub enum Block {
    /// The report's name.
    Title(String),
    /// A section's name.
    Heading(String),
    /// A smaller one.
    Part(String),
    /// A paragraph.
    Text(String),
    /// Paragraphs of a list.
    List(Vec<String>),
    /// A table.
    Table(Table),
    /// A drawing.
    Figure {
        /// The file beside the report.
        file: String,
        /// Its contents.
        svg: String,
        /// What it shows.
        caption: String,
    },
}

/// A table of plain text.
#[derive(Default)]
pub struct Table {
    /// Names of columns.
    pub head: Vec<String>,
    /// As many cells each.
    pub rows: Vec<Vec<String>>,
    /// Columns from here on hold numbers.
    pub numbers_from: usize,
    /// Rows to be seen first.
    pub strong: Vec<usize>,
}

impl Table {
    /// An empty table whose first column is text and all others numbers.
    pub fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|&name| name.to_owned()).collect();
        Self { head, numbers_from: 1, ..Self::default() }
    }
}

/// All of the report as Markdown.
pub fn markdown(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block {
            Block::Title(text) => out.push_str(&format!("# {text}\n")),
            Block::Heading(text) => out.push_str(&format!("## {text}\n")),
            Block::Part(text) => out.push_str(&format!("### {text}\n")),
            Block::Text(text) => out.push_str(&format!("{text}\n")),
            Block::List(items) => items.iter().for_each(|i| out.push_str(&format!("- {i}\n"))),
            Block::Table(table) => markdown_table(table, &mut out),
            Block::Figure { file, caption, .. } => {
                out.push_str(&format!("![{caption}]({file})\n"));
            }
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn markdown_table(table: &Table, out: &mut String) {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out.push_str(&line(table.head.iter().map(|text| plain(text)).collect()));
    let rule = |(i, _): (usize, &String)| if i < table.numbers_from { "---" } else { "---:" };
    out.push_str(&format!(
        "|{}|\n",
        table.head.iter().enumerate().map(rule).collect::<Vec<_>>().join("|")
    ));
    for (i, row) in table.rows.iter().enumerate() {
        let strong = table.strong.contains(&i);
        let cell = |text: &String| match plain(text) {
            text if strong && !text.is_empty() => format!("**{text}**"),
            text => text,
        };
        out.push_str(&line(row.iter().map(cell).collect()));
    }
}

/// Text that Markdown takes as it stands.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '<' | '>' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// What the page looks like.
const STYLE: &str = include_str!("style.css");

/// All of the report as one HTML file that loads nothing.
pub fn html(blocks: &[Block]) -> String {
    let title = blocks.iter().find_map(|block| match block {
        Block::Title(text) => Some(escaped(text)),
        _ => None,
    });
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        title.unwrap_or_default()
    );
    for block in blocks {
        match block {
            Block::Title(text) => out.push_str(&format!("<h1>{}</h1>\n", inline(text))),
            Block::Heading(text) => out.push_str(&format!("<h2>{}</h2>\n", inline(text))),
            Block::Part(text) => out.push_str(&format!("<h3>{}</h3>\n", inline(text))),
            Block::Text(text) => out.push_str(&format!("<p>{}</p>\n", inline(text))),
            Block::List(items) => {
                let items = items.iter().map(|item| format!("<li>{}</li>\n", inline(item)));
                out.push_str(&format!("<ul>\n{}</ul>\n", items.collect::<String>()));
            }
            Block::Table(table) => html_table(table, &mut out),
            Block::Figure { svg, caption, .. } => out.push_str(&format!(
                "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n",
                svg.trim(),
                inline(caption)
            )),
        }
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn html_table(table: &Table, out: &mut String) {
    let class = |i: usize| if i < table.numbers_from { "" } else { " class=\"number\"" };
    let row = |tag: &str, cells: &[String]| -> String {
        let cell =
            |(i, text): (usize, &String)| format!("<{tag}{}>{}</{tag}>", class(i), escaped(text));
        cells.iter().enumerate().map(cell).collect()
    };
    out.push_str("<div class=\"wide\">\n<table>\n<thead><tr>");
    out.push_str(&row("th", &table.head));
    out.push_str("</tr></thead>\n<tbody>\n");
    for (i, cells) in table.rows.iter().enumerate() {
        let strong = if table.strong.contains(&i) { " class=\"strong\"" } else { "" };
        out.push_str(&format!("<tr{strong}>{}</tr>\n", row("td", cells)));
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Backticks and double stars as HTML has them.
fn inline(text: &str) -> String {
    let pairs = |text: &str, mark: &str, tag: &str| -> String {
        let parts: Vec<&str> = text.split(mark).collect();
        // A mark that nothing closes stands as it is.
        let closed = parts.len() - usize::from(parts.len().is_multiple_of(2));
        let mut out = String::new();
        for (i, part) in parts.iter().enumerate() {
            match (i % 2, i < closed) {
                (1, true) => out.push_str(&format!("<{tag}>{part}</{tag}>")),
                (_, false) => out.push_str(&format!("{mark}{part}")),
                _ => out.push_str(part),
            }
        }
        out
    };
    pairs(&pairs(&escaped(text), "`", "code"), "**", "strong")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_break_a_page() {
        let mut table = Table::new(&["who", "said"]);
        table.rows.push(vec!["<b>".into(), "a|b\n`c` <script>".into()]);
        table.strong.push(0);
        let blocks = [Block::Title("T & U".into()), Block::Table(table)];
        let text = markdown(&blocks);
        assert!(text.contains("a\\|b \\`c\\` \\<script\\>"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 3);
        let page = html(&blocks);
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
        assert!(page.contains("<title>T &amp; U</title>"));
    }

    #[test]
    fn marks_become_tags_where_they_are_closed() {
        let html = inline("`a < b` is **so**, a ` alone");
        assert_eq!(html, "<code>a &lt; b</code> is <strong>so</strong>, a ` alone");
    }
}
