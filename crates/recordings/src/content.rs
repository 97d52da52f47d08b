use serde_json::Value;

/// A block of a message that has a text.
pub(crate) struct Block<'a> {
    /// Its `type`. `None` where the whole content is one text.
    pub(crate) kind: Option<&'a str>,
    pub(crate) text: &'a str,
    /// Its `annotations`, `Null` if it has none.
    pub(crate) annotations: &'a Value,
}

/// Returns the blocks with text, in order. All three agents store content as an array of blocks or as one
/// text.
pub(crate) fn blocks(content: &Value) -> impl Iterator<Item = Block<'_>> {
    let (whole, parts) = match content {
        Value::String(text) => (Some(text.as_str()), [].as_slice()),
        Value::Array(parts) => (None, parts.as_slice()),
        _ => (None, [].as_slice()),
    };
    let whole = whole.map(|text| Block {
        kind: None,
        text,
        annotations: &Value::Null,
    });
    whole.into_iter().chain(parts.iter().filter_map(|part| {
        Some(Block {
            kind: part.get("type").and_then(Value::as_str),
            text: part.get("text")?.as_str()?,
            annotations: part.get("annotations").unwrap_or(&Value::Null),
        })
    }))
}

/// Joins the texts of a message with newlines, without the blank ones.
pub(crate) fn join<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut joined = String::new();
    for text in texts {
        push(&mut joined, text.as_ref());
    }
    joined
}

/// Appends a text to the content of a message on a new line. A blank text is skipped.
pub(crate) fn push(content: &mut String, text: &str) {
    if is_blank(text) {
        return;
    }
    if !content.is_empty() {
        content.push('\n');
    }
    content.push_str(text);
}

pub(crate) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
