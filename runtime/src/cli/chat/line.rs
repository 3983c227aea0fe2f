//! What a line of a chat says.

use crate::adapter::Adapter;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'l> {
    Nothing,
    Exit,
    New,
    /// The last reply is good.
    Good,
    /// What would have been better.
    Better(&'l str),
    /// This dialogue is not to be kept.
    Forget,
    /// Learn now.
    Learn,
    /// A number, a name, `none`, or nothing to ask for the list.
    Adapter(&'l str),
    Text(&'l str),
}

impl<'l> Line<'l> {
    pub(super) fn of(line: &'l str) -> Self {
        match line.split_once(char::is_whitespace).unwrap_or((line, "")) {
            ("", _) => Self::Nothing,
            ("/exit", "") => Self::Exit,
            ("/new", "") => Self::New,
            ("/good", "") => Self::Good,
            ("/better", text) => Self::Better(text.trim()),
            ("/forget", "") => Self::Forget,
            ("/learn", "") => Self::Learn,
            ("/adapter", name) => Self::Adapter(name.trim()),
            _ => Self::Text(line),
        }
    }
}

/// The adapter that `name` names, counting from 1; no adapter is the base. What is wrong else.
pub(super) fn chosen<'a>(
    adapters: &'a [(String, Adapter)],
    name: &str,
) -> Result<Option<&'a Adapter>, String> {
    if name == "none" {
        return Ok(None);
    }
    let numbered = |number: usize| adapters.get(number.checked_sub(1)?);
    let named = || adapters.iter().find(|(known, _)| known == name);
    match named().or_else(|| numbered(name.parse().ok()?)) {
        Some((_, adapter)) => Ok(Some(adapter)),
        None => {
            let known =
                adapters.iter().enumerate().map(|(i, (name, _))| format!("{} {name}", i + 1));
            let known = known.chain(["none".to_owned()]).collect::<Vec<_>>().join(", ");
            let wrong = if name.is_empty() { String::new() } else { format!("no {name:?} here; ") };
            Err(format!("/adapter: {wrong}there are {known}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use homespun_core::lora::{LoraConfig, Targets};

    use super::*;

    #[test]
    fn a_line_is_a_command_or_is_said() {
        assert_eq!(Line::of(""), Line::Nothing);
        assert_eq!(Line::of("/exit"), Line::Exit);
        assert_eq!(Line::of("/new"), Line::New);
        assert_eq!(Line::of("/adapter  two"), Line::Adapter("two"));
        assert_eq!(Line::of("/adapter"), Line::Adapter(""));
        assert_eq!(Line::of("/better  Have mint tea."), Line::Better("Have mint tea."));
        assert_eq!((Line::of("/good"), Line::of("/forget")), (Line::Good, Line::Forget));
        assert_eq!(Line::of("/learn"), Line::Learn);
        for text in ["hello", "/exit now", "/adapters", "/good day", "what is /new"] {
            assert_eq!(Line::of(text), Line::Text(text));
        }
    }

    #[test]
    fn an_adapter_is_chosen_by_name_or_number() {
        let adapter = |rank| {
            let config = LoraConfig::new(rank, 1.0, 0.0, Targets::ALL);
            Adapter { config, parameters: Vec::new(), base: None, trained_on: None }
        };
        let adapters = [("me".to_owned(), adapter(1)), ("you".to_owned(), adapter(2))];
        let rank = |name: &str| {
            chosen(&adapters, name).map(|adapter| adapter.map(|adapter| adapter.config.rank))
        };
        assert_eq!((rank("1"), rank("me")), (Ok(Some(1)), Ok(Some(1))));
        assert_eq!((rank("2"), rank("you")), (Ok(Some(2)), Ok(Some(2))));
        assert_eq!(rank("none"), Ok(None));
        let all = "there are 1 me, 2 you, none";
        assert_eq!(rank(""), Err(format!("/adapter: {all}")));
        for wrong in ["0", "3", "us"] {
            assert_eq!(rank(wrong), Err(format!("/adapter: no {wrong:?} here; {all}")));
        }
    }
}
