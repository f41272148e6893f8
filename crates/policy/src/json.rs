//! As much of JSON as the header of a policy needs.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::CharIndices;

/// How deep arrays and objects may be inside of each other.
const DEPTH: usize = 8;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`, `true` or `false`, as it is written.
    Word(&'static str),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole text; `None` where it is not JSON.
    pub fn read(text: &str) -> Option<Json> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(DEPTH)?;
        reader.space();
        (reader.at == text.len()).then_some(value)
    }

    /// The value of an object's key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The keys and values of an object.
    pub fn entries(&self) -> &[(String, Json)] {
        if let Json::Object(entries) = self { entries } else { &[] }
    }

    pub fn text(&self) -> Option<&str> {
        if let Json::String(text) = self { Some(text) } else { None }
    }

    /// A whole number.
    pub fn size(&self) -> Option<usize> {
        match self {
            Json::Number(number) if (*number as usize) as f64 == *number => Some(*number as usize),
            _ => None,
        }
    }

    /// Whole numbers in an array.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        if let Json::Array(items) = self { items.iter().map(Json::size).collect() } else { None }
    }

    /// A string as it is, anything else as it would be written.
    pub fn shown(&self) -> Option<String> {
        match self {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Word(word) => Some((*word).to_string()),
            Json::Array(_) | Json::Object(_) => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Whether this comes next, after spaces; it is read then.
    fn takes(&mut self, expected: u8) -> bool {
        self.space();
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    /// Items with commas between them, from the bracket that opens to the one that closes.
    fn listed<T>(
        &mut self,
        closing: u8,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.at += 1;
        let mut items = Vec::new();
        if self.takes(closing) {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.takes(closing) {
                return Some(items);
            }
            if !self.takes(b',') {
                return None;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        let depth = depth.checked_sub(1)?;
        self.space();
        match self.peek()? {
            b'"' => self.string().map(Json::String),
            b'{' => {
                let entries = self.listed(b'}', |reader| {
                    reader.space();
                    let key = reader.string()?;
                    if !reader.takes(b':') {
                        return None;
                    }
                    Some((key, reader.value(depth)?))
                });
                entries.map(Json::Object)
            }
            b'[' => self.listed(b']', |reader| reader.value(depth)).map(Json::Array),
            b'-' | b'0'..=b'9' => {
                let is_part = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
                let rest = &self.text[self.at..];
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                self.at += end;
                rest[..end].parse().ok().map(Json::Number)
            }
            _ => {
                let rest = &self.text[self.at..];
                let word =
                    ["null", "true", "false"].into_iter().find(|word| rest.starts_with(word))?;
                self.at += word.len();
                Some(Json::Word(word))
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut characters = self.text[self.at..].char_indices();
        if characters.next()?.1 != '"' {
            return None;
        }
        let mut found = String::new();
        loop {
            match characters.next()? {
                (end, '"') => {
                    self.at += end + 1;
                    return Some(found);
                }
                (_, '\\') => found.push(match characters.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'u' => {
                        let first = unit(&mut characters)?;
                        let is_pair = (0xd800..0xdc00).contains(&first)
                            && characters.next()?.1 == '\\'
                            && characters.next()?.1 == 'u';
                        let second = if is_pair { Some(unit(&mut characters)?) } else { None };
                        char::decode_utf16([first].into_iter().chain(second)).next()?.ok()?
                    }
                    itself @ ('"' | '\\' | '/') => itself,
                    _ => return None,
                }),
                (_, control) if control < ' ' => return None,
                (_, other) => found.push(other),
            }
        }
    }
}

/// The four digits of `\u`.
fn unit(characters: &mut CharIndices<'_>) -> Option<u16> {
    (0..4).try_fold(0, |unit, _| Some(unit * 16 + characters.next()?.1.to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_what_is_none_is_not() {
        let text =
            r#" {"a" : [1, 2e1, -0.5], "b\n\"\u00e9\ud83d\ude80":{"c":[],"d":{}}, "e": true} "#;
        let json = Json::read(text).unwrap();
        assert_eq!(json.get("a"), Some(&Json::Array([1.0, 20.0, -0.5].map(Json::Number).to_vec())));
        assert_eq!(json.entries()[1].0, "b\n\"\u{e9}\u{1f680}");
        assert_eq!(json.get("e"), Some(&Json::Word("true")));
        assert_eq!(Json::read("[3, 4]").unwrap().sizes(), Some(alloc::vec![3, 4]));
        assert_eq!(Json::read("[0.5]").unwrap().sizes(), None);
        for wrong in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "\"a",
            "\"\\x\"",
            "1 2",
            "tru",
            "-",
            "\"\\ud800\"",
        ] {
            assert_eq!(Json::read(wrong), None, "{wrong}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Json::read(&deep), None);
    }
}
