//! An answer to a request, and why one is refused (RFC 2326, section 7).

/// An answer: its status, its fields with line ends, and its body.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) fields: String,
    pub(crate) body: String,
}

/// Why a request is refused: status and reason.
pub(crate) type Refusal = (u16, String);

pub(crate) fn refuse<T>(status: u16, reason: &str) -> Result<T, Refusal> {
    Err((status, reason.to_owned()))
}

impl Response {
    pub(crate) fn ok(fields: String) -> Self {
        Self {
            status: 200,
            reason: "OK".to_owned(),
            fields,
            body: String::new(),
        }
    }

    /// Appends it to `out`, with the number of the request that it answers.
    pub(crate) fn write(&self, cseq: Option<&str>, out: &mut Vec<u8>) {
        let mut head = format!("RTSP/1.0 {} {}\r\n", self.status, self.reason);
        if let Some(cseq) = cseq {
            head += &format!("CSeq: {cseq}\r\n");
        }

        head += &self.fields;
        if !self.body.is_empty() {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }

        out.extend(format!("{head}\r\n{}", self.body).as_bytes());
    }
}
