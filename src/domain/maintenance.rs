//! An announced maintenance.

/// A maintenance under way: until it is over, no request for the site or the system is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// The message for callers.
    pub message: String,
    /// Seconds after which they may ask again, where that is known.
    pub retry_after: Option<u32>,
}

impl Maintenance {
    /// The one that a text announces; none where the text is empty.
    pub fn announced(text: &str, retry_after: Option<u32>) -> Option<Self> {
        let message = text.trim();
        (!message.is_empty()).then(|| Self { message: message.to_owned(), retry_after })
    }
}
