//! One message: a line of JSON, what is in it, and what is answered.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

use serde_json::{Map, Value, json};

/// A message as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// Who sent it.
    pub(super) src: String,
    /// To whom.
    pub(super) dest: String,
    body: Map<String, Value>,
}

/// Whom an answer is due to, and to what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asker {
    /// Its name.
    pub(super) client: String,
    /// Whom it asked.
    pub(super) asked: String,
    message: Value,
}

/// An answer of something that was done: its type, and its field if it has one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    kind: &'static str,
    field: Option<(&'static str, Value)>,
}

/// An error, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: Code,
    text: String,
}

/// What an error says of the outcome, by Maelstrom's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// There was no answer in time. It may have taken effect, or do so later, or never.
    Timeout,
    /// There is no such thing here.
    NotSupported,
    /// It was not done, and may be another time, or elsewhere.
    TemporarilyUnavailable,
    /// It could not be understood.
    MalformedRequest,
    /// It may have taken effect, or do so later, or never.
    Crash,
    /// The key has no value.
    KeyDoesNotExist,
    /// What was expected is not so.
    PreconditionFailed,
}

impl Code {
    fn number(self) -> u64 {
        match self {
            Self::Timeout => 0,
            Self::NotSupported => 10,
            Self::TemporarilyUnavailable => 11,
            Self::MalformedRequest => 12,
            Self::Crash => 13,
            Self::KeyDoesNotExist => 20,
            Self::PreconditionFailed => 22,
        }
    }
}

impl Failure {
    /// This one, in these words.
    pub(super) fn new(code: Code, text: &str) -> Self {
        let text = text.to_owned();
        Self { code, text }
    }

    /// It could not be understood.
    pub(super) fn malformed(text: &str) -> Self {
        Self::new(Code::MalformedRequest, text)
    }
}

impl Reply {
    /// Of this type, and no more.
    pub(super) fn of(kind: &'static str) -> Self {
        Self { kind, field: None }
    }

    /// Of this type, with a field.
    pub(super) fn with(kind: &'static str, field: &'static str, value: Value) -> Self {
        Self {
            kind,
            field: Some((field, value)),
        }
    }
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// Why it is no message.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        // Nested deeper than 128 levels it is refused, so that no stack overflows.
        let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let Value::Object(mut fields) = value else {
            return Err("it is no object".into());
        };
        let mut text = |field| match fields.remove(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) | None => Err(format!("it has no text `{field}`")),
        };
        let (src, dest) = (text("src")?, text("dest")?);
        match fields.remove("body") {
            Some(Value::Object(body)) if body.get("type").is_some_and(Value::is_string) => {
                Ok(Self { src, dest, body })
            }
            Some(_) | None => Err("it has no `body` with a `type`".into()),
        }
    }

    /// Its type.
    pub(super) fn kind(&self) -> &str {
        let kind = self.body.get("type").and_then(Value::as_str);
        kind.unwrap_or_default()
    }

    /// Who awaits an answer.
    ///
    /// # Errors
    ///
    /// Why nobody does: one that cannot be answered is not to be done either, and who answers an answer
    /// may do so for ever.
    pub(super) fn asker(&self) -> Result<Asker, &'static str> {
        if self.body.contains_key("in_reply_to") {
            return Err("it answers what was not asked");
        }
        let message = self.body.get("msg_id").cloned();
        let message = message.filter(|id| id.is_u64() || id.is_i64());
        Ok(Asker {
            client: self.src.clone(),
            asked: self.dest.clone(),
            message: message.ok_or("it has no whole number `msg_id`")?,
        })
    }

    /// A field, whatever it is.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn field(&self, name: &str) -> Result<&Value, Failure> {
        let field = self.body.get(name);
        field.ok_or_else(|| Failure::malformed(&format!("`{name}` is missing")))
    }

    /// A field that is a text.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(super) fn text(&self, name: &str) -> Result<&str, Failure> {
        let text = self.field(name)?.as_str();
        text.ok_or_else(|| Failure::malformed(&format!("`{name}` is no text")))
    }

    /// A field that is a whole number of 64 bits.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(super) fn number(&self, name: &str) -> Result<i64, Failure> {
        let number = self.field(name)?.as_i64();
        number.ok_or_else(|| Failure::malformed(&format!("`{name}` is no number of 64 bits")))
    }

    /// A field as JSON. Objects that differ in the order of their fields alone are the same.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(super) fn json(&self, name: &str) -> Result<String, Failure> {
        self.field(name).map(Value::to_string)
    }

    /// What is said of a request that the workload does not have.
    pub(super) fn unknown(&self) -> Failure {
        let kind: String = self.kind().chars().take(40).collect();
        Failure::new(
            Code::NotSupported,
            &format!("this workload has no request `{kind}`"),
        )
    }
}

/// A message as a line.
pub(super) fn line(src: &str, dest: &str, body: &Value) -> String {
    json!({ "src": src, "dest": dest, "body": body }).to_string()
}

/// An answer as a line.
pub(super) fn reply_line(src: &str, asker: &Asker, reply: Reply) -> String {
    let mut body = Map::new();
    body.insert("type".into(), reply.kind.into());
    if let Some((field, value)) = reply.field {
        body.insert(field.into(), value);
    }
    body.insert("in_reply_to".into(), asker.message.clone());
    line(src, &asker.client, &Value::Object(body))
}

/// An error as a line.
pub(super) fn error_line(src: &str, asker: &Asker, failure: &Failure) -> String {
    let body = json!({
        "type": "error",
        "in_reply_to": asker.message,
        "code": failure.code.number(),
        "text": failure.text,
    });
    line(src, &asker.client, &body)
}
